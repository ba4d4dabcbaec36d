"""What jobs wait for: read from text, checked for cycles, kept as rows. Parts of a change (`actions.jobs`).

What happens then is in `actions.prerequisite_runs`.
"""

from __future__ import annotations

import sqlite3

from server.core.happenings import Kind
from server.core.prerequisite_text import BadPrerequisites, Source, parse, source_words, write
from server.core.prerequisites import WATCHER, Condition, Prerequisites, find_cycle
from server.errors import Conflict, Invalid
from server.storage import happenings, jobs, monitors, prerequisites, workflows
from server.storage.prerequisites import ConditionRow

_FIND = {
    Kind.RUN: (jobs.by_name, "job", "understudy job list"),
    Kind.WORKFLOW: (workflows.by_name, "workflow", "understudy workflow list"),
    Kind.EVENT: (monitors.by_name, "event monitor", "understudy monitor list"),
}


def read(connection: sqlite3.Connection, text: str) -> Prerequisites:
    """What a text says. Raises Invalid, also for a name that there is not."""
    try:
        found = parse(text, lambda source: _find(connection, source))
        for condition in found.conditions():
            _check_during(connection, condition)
        return found
    except BadPrerequisites as error:
        said = f"{error}. Write for example: backup completed and load ended"
        raise Invalid(f"The prerequisites are not right: {said}", fields={"prerequisites": said}) from error


def text_of(connection: sqlite3.Connection, wanted: Prerequisites) -> str:
    """A query: the text that says the same, with the names of today."""
    return write(wanted, lambda condition: name_of(connection, condition))


def name_of(connection: sqlite3.Connection, condition: Condition) -> str:
    """A query: what the source of a condition is called."""
    return prerequisites.names(connection, condition.kind, [condition.source_id])[condition.source_id]


def words_of(connection: sqlite3.Connection, condition: Condition) -> str:
    """A query: the same with its kind, as it is written."""
    return source_words(condition, name_of(connection, condition))


def put(connection: sqlite3.Connection, job_id: int, wanted: Prerequisites) -> None:
    """Let a job wait for these: what is known of a condition that it had before stays known.

    Raises Invalid naming the way when the job would wait for itself.
    """
    known = {_meaning(one): row for one, row in _before(connection, job_id)}
    fresh = ConditionRow(job_id=job_id, number=0, kind="", source_id=0)
    rows = [(one, known.get(_meaning(one), fresh)) for one in wanted.conditions()]
    before = {(row.kind, row.source_id) for row in prerequisites.of_job(connection, job_id)}
    prerequisites.replace(connection, job_id, rows)
    _refuse_cycle(connection, job_id)
    for kind, source_id in sorted(before | {(one.kind, one.source_id) for one, _ in rows}):
        is_wanted = bool(prerequisites.of_source(connection, kind, source_id))
        change = happenings.watch if is_wanted else happenings.unwatch
        change(connection, kind, source_id, WATCHER)


def refuse_needed(connection: sqlite3.Connection, job_id: int, name: str) -> None:
    """Conflict when other jobs wait for this one: they would wait for ever."""
    waiting = prerequisites.dependents(connection, Kind.RUN, job_id)
    if waiting:
        raise Conflict(
            f"{', '.join(waiting)} wait{'s' if len(waiting) == 1 else ''} for {name}. Change that first, for example: "
            f"understudy job update {waiting[0]} --after ''"
        )


def _find(connection: sqlite3.Connection, source: Source) -> int:
    if source.kind not in _FIND:
        raise BadPrerequisites(f"{source.name}: job monitors cannot be waited for yet")
    by_name, noun, command = _FIND[Kind(source.kind)]
    found = by_name(connection, source.name)
    if found is None:
        raise BadPrerequisites(f"there is no {noun} {source.name}; `{command}` shows those there are")
    return found.id


def _check_during(connection: sqlite3.Connection, condition: Condition) -> None:
    source = jobs.get(connection, condition.source_id) if condition.during else None
    names = [one.name for one in source.special_instances] if source is not None else []
    if source is not None and condition.during not in names:
        there = f"it has {', '.join(names)}" if names else "it has none"
        raise BadPrerequisites(f"{source.name} has no special instance {condition.during} ({there})")


def _before(connection: sqlite3.Connection, job_id: int) -> list[tuple[Condition, ConditionRow]]:
    rows = {row.number: row for row in prerequisites.of_job(connection, job_id)}
    job = jobs.get(connection, job_id)
    conditions = job.prerequisites.conditions() if job is not None else iter(())
    return [(one, rows[one.number]) for one in conditions if one.number in rows]


def _meaning(one: Condition) -> tuple[object, ...]:
    return one.kind, one.source_id, one.statuses, one.during


def _refuse_cycle(connection: sqlite3.Connection, job_id: int) -> None:
    way = find_cycle(job_id, lambda source: prerequisites.sources(connection, source))
    if way:
        names = prerequisites.names(connection, Kind.RUN, way)
        said = f"a job would wait for itself: {' → '.join(names[one] for one in way)}"
        raise Invalid(f"The prerequisites are not right: {said}.", fields={"prerequisites": said})
