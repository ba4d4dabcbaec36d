"""Real nodes in one process: real directories, journals and SQLite; only the wire is in memory."""
