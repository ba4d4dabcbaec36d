"""What the scheduler put aside: have it done again, or dismiss it. Permission: missed.resolve.

The scheduler takes up again what is due by its row; what happened is followed inside the change that asks for it.
"""

from __future__ import annotations

import sqlite3

from server.actions import happenings
from server.actions.change import Change, Transaction, record, require
from server.actions.quarantine import is_of_the_disk
from server.core.asides import DISMISSED, Aside, sentence, why_not_dismissed
from server.core.model import Principal, Row
from server.core.run_states import RunEvent, step
from server.errors import Conflict, NotFound, UnderstudyError
from server.storage import asides, runs


class AsideLine(Row, frozen=True, kw_only=True):
    """One thing that was put aside, as people see it. Times are microseconds UTC."""

    id: int
    work: str
    subject: str
    job: str
    text: str
    """What does not happen."""
    error: str
    aside_at_us: int
    dismissed: str
    """What dismissing it means; "" when it cannot be dismissed."""


def page(connection: sqlite3.Connection, after: int = 0, limit: int = 100) -> list[AsideLine]:
    """A query: the oldest first, going on above id `after`."""
    return [_line(connection, aside) for aside in asides.page(connection, after, limit)]


def of_job(connection: sqlite3.Connection, job_id: int) -> list[AsideLine]:
    """A query: what of one job was put aside."""
    return [_line(connection, aside) for aside in asides.of_job(connection, job_id)]


def retry(aside_id: int, by: Principal, now_us: int) -> Change[AsideLine]:
    """Have it done again. What fails again is listed again, under its present error.

    Of what happened: Conflict with the error when its follower fails again; the row stays.
    """
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> AsideLine:
        connection = transaction.connection
        aside = _find(connection, aside_id)
        line = _line(connection, aside)
        if aside.work == "follow":
            _follow(connection, aside, now_us)
        asides.restore(connection, aside, now_us)
        asides.delete(connection, aside.id)
        record(connection, by, now_us, "asides.retry", line.text, aside.error, "")
        return line

    return change


def dismiss(aside_id: int, by: Principal, now_us: int, reason: str = "") -> Change[AsideLine]:
    """Do not do it. Conflict, with what to type, when nothing of its kind would be done again."""
    require(by, "missed.resolve")

    def change(transaction: Transaction) -> AsideLine:
        connection = transaction.connection
        aside = _find(connection, aside_id)
        line = _line(connection, aside)
        why_not = why_not_dismissed(aside, line.job)
        if why_not:
            raise Conflict(why_not)
        _drop(connection, aside, by, now_us)
        asides.delete(connection, aside.id)
        record(connection, by, now_us, "asides.dismiss", line.text, aside.error, "", reason)
        return line

    return change


def _drop(connection: sqlite3.Connection, aside: Aside, by: Principal, now_us: int) -> None:
    """What its subject is from now on: see `core.asides.DISMISSED`."""
    run = runs.get(connection, int(aside.subject)) if aside.work == "begin" else None
    if run is not None and run.state == "waiting":
        state = step(run.state, RunEvent.CANCELLED)
        runs.set_state(connection, run.number, state, now_us, f"cancelled by {by.name}", begin_after_us=None)
    elif aside.work in ("timeout", "monitor"):
        asides.drop_due(connection, aside)


def _follow(connection: sqlite3.Connection, aside: Aside, now_us: int) -> None:
    try:
        happenings.follow_again(connection, aside.was, aside.subject.partition(" ")[2], now_us)
    except UnderstudyError:
        raise
    except Exception as error:  # whatever it is: the change is undone, and people read why
        if is_of_the_disk(error):
            raise
        raise Conflict(
            f"It fails again: {type(error).__name__}: {error}. Install a release that can, or dismiss it: "
            f"understudy scheduler aside dismiss {aside.id} --reason WHY"
        ) from error


def _line(connection: sqlite3.Connection, aside: Aside) -> AsideLine:
    job = asides.job_name(connection, aside.job_id)
    text = sentence(aside, job)
    if aside.work == "follow":
        text = f"{text}: {happenings.describe(connection, aside.was)}, by {aside.subject.partition(' ')[2]}"
    return AsideLine(
        id=aside.id,
        work=aside.work,
        subject=aside.subject,
        job=job,
        text=text,
        error=aside.error,
        aside_at_us=aside.aside_at_us,
        dismissed=DISMISSED.get(aside.work, ""),
    )


def _find(connection: sqlite3.Connection, aside_id: int) -> Aside:
    aside = asides.get(connection, aside_id)
    if aside is None:
        raise NotFound(f"Nothing is put aside under {aside_id}. Type: understudy scheduler aside list")
    return aside
