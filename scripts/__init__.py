"""What people type: the commands, and what a checkout needs to run them."""
