"""What follows from what happened. By the program itself: for the scheduler.

A follower is a function of a connection that writes rows and nothing else: retries, prerequisites, workflows, job
monitors. All of them see every happening in the order of commits, and the row of the outbox goes in the same change:
each consequence is there once, whatever crashes or fails over in between. A follower may meet a happening that it does
not watch, and a subject that has changed again since, or is gone: it looks at the rows.

Retries come first: for those behind them a run's end is final when no later attempt is there (`retries.is_final`). That
holds at the happening of the end itself: at an earlier one of the same page the row may have ended already.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from server.actions import checkpoints, job_monitors, prerequisite_runs, retries, workflow_engine
from server.actions.change import Change, Transaction
from server.core.happenings import Happening
from server.storage import happenings

PAGE = 200
Follower = Callable[[sqlite3.Connection, Happening, int], None]
"""(connection, what happened, now in microseconds UTC)."""
FOLLOWERS: tuple[Follower, ...] = (
    checkpoints.follow,
    retries.follow_failure,
    job_monitors.follow_run,
    workflow_engine.follow,
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
                follower(connection, happening, now_us)
        if found:
            happenings.followed(connection, found[-1].id)
        return len(found)

    return change
