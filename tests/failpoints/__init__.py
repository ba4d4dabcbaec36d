"""Ending a node from inside at every place where something becomes durable or is sent, and what must be true then."""
