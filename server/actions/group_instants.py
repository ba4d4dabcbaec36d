"""The due instants of orders that the master itself acts on. By the program itself: for the scheduler.

A run, or a row of the ledger, and the order's cursor are written in one change, and the run's key names the instant: so
each instant has exactly one of them, whatever crashes or fails over in between.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from functools import partial
from itertools import product

from server.actions import order_ledger, prerequisite_runs
from server.actions import orders as order_actions
from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded, readable
from server.core import planning
from server.core.agent_requests import lifted
from server.core.gates import HELD, REASONS, SUSPENDED, Verdict, of_tenant, on_occurrence
from server.core.instants import LATE_US
from server.core.model import Order
from server.core.tenancy import tenant_of
from server.storage import exceptions, gate_changes, gates, jobs, orders, schedules

NO_MASTER = "no master was in office"
PAGE = 100
INSTANTS = 500
PAST_US = planning.PAST_US
Span = tuple[int, int, str]


def make_due(now_us: int) -> Change[int]:
    """Make what is due of its own orders, the earliest first; returns how many orders were looked at, 0 at the end.

    While the scheduler is stopped, or was, the instant is missed with that cause; one met later than an agent would
    is missed too, and the misfire policy decides.
    """

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        page = orders.due_by_master(connection, now_us, PAGE)
        stops = Stops(connection)
        for order in readable(connection, "due", page, now_us):
            guarded(connection, "due", order.id, order.job_id, now_us, partial(_make, connection, order, stops, now_us))
        return len(page)

    return change


class Stops:
    """When what was due was missed, as (from, until, cause): read once for each agent and tenant of a page of orders.

    Of stops that are not forgotten, and of gates in force or lifted: an instant that fell due in the last turn before a
    maintenance ended is looked at after its end.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._known: dict[tuple[str, str], list[Span]] = {}
        self._stops = [(stop.from_us, stop.until_us, REASONS[stop.kind]) for stop in gates.stops(connection)]

    def of(self, agent_id: str, tenant: str) -> list[Span]:
        """The spans for what is of a tenant at an agent, or a group; its machine may be gone altogether."""
        found = self._known.get((agent_id, tenant))
        if found is None:
            found = self._known[agent_id, tenant] = self._read(agent_id, tenant)
        return found

    def _read(self, agent_id: str, tenant: str) -> list[Span]:
        gone = order_actions.gone(self._connection, agent_id)
        if gone:
            return [(0, 2**62, gone)]
        found = list(self._stops)
        in_force = gates.for_agent(self._connection, agent_id)
        spans = [(gate.kind, gate.set_at_us, 2**62) for gate in in_force]
        for place, kind in {*product(("", agent_id), (SUSPENDED, of_tenant(tenant, SUSPENDED)))}:
            spans += [(kind, *span) for span in lifted(gate_changes.of_gate(self._connection, place, kind))]
        for kind, first_us, end_us in spans:
            verdict, why = on_occurrence([kind], tenant)
            if verdict is Verdict.MISS:
                found.append((first_us, end_us, why))
        return found


def adopt_orders() -> Change[int]:
    """Orders that a release without groups gave to a group's row are the master's; returns how many there were."""

    def change(transaction: Transaction) -> int:
        return orders.adopt_by_master(transaction.connection)

    return change


def cause(at_us: int, stops: Sequence[Span], now_us: int) -> str:
    """Why the instant is not submitted, or ""."""
    for first, end, why in stops:
        if first <= at_us < end:
            return why
    return NO_MASTER if at_us < now_us - LATE_US else ""


def _make(connection: sqlite3.Connection, order: Order, stops: Stops, now_us: int) -> None:
    schedule, job = schedules.get(connection, order.schedule_id), jobs.get(connection, order.job_id)
    if schedule is None or job is None or job.deleted_at_us is not None:
        orders.finish_release(connection, order, now_us)
        return
    missed = stops.of(order.agent_id, tenant_of(job.name))
    special = {row.instant_us: row for row in exceptions.open_of_schedule(connection, schedule.id, now_us - PAST_US)}
    found, done_us, next_us = planning.unaccounted(order, schedule, 0, now_us + 1, INSTANTS)
    moved = [row for row in special.values() if row.moved_to_us is not None and not row.skipped]
    due = [(at_us, at_us) for at_us in found if special.get(at_us) not in moved]
    due += [(row.start_us, row.instant_us) for row in moved if order.valid_from_us < row.start_us <= now_us]
    for start_us, at_us in sorted(due):
        row = special.get(at_us)
        why = cause(start_us, missed, now_us) or (HELD if job.held else "")
        if why or (row is not None and row.skipped):
            order_ledger.record_missed(connection, order, at_us, why, now_us)
        else:
            prerequisite_runs.submit_due(connection, job, schedule.id, at_us, "schedule", now_us)
    next_us = min([next_us, *(row.start_us for row in moved if row.start_us > now_us)])
    orders.update(connection, order.id, accounted_until_us=done_us, next_instant_us=next_us)
