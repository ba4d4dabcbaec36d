"""What a job waits for, on its page: the expression as a tree, what is met since when and by what, what is missing."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass

from server.actions.prerequisites import monitored_run, name_of, waiting_for
from server.core.model import Job
from server.core.prerequisites import Condition, Group, Operator, Status
from server.storage import job_monitors, prerequisites, schedules
from server.storage.prerequisites import ConditionRow

WORDS = {
    Status.COMPLETED: "has completed",
    Status.FAILED: "has failed",
    Status.CANCELLED: "was cancelled",
    Status.SKIPPED: "was skipped",
    Status.ENDED: "has ended, however",
    Status.RUNNING: "is running",
    Status.SUBMITTED: "is submitted",
    Status.FIRED: "has fired",
    Status.TRIPPED: "has tripped",
    Status.CLEAR: "found nothing of a run that ended",
}
_NOUNS = {"run": "", "workflow": "the workflow ", "event": "the event ", "monitor": "the job monitor "}
_PAGES = {"run": "/jobs/", "workflow": "/workflows/", "event": "/monitors/"}
_SUBJECTS = {"run": "/runs/", "monitor": "/runs/"}


@dataclass(frozen=True, slots=True)
class NeedLine:
    """One line of the tree: a condition, or the word that joins those below it (`joins`). `depth` from 0."""

    depth: int
    met: bool
    joins: str = ""
    noun: str = ""
    source: str = ""
    href: str = ""
    wanted: str = ""
    flags: str = ""
    last: str = ""
    """The last status of the source that counted, "" before any."""
    since_us: int = 0
    subject: int = 0
    subject_href: str = ""


@dataclass(frozen=True, slots=True)
class JobNeeds:
    """The lines of the tree from the top; none for a job that waits for nothing. `is_scheduled`: it has due times."""

    lines: tuple[NeedLine, ...] = ()
    is_met: bool = False
    is_scheduled: bool = False
    dependents: tuple[str, ...] = ()
    """The jobs that wait for this one."""


def read(connection: sqlite3.Connection, job: Job) -> JobNeeds:
    """A query."""
    rows = {row.number: row for row in prerequisites.of_job(connection, job.id)}
    met = {number for number, row in rows.items() if row.met}
    expression = job.prerequisites.expression
    lines = tuple(_lines(connection, expression, rows, met, 0)) if expression is not None else ()
    scheduled = bool(schedules.of_job(connection, job.id))
    others = tuple(waiting_for(connection, job.id))
    return JobNeeds(lines, job.prerequisites.is_met(met), scheduled, others)


def _lines(
    connection: sqlite3.Connection, part: Condition | Group, rows: dict[int, ConditionRow], met: set[int], depth: int
) -> Iterator[NeedLine]:
    if isinstance(part, Condition):
        yield _line(connection, part, rows.get(part.number), depth)
        return
    inner = [list(_lines(connection, one, rows, met, depth + 1)) for one in part.parts]
    true = [lines[0].met for lines in inner]
    is_all = part.operator is Operator.AND
    yield NeedLine(depth, all(true) if is_all else any(true), "all of" if is_all else "any of")
    for lines in inner:
        yield from lines


def _line(connection: sqlite3.Connection, part: Condition, row: ConditionRow | None, depth: int) -> NeedLine:
    flags = ["stays met whatever follows"] * part.dont_overwrite + ["kept past a due time"] * part.dont_clear
    flags += [f"during {part.during}"] if part.during else []
    subject, kind = row.subject if row is not None else 0, part.kind
    href = f"{_PAGES[kind]}{part.source_id}" if kind in _PAGES else ""
    if kind == "monitor":
        monitor = job_monitors.get(connection, part.source_id)
        href = f"/jobs/{monitor.job_id}" if monitor is not None else ""
        subject = (monitored_run(connection, row) or 0) if row is not None else 0
    return NeedLine(
        depth,
        row is not None and row.met,
        noun=_NOUNS[part.kind],
        source=name_of(connection, part),
        href=href,
        wanted=" or ".join(WORDS[status] for status in part.statuses),
        flags=", ".join(flags),
        last=row.status if row is not None else "",
        since_us=row.since_us if row is not None else 0,
        subject=subject,
        subject_href=f"{_SUBJECTS[kind]}{subject}" if kind in _SUBJECTS and subject else "",
    )
