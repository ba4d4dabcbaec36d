"""What jobs wait for: read from text, checked for cycles, kept as rows. Parts of a change (`actions.jobs`).

What happens then is in `actions.prerequisite_runs`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection
from itertools import pairwise

from server.core.happenings import Kind
from server.core.job_monitors import label_of, slug
from server.core.prerequisite_text import BadPrerequisites, Source, parse, source_words, write
from server.core.prerequisites import WATCHER, Condition, Prerequisites, Status, find_cycle
from server.errors import Conflict, Invalid
from server.storage import happenings, job_monitors, jobs, monitors, prerequisites, workflows
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


def waiting_for(connection: sqlite3.Connection, job_id: int) -> list[str]:
    """A query: the names of the jobs that wait for this one, or for one of its monitors."""
    found = set(prerequisites.dependents(connection, Kind.RUN, job_id))
    for monitor in job_monitors.of_job(connection, job_id):
        found.update(prerequisites.dependents(connection, Kind.MONITOR, monitor.id))
    return sorted(found)


def subject_words(connection: sqlite3.Connection, row: ConditionRow) -> str:
    """A query: what reached the status that counted last."""
    if row.kind != Kind.MONITOR:
        return f"{row.kind} {row.subject}"
    number = monitored_run(connection, row)
    return f"run {number}" if number is not None else "a run of which nobody heard"


def monitored_run(connection: sqlite3.Connection, row: ConditionRow) -> int | None:
    """A query: of which run the monitor said it; None while nobody heard of that."""
    trip = job_monitors.get_trip(connection, row.subject) if row.status == Status.TRIPPED else None
    return trip.run if trip is not None else row.subject if row.status == Status.CLEAR else None


def refuse_off(connection: sqlite3.Connection, job_id: int, kinds: Collection[str]) -> None:
    """Conflict when other jobs wait for a monitor of this job that is none of `kinds`, which are on from now on."""
    for monitor in job_monitors.of_job(connection, job_id):
        waiting = prerequisites.dependents(connection, Kind.MONITOR, monitor.id) if monitor.kind not in kinds else []
        if waiting:
            name = prerequisites.names(connection, Kind.MONITOR, [monitor.id])[monitor.id]
            raise Conflict(
                f"{', '.join(waiting)} wait{'s' if len(waiting) == 1 else ''} for monitor:{name}, which would be off. "
                f"Change that first, for example: understudy job update {waiting[0]} --after ''"
            )


def refuse_needed(connection: sqlite3.Connection, job_id: int, name: str) -> None:
    """Conflict when other jobs wait for this one or its monitors: they would wait for ever."""
    waiting = waiting_for(connection, job_id)
    if waiting:
        raise Conflict(
            f"{', '.join(waiting)} wait{'s' if len(waiting) == 1 else ''} for {name}. Change that first, for example: "
            f"understudy job update {waiting[0]} --after ''"
        )


def _find(connection: sqlite3.Connection, source: Source) -> int:
    if source.kind == Kind.MONITOR:
        return _find_monitor(connection, source.name)
    by_name, noun, command = _FIND[Kind(source.kind)]
    found = by_name(connection, source.name)
    if found is None:
        raise BadPrerequisites(f"there is no {noun} {source.name}; `{command}` shows those there are")
    return found.id


def _find_monitor(connection: sqlite3.Connection, text: str) -> int:
    """The id of a job monitor written as JOB/KIND or JOB/KIND/NAME."""
    name, _, rest = text.partition("/")
    job = jobs.by_name(connection, name)
    if job is None:
        raise BadPrerequisites(f"there is no job {name}; `understudy job list` shows those there are")
    label = label_of(rest)
    found = job_monitors.of_kind(connection, job.id, label) if label else None
    if found is None:
        there = ", ".join(f"monitor:{name}/{slug(one.kind)}" for one in job_monitors.of_job(connection, job.id))
        on = "understudy job update " + name + " --overrun 3600"
        raise BadPrerequisites(f"{name} has no monitor {rest or '(write its kind)'}: it has {there or f'none; {on}'}")
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
        said = f"a job would wait for itself: {' → '.join(_steps(connection, way))}"
        raise Invalid(f"The prerequisites are not right: {said}.", fields={"prerequisites": said})


def _steps(connection: sqlite3.Connection, way: list[int]) -> list[str]:
    """The way in the order in which it would run; a job monitor that it leads over stands before the job that waits."""
    names = prerequisites.names(connection, Kind.RUN, way)
    said = [names[way[0]]]
    for source, waiting in pairwise(way):
        rows = prerequisites.of_job(connection, waiting)
        if not any((row.kind, row.source_id) == (Kind.RUN, source) for row in rows):
            there = {one.id for one in job_monitors.of_job(connection, source)}
            over = [row.source_id for row in rows if row.kind == Kind.MONITOR and row.source_id in there]
            said += [f"monitor:{name}" for name in prerequisites.names(connection, Kind.MONITOR, over[:1]).values()]
        said.append(names[waiting])
    return said
