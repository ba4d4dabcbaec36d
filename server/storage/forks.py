"""BEY-3: the forks of the pair, their runs and their edits, as the nodes that keep them described them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.core.forks import ForkEdit, ForkRow, ForkRun
from server.storage import rows


def page(connection: sqlite3.Connection, all_states: bool = False, limit: int = 200) -> list[ForkRow]:
    """Forks, the newest first; deleted ones only with `all_states`."""
    where = "" if all_states else "WHERE state != 'deleted' "
    return rows.every(connection, ForkRow, f"FROM forks {where}ORDER BY kept_at_us DESC, name LIMIT ?", (limit,))


def get(connection: sqlite3.Connection, name: str) -> ForkRow | None:
    """One fork, deleted ones too."""
    return rows.first(connection, ForkRow, "FROM forks WHERE name = ?", (name,))


def insert(connection: sqlite3.Connection, fork: ForkRow) -> None:
    """Add a fork."""
    rows.insert(connection, "forks", {name: getattr(fork, name) for name in fork.__struct_fields__})


def update(connection: sqlite3.Connection, name: str, **values: object) -> None:
    """Set columns of one fork by name."""
    rows.update(connection, "forks", values, {"name": name})


def add_runs(connection: sqlite3.Connection, runs: Sequence[ForkRun]) -> None:
    """Add runs of a fork; those that are there stay as they are."""
    names = ForkRun.__struct_fields__
    marks = ", ".join("?" for _ in names)
    values = [tuple(getattr(run, name) for name in names) for run in runs]
    connection.executemany(f"INSERT OR IGNORE INTO fork_runs ({', '.join(names)}) VALUES ({marks})", values)


def add_edits(connection: sqlite3.Connection, edits: Sequence[ForkEdit]) -> None:
    """Add edits of a fork; those that are there stay as they are."""
    names = ForkEdit.__struct_fields__
    marks = ", ".join("?" for _ in names)
    values = [tuple(getattr(edit, name) for name in names) for edit in edits]
    connection.executemany(f"INSERT OR IGNORE INTO fork_edits ({', '.join(names)}) VALUES ({marks})", values)


def runs(connection: sqlite3.Connection, fork: str, after: int = 0, limit: int = 100) -> list[ForkRun]:
    """Runs of a fork by number, going on above `after`."""
    tail = "FROM fork_runs WHERE fork = ? AND number > ? ORDER BY number LIMIT ?"
    return rows.every(connection, ForkRun, tail, (fork, after, limit))


def run(connection: sqlite3.Connection, fork: str, number: int) -> ForkRun | None:
    """One run of a fork."""
    return rows.first(connection, ForkRun, "FROM fork_runs WHERE fork = ? AND number = ?", (fork, number))


def edits(connection: sqlite3.Connection, fork: str, after: int = 0, limit: int = 100) -> list[ForkEdit]:
    """Edits of a fork in the order in which they were made, going on above `after`."""
    tail = "FROM fork_edits WHERE fork = ? AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, ForkEdit, tail, (fork, after, limit))


def known_here(connection: sqlite3.Connection, fork: str, first: int, last: int) -> dict[int, int]:
    """Of the fork's runs `first` to `last`: those whose key this database has too, as fork number to run number."""
    query = (
        "SELECT f.number, r.number FROM fork_runs f JOIN runs r ON r.key = f.key"
        " WHERE f.fork = ? AND f.number BETWEEN ? AND ?"
    )
    return {int(number): int(run) for number, run in connection.execute(query, (fork, first, last))}


def set_adopted(connection: sqlite3.Connection, fork: str, number: int, history_id: int) -> None:
    """The run is in Server History now."""
    rows.update(connection, "fork_runs", {"history_id": history_id}, {"fork": fork, "number": number})


def drop_contents(connection: sqlite3.Connection, fork: str) -> None:
    """Remove the lists of a fork that was deleted; its own row stays as the record of that."""
    connection.execute("DELETE FROM fork_runs WHERE fork = ?", (fork,))
    connection.execute("DELETE FROM fork_edits WHERE fork = ?", (fork,))
