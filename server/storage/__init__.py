"""Rows: functions of a connection, one file per noun. Nothing here begins, commits or holds a connection."""
