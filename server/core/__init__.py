"""Pure rules of scheduling: no socket, no file, no clock, no randomness.

Time is an argument, in microseconds UTC.
"""
