"""What follows from what happened. By the program itself: for the scheduler.

A follower is a function of a connection that writes rows and nothing else: retries, prerequisites, workflows, job
monitors. All of them see every happening in the order of commits, and the row of the outbox goes in the same change:
each consequence is there once, whatever crashes or fails over in between. A follower may meet a happening that it does
not watch, and a subject that has changed again since, or is gone: it looks at the rows.

Retries come first: for those behind them a run's end is final when no later attempt is there (`retries.is_final`). That
holds at the happening of the end itself: at an earlier one of the same page the row may have ended already.

A follower that raises is a defect, and one that every later master would meet again. What it wrote of that happening is
undone, the happening is kept aside with the follower's name, an alarm says so, and the rest goes on.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

import msgspec

from server.actions import checkpoints, job_monitors, prerequisite_runs, retries, workflow_begins, workflow_engine
from server.actions.change import Change, Transaction
from server.actions.quarantine import is_of_the_disk, put_aside
from server.core.happenings import Happening, Kind
from server.errors import NotFound
from server.storage import happenings, runs

PAGE = 200
_SHOW = {Kind.RUN: "understudy run show", Kind.WORKFLOW: "understudy workflow status"}
Follower = Callable[[sqlite3.Connection, Happening, int], None]
"""(connection, what happened, now in microseconds UTC)."""
FOLLOWERS: tuple[Follower, ...] = (
    checkpoints.follow,
    retries.follow_failure,
    job_monitors.follow_run,
    workflow_engine.follow,
    workflow_begins.follow,
    prerequisite_runs.follow,
)


def follow(now_us: int, followers: tuple[Follower, ...] | None = None) -> Change[int]:
    """Write the consequences of the oldest happenings; returns how many there were, 0 at the end."""
    chosen = FOLLOWERS if followers is None else followers

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = happenings.page(connection, PAGE)
        for happening in found:
            for follower in chosen:
                _let_follow(connection, follower, happening, now_us)
        if found:
            happenings.followed(connection, found[-1].id)
        return len(found)

    return change


def _let_follow(connection: sqlite3.Connection, follower: Follower, happening: Happening, now_us: int) -> None:
    """One follower at one happening, in a savepoint of its own.

    Raises what the disk is to blame for: that is nothing of the happening.
    """
    connection.execute("SAVEPOINT follower")
    try:
        follower(connection, happening, now_us)
    except Exception as error:  # whatever it is: it must not stop what other happenings ask for
        if is_of_the_disk(error):
            raise
        connection.execute("ROLLBACK TO follower")
        _put_aside(connection, follower, happening, error, now_us)
    connection.execute("RELEASE follower")


def name_of(follower: Follower) -> str:
    """The follower's name, as it is listed."""
    return f"{follower.__module__.rpartition('.')[2]}.{follower.__name__}"


def follow_again(connection: sqlite3.Connection, was: str, name: str, now_us: int) -> None:
    """Have one follower follow one happening that was put aside (`was`); raises what it raises, and NotFound."""
    chosen = next((follower for follower in FOLLOWERS if name_of(follower) == name), None)
    if chosen is None:
        raise NotFound(f"This release has no follower {name}. Dismiss it, or install the release that put it aside.")
    chosen(connection, _read(was), now_us)


def describe(connection: sqlite3.Connection, was: str) -> str:
    """What happened, for people, of a happening that was put aside."""
    happening = _read(was)
    return f"{subject_of(connection, happening)} is {happening.status}"


def _read(was: str) -> Happening:
    return msgspec.convert(dict(zip(Happening.__struct_fields__, json.loads(was), strict=True)), Happening)


def _put_aside(
    connection: sqlite3.Connection, follower: Follower, happening: Happening, error: Exception, now_us: int
) -> None:
    name = name_of(follower)
    show = _SHOW.get(Kind(happening.kind), "")
    seen = f" (see: {show} {happening.subject})" if show else ""
    what = (
        f"What follows from {subject_of(connection, happening)} being {happening.status}{seen} is not written by {name}"
    )
    was = json.dumps([getattr(happening, field) for field in Happening.__struct_fields__])
    job_id = happening.source_id if happening.kind == Kind.RUN else None
    put_aside(connection, "follow", f"{happening.id} {name}", job_id, error, now_us, was, what)


def subject_of(connection: sqlite3.Connection, happening: Happening) -> str:
    """What it happened to, for people."""
    run = runs.get(connection, happening.subject) if happening.kind == Kind.RUN else None
    return f"run {run.number} ({run.key})" if run is not None else f"{happening.kind} {happening.subject}"
