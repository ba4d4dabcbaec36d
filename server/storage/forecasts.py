"""What a forecast is made of: schedules in force with their places, and single occurrences that differ."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from server.core.timing import Timing
from server.storage import schedules
from server.storage.exceptions import ExceptionRow
from server.storage.rows import every

EXCEPTIONS_MAX = 10_000


class Place(NamedTuple):
    """A job and where it runs: the agent's name, or the group's after `group `, with its limit of runs at once."""

    job_id: int
    job: str
    place: str


class Material(NamedTuple):
    """`timings`: (job, schedule) with its timing. `places` by job; `members` by schedule, of groups with the policy
    `all`. `exceptions`: those that skip or move an occurrence of the period, or into it.
    """

    timings: list[tuple[tuple[int, int], Timing]]
    places: dict[int, Place]
    members: dict[int, str]
    exceptions: list[ExceptionRow]


def read(connection: sqlite3.Connection, after_us: int, until_us: int) -> Material:
    """A query over every schedule in force: its cost grows with these, not with history. For a thread."""
    query = (
        "SELECT j.id, j.name, coalesce('group ' || g.name || CASE g.runs_at_once WHEN 0 THEN '' ELSE ', at most '"
        " || g.runs_at_once || ' at once' END, a.name, substr(j.agent_id, 1, 8)) FROM jobs j"
        " LEFT JOIN groups g ON g.id = j.agent_id LEFT JOIN agents a ON a.id = j.agent_id"
        " WHERE j.deleted_at_us IS NULL AND NOT j.held"
    )
    places = {int(row[0]): Place(int(row[0]), str(row[1]), str(row[2])) for row in connection.execute(query)}
    of_members = (
        "SELECT s.id, a.name FROM schedules s JOIN agents a ON a.id = s.member_id"
        " WHERE s.member_id != '' AND s.deleted_at_us IS NULL"
    )
    members = {int(number): str(name) for number, name in connection.execute(of_members)}
    tail = (
        "FROM exceptions WHERE (skipped OR moved_to_us IS NOT NULL) AND"
        " (instant_us BETWEEN :after + 1 AND :until OR moved_to_us BETWEEN :after + 1 AND :until) LIMIT :limit"
    )
    values = {"after": after_us, "until": until_us, "limit": EXCEPTIONS_MAX}
    return Material(schedules.timings(connection), places, members, every(connection, ExceptionRow, tail, values))
