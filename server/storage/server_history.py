"""SKY-11: completions that no known run matches, kept with their output until somebody adopts them."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.model import ServerHistoryEntry
from server.storage import rows


def get(connection: sqlite3.Connection, entry_id: int) -> ServerHistoryEntry | None:
    """One entry, with its output."""
    return rows.first(connection, ServerHistoryEntry, "FROM server_history WHERE id = ?", (entry_id,))


def by_key(connection: sqlite3.Connection, run_key: str) -> ServerHistoryEntry | None:
    """The newest entry that an agent's reports made for a run key; not one that was adopted from a fork."""
    tail = "FROM server_history WHERE run_key = ? AND from_fork = '' ORDER BY id DESC LIMIT 1"
    return rows.first(connection, ServerHistoryEntry, tail, (run_key,))


def page(connection: sqlite3.Connection, after: int | None = None, limit: int = 50) -> list[ServerHistoryEntry]:
    """Entries, newest first, going on below id `after`; of each output only the first 4 KiB."""
    names = ServerHistoryEntry.__struct_fields__
    wanted = ", ".join("coalesce(substr(output, 1, 4096), x'')" if name == "output" else name for name in names)
    query = f"SELECT {wanted} FROM server_history WHERE id < ? ORDER BY id DESC LIMIT ?"
    found = connection.execute(query, (after if after is not None else 2**62, limit))
    return [rows.build(ServerHistoryEntry, names, tuple(row)) for row in found]


def insert(connection: sqlite3.Connection, entry: ServerHistoryEntry) -> int:
    """Add an entry; its `id` is ignored. Returns the new one."""
    values = msgspec.structs.asdict(entry)
    del values["id"]
    return rows.insert(connection, "server_history", values)


def adopt(connection: sqlite3.Connection, entry_id: int, run_key: str, by: str) -> None:
    """The entry is in Job History now, as `run_key`."""
    rows.update(connection, "server_history", {"adopted_run": run_key, "adopted_by": by}, {"id": entry_id})
