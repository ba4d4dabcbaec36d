"""Planned maintenance windows (BEY-10). Permissions: maintenance.change; reading them maintenance.read.

The scheduler calls `go_on`: one change begins the maintenance and notes that in the window's row, so that it happens
once over any failover. What begins is `actions.maintenance` with its own end; a maintenance that is on already is left
as it is, and then a window ends nothing that somebody else began.
"""

from __future__ import annotations

import sqlite3

from server.actions import maintenance
from server.actions.change import Change, Transaction, record, require
from server.core import maintenance_windows as rule
from server.core.maintenance import CRYOSPARC, Phase, Wish
from server.core.maintenance_windows import OPEN, OVER, PLANNED, Window, WindowSpec
from server.core.model import SECOND_US, SYSTEM, Principal
from server.errors import Conflict, Invalid, NotFound, UnderstudyError
from server.storage import maintenance_windows


def add(spec: WindowSpec, by: Principal, now_us: int, reason: str = "") -> Change[Window]:
    """Plan a window. Raises Invalid by field, NotFound for an agent that there is not, Conflict for too many."""
    require(by, "maintenance.change")

    def change(transaction: Transaction) -> Window:
        connection = transaction.connection
        wrong = spec.wrong(now_us)
        if wrong:
            raise Invalid(" ".join(wrong.values()), fields=wrong)
        maintenance.find_place(connection, spec.scope)
        if len(maintenance_windows.coming(connection)) >= maintenance_windows.MAX:
            raise Conflict(f"There are {maintenance_windows.MAX} windows already. Remove one first.")
        start_us, end_us = rule.first(spec, now_us)
        window_id = maintenance_windows.insert(
            connection,
            title=spec.title,
            scope=spec.scope,
            expression=spec.expression,
            zone=spec.zone,
            duration_us=spec.duration_s * SECOND_US,
            lead_us=spec.lead_s * SECOND_US,
            start_us=start_us,
            end_us=end_us,
            state=PLANNED,
            created_by=by.name,
            created_at_us=now_us,
        )
        record(connection, by, now_us, "maintenance.plan", f"window {window_id}", "", spec, reason)
        return find(connection, window_id)

    return change


def remove(window_id: int, by: Principal, now_us: int, reason: str = "") -> Change[Window]:
    """Plan it no longer. A maintenance that it has begun goes on until its own end. Raises NotFound."""
    require(by, "maintenance.change")

    def change(transaction: Transaction) -> Window:
        connection = transaction.connection
        window = find(connection, window_id)
        maintenance_windows.delete(connection, window_id)
        record(connection, by, now_us, "maintenance.unplan", f"window {window_id}", window, "", reason)
        return window

    return change


def find(connection: sqlite3.Connection, window_id: int) -> Window:
    """A query; raises NotFound."""
    window = maintenance_windows.get(connection, window_id)
    if window is None:
        raise NotFound(f"There is no window {window_id}. See: understudy maintenance window list")
    return window


def has_work(connection: sqlite3.Connection, now_us: int) -> bool:
    """A query: does a window begin, or is one over?"""
    return any(window.is_due(now_us) for window in maintenance_windows.coming(connection))


def next_deadline_us(connection: sqlite3.Connection) -> int | None:
    """A query: when one begins or is over next."""
    deadlines = [window.deadline_us for window in maintenance_windows.coming(connection)]
    return min((at for at in deadlines if at is not None), default=None)


def go_on(now_us: int) -> Change[int]:
    """Begin what is due and close what is over; returns how many windows that were."""

    def change(transaction: Transaction) -> int:
        due = [w for w in maintenance_windows.coming(transaction.connection) if w.is_due(now_us)]
        for window in due:
            if window.state == PLANNED and now_us < window.end_us:
                _begin(transaction, window, now_us)
            else:
                missed = "" if window.state == OPEN else "nobody was master in its time: it did not begin"
                _close(transaction.connection, window, missed, now_us)
        return len(due)

    return change


def _begin(transaction: Transaction, window: Window, now_us: int) -> None:
    """Put its scope into maintenance until its end; what stands against that is said in its row."""
    connection = transaction.connection
    why = f"planned window {window.id}" + (f": {window.title}" if window.title else "")
    wish = Wish(phase=Phase.DRAINING, policy=CRYOSPARC, keeps=True, reason=why, end_at_us=window.end_us)
    try:
        done = maintenance.start(wish, window.scope, SYSTEM, now_us)(transaction)
        said = "begun" if done.changed else "a maintenance was on already and was left as it is"
    except UnderstudyError as error:
        said = f"it could not begin: {error}"
    maintenance_windows.update(connection, window.id, state=OPEN, said=said, said_at_us=now_us)
    record(connection, SYSTEM, now_us, "maintenance.window", f"window {window.id}", "", said)


def _close(connection: sqlite3.Connection, window: Window, said: str, now_us: int) -> None:
    """An occurrence is over: the next one is planned, if it comes again."""
    values: dict[str, object] = {"said": said, "said_at_us": now_us} if said else {}
    after = rule.following(window, now_us)
    if after is None:
        maintenance_windows.update(connection, window.id, state=OVER, **values)
    else:
        maintenance_windows.update(connection, window.id, state=PLANNED, start_us=after[0], end_us=after[1], **values)
    if said:
        record(connection, SYSTEM, now_us, "maintenance.window", f"window {window.id}", "", said)
