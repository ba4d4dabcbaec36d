"""What is done only while in office: scheduling, the agents, swaps, what is told. `office` opens and closes it."""
