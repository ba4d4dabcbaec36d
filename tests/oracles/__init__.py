"""What the product should do, worked out in another way: these import nothing of it."""
