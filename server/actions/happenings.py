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

import sqlite3
from collections.abc import Callable

import structlog

from server.actions import checkpoints, job_monitors, prerequisite_runs, retries, workflow_begins, workflow_engine
from server.actions.change import Change, Transaction
from server.core.happenings import Happening, Kind
from server.storage import happenings, runs, system_messages

log = structlog.get_logger()

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

    Raises sqlite3.OperationalError: no room or a broken disk is nothing that the happening could be blamed for.
    """
    connection.execute("SAVEPOINT follower")
    try:
        follower(connection, happening, now_us)
    except sqlite3.OperationalError:
        raise
    except Exception as error:  # whatever it is: it must not stop what other happenings ask for
        connection.execute("ROLLBACK TO follower")
        _put_aside(connection, follower, happening, error, now_us)
    connection.execute("RELEASE follower")


def _put_aside(
    connection: sqlite3.Connection, follower: Follower, happening: Happening, error: Exception, now_us: int
) -> None:
    name = f"{follower.__module__.rpartition('.')[2]}.{follower.__name__}"
    why = f"{type(error).__name__}: {error}"
    log.error("a happening could not be followed", follower=name, happening=happening, exc_info=error)
    happenings.put_aside(connection, happening, name, why, now_us)
    show = _SHOW.get(Kind(happening.kind), "")
    text = (
        f"What follows from {_subject(connection, happening)} being {happening.status} could not be written by {name}: "
        f"{why[:300]}. The rest goes on; what should have followed is left to you."
    )
    system_messages.insert(
        connection, "alarm", f"{text} Look at it: {show} {happening.subject}" if show else text, now_us
    )


def _subject(connection: sqlite3.Connection, happening: Happening) -> str:
    run = runs.get(connection, happening.subject) if happening.kind == Kind.RUN else None
    return f"run {run.number} ({run.key})" if run is not None else f"{happening.kind} {happening.subject}"
