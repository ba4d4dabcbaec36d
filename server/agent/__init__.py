"""The program on a machine that runs jobs: it starts, watches and remembers; the master plans and records."""
