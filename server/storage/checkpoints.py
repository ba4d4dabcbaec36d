"""Checkpoints of runs: what they are, and, in a table of their own, their bytes. And how far runs say that they are."""

from __future__ import annotations

import sqlite3

from server.core.model import Row, Run
from server.storage import rows, runs

ATTEMPTS_MAX = 100


class Checkpoint(Row, frozen=True, kw_only=True):
    """Number `number` of run `run`. `held`: its bytes are here."""

    run: int
    number: int
    at_us: int
    kept_at_us: int
    bytes: int
    sha256: str
    held: bool = True


class ProgressRow(Row, frozen=True, kw_only=True):
    """The last word of a run."""

    run: int
    percent: int
    text: str
    at_us: int


def add(
    connection: sqlite3.Connection, run: int, number: int, data: bytes, sha256: str, at_us: int, now_us: int
) -> bool:
    """Keep one; False when it is here already."""
    query = (
        "INSERT INTO checkpoints (run, number, at_us, kept_at_us, bytes, sha256) VALUES (?, ?, ?, ?, ?, ?)"
        " ON CONFLICT DO NOTHING"
    )
    if connection.execute(query, (run, number, at_us, now_us, len(data), sha256)).rowcount != 1:
        return False
    connection.execute("INSERT OR REPLACE INTO checkpoint_data VALUES (?, ?, ?)", (run, number, data))
    return True


def of_run(connection: sqlite3.Connection, run: int, up_to: int = 2**62) -> list[Checkpoint]:
    """Those that one attempt saved itself, the latest first."""
    tail = "FROM checkpoints WHERE run = ? AND number <= ? ORDER BY number DESC"
    return rows.every(connection, Checkpoint, tail, (run, up_to))


def chain(connection: sqlite3.Connection, run: Run) -> list[Checkpoint]:
    """Its own, then those of the attempts that it goes on from, up to where it went on; the latest first."""
    found = of_run(connection, run.number)
    for _ in range(ATTEMPTS_MAX):
        if run.resumed_run is None or run.resumed_checkpoint is None:
            break
        found += of_run(connection, run.resumed_run, run.resumed_checkpoint)
        former = runs.get(connection, run.resumed_run)
        if former is None:
            break
        run = former
    return found


def latest_of(connection: sqlite3.Connection, run: Run) -> dict[str, object]:
    """Columns of an attempt that goes on from the latest checkpoint of a run; {} without one."""
    latest = next((one for one in chain(connection, run) if one.held), None)
    return {"resumed_run": latest.run, "resumed_checkpoint": latest.number} if latest is not None else {}


def data(connection: sqlite3.Connection, run: int, number: int) -> bytes | None:
    """The bytes of one; None when they are not here any more."""
    row = connection.execute("SELECT data FROM checkpoint_data WHERE run = ? AND number = ?", (run, number)).fetchone()
    return bytes(row[0]) if row is not None else None


def prune(connection: sqlite3.Connection, run: Run, keep: int) -> None:
    """Remove what is older than the latest `keep`, but nothing from which an open attempt goes on."""
    for old in [*of_run(connection, run.number)[keep:], *chain(connection, run)[keep:]]:
        needed = (
            "SELECT 1 FROM runs WHERE resumed_run = ? AND resumed_checkpoint = ? AND resumed_run IS NOT NULL"
            " AND ended_at_us IS NULL"
        )
        if connection.execute(needed, (old.run, old.number)).fetchone() is None:
            connection.execute("DELETE FROM checkpoint_data WHERE run = ? AND number = ?", (old.run, old.number))
            connection.execute("DELETE FROM checkpoints WHERE run = ? AND number = ?", (old.run, old.number))


def let_go(connection: sqlite3.Connection, run: Run) -> None:
    """The work is done: nobody goes on from these any more. What they were stays on record."""
    for one in chain(connection, run):
        connection.execute("DELETE FROM checkpoint_data WHERE run = ? AND number = ?", (one.run, one.number))
        rows.update(connection, "checkpoints", {"held": 0}, {"run": one.run, "number": one.number})


def tries(connection: sqlite3.Connection, run: int, number: int) -> int:
    """How many attempts went on from one checkpoint."""
    query = "SELECT count(*) FROM runs WHERE resumed_run = ? AND resumed_checkpoint = ? AND resumed_run IS NOT NULL"
    return rows.number(connection, query, (run, number))


def waiting_for(connection: sqlite3.Connection, run: int) -> Run | None:
    """The newest attempt that goes on from a run."""
    tail = "FROM runs WHERE resumed_run = ? AND resumed_run IS NOT NULL ORDER BY number DESC LIMIT 1"
    return rows.first(connection, Run, tail, (run,))


def to_suspend(connection: sqlite3.Connection, agent_id: str, limit: int = 200) -> list[Run]:
    """Runs of an agent that are to stop at their next checkpoint, by number."""
    tail = "FROM runs WHERE agent_id = ? AND state = 'suspending' ORDER BY number LIMIT ?"
    return rows.every(connection, Run, tail, (agent_id, limit))


def say(connection: sqlite3.Connection, run: int, percent: int, text: str, at_us: int) -> None:
    """The last word of a run, unless a later one is here."""
    query = (
        "INSERT INTO progress (run, percent, text, at_us) VALUES (?, ?, ?, ?) ON CONFLICT (run) DO UPDATE SET"
        " percent = excluded.percent, text = excluded.text, at_us = excluded.at_us"
        " WHERE excluded.at_us > progress.at_us"
    )
    connection.execute(query, (run, percent, text, at_us))


def progress(connection: sqlite3.Connection, run: int) -> ProgressRow | None:
    """The last word of a run."""
    return rows.first(connection, ProgressRow, "FROM progress WHERE run = ?", (run,))
