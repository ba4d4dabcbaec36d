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


def adopted(connection: sqlite3.Connection, run_key: str, agent_id: str) -> ServerHistoryEntry | None:
    """The first entry of that agent's run which is in Job History: an agent and a fork may tell of the same one."""
    tail = "FROM server_history WHERE run_key = ? AND agent_id = ? AND adopted_run != '' ORDER BY id LIMIT 1"
    return rows.first(connection, ServerHistoryEntry, tail, (run_key, agent_id))


def count_open(connection: sqlite3.Connection) -> int:
    """How many entries are not in Job History."""
    return rows.number(connection, "SELECT count(*) FROM server_history WHERE adopted_run = ''")


def page(
    connection: sqlite3.Connection, after: int | None = None, limit: int = 50, match: str = "", only_open: bool = False
) -> list[ServerHistoryEntry]:
    """Entries, newest first, going on below id `after`; of each output only the first 4 KiB.

    `match` is a part of the job's name or of the key; `only_open`: those that are not in Job History.
    """
    names = ServerHistoryEntry.__struct_fields__
    wanted = ", ".join("coalesce(substr(output, 1, 4096), x'')" if name == "output" else name for name in names)
    conditions = "id < ? AND (instr(job_name, ?) OR instr(run_key, ?))" + (" AND adopted_run = ''" if only_open else "")
    query = f"SELECT {wanted} FROM server_history WHERE {conditions} ORDER BY id DESC LIMIT ?"
    found = connection.execute(query, (after if after is not None else 2**62, match, match, limit))
    return [rows.build(ServerHistoryEntry, names, tuple(row)) for row in found]


def insert(connection: sqlite3.Connection, entry: ServerHistoryEntry) -> int:
    """Add an entry; its `id` is ignored. Returns the new one."""
    values = msgspec.structs.asdict(entry)
    del values["id"]
    return rows.insert(connection, "server_history", values)


def adopt(connection: sqlite3.Connection, entry_id: int, run_key: str, by: str) -> None:
    """The entry is in Job History now, as `run_key`."""
    rows.update(connection, "server_history", {"adopted_run": run_key, "adopted_by": by}, {"id": entry_id})
