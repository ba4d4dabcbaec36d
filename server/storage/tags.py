"""Tags: words by which lists are filtered. kind: job | workflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Row


class TagLine(Row, frozen=True, kw_only=True):
    """A tag and how many jobs have it."""

    tag: str
    jobs: int


def put(connection: sqlite3.Connection, kind: str, owner_id: int, tags: Iterable[str]) -> None:
    """These are all of its tags now."""
    connection.execute("DELETE FROM tags WHERE kind = ? AND owner_id = ?", (kind, owner_id))
    for tag in dict.fromkeys(tags):
        connection.execute("INSERT INTO tags VALUES (?, ?, ?)", (kind, owner_id, tag))


def of(connection: sqlite3.Connection, kind: str, owner_id: int) -> list[str]:
    """Its tags, sorted."""
    query = "SELECT tag FROM tags WHERE kind = ? AND owner_id = ? ORDER BY tag"
    return [str(row[0]) for row in connection.execute(query, (kind, owner_id))]


def every(connection: sqlite3.Connection, limit: int = 500) -> list[TagLine]:
    """All tags of jobs, with how many have each."""
    query = (
        "SELECT tag, count(*) FROM tags JOIN jobs j ON j.id = owner_id AND j.deleted_at_us IS NULL"
        " WHERE kind = 'job' GROUP BY tag ORDER BY tag LIMIT ?"
    )
    return [TagLine(tag=str(tag), jobs=int(count)) for tag, count in connection.execute(query, (limit,))]
