"""Tags: words by which lists are filtered. kind: job | workflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Row


class TagLine(Row, frozen=True, kw_only=True):
    """A tag and how many jobs and workflows have it."""

    tag: str
    jobs: int
    workflows: int = 0


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
    """All tags of jobs and workflows, with how many have each."""
    query = (
        "SELECT tag, count(j.id) AS of_jobs, count(w.id) AS of_flows FROM tags"
        " LEFT JOIN jobs j ON kind = 'job' AND j.id = owner_id AND j.deleted_at_us IS NULL"
        " LEFT JOIN workflows w ON kind = 'workflow' AND w.id = owner_id AND w.deleted_at_us IS NULL"
        " GROUP BY tag HAVING of_jobs + of_flows > 0 ORDER BY tag LIMIT ?"
    )
    found = connection.execute(query, (limit,))
    return [TagLine(tag=str(tag), jobs=int(jobs), workflows=int(flows)) for tag, jobs, flows in found]
