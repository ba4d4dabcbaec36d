"""The scheduler of a node in office: plans standing orders, accounts for what did not start, submits what waits.

It decides from rows that are committed, and what it does is rows: the fleet sends them. It sleeps until the
commit sequence moves or its next deadline. Nothing it does grows with history, and an idle scheduler writes
nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

import structlog

from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from server.actions import (
    blackouts,
    group_instants,
    job_monitors,
    maintenance,
    maintenance_windows,
    order_ledger,
    quarantine,
    retention,
    retries,
    stops,
    withheld_runs,
    workflow_begins,
    workflow_engine,
)
from server.actions import happenings as happening_actions
from server.actions import orders as order_actions
from server.actions import outcomes as outcome_actions
from server.actions import runs as run_actions
from server.actions import sessions as session_actions
from server.actions.change import Change, both
from server.clock import Clock
from server.core.gates import SCHEDULER_STOPPED
from server.core.model import DAY_US, HOUR_US, SECOND_US, SYSTEM
from server.storage import (
    gates,
    happenings,
    jobs,
    missed,
    orders,
    outcomes,
    runs,
    schedules,
    sessions,
    settings,
    workflow_runs,
)
from server.storage import job_monitors as monitor_rows

T = TypeVar("T")
log = structlog.get_logger()

SLEEP_S_MAX = 60.0
"""The wall clock may be set meanwhile: a deadline is looked at again at least this often."""
RETRY_S = 1.0
STUCK_US = 60 * SECOND_US
Step = tuple[str, bool, Callable[[], Awaitable[object]]]


class Rows(Protocol):
    """The part of replication's Store that the scheduler uses."""

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Run a change; returns when committed."""

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        """Run a query on committed rows; returns the sequence it saw."""

    async def wait_past(self, sequence: int) -> int:
        """Return when the commit sequence is above `sequence`."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one query saw: enough to know what there is to do.

    `deadline_us` is the next one, by the wall clock.
    """

    revision: int
    may_resolve: bool
    has_maintenance: bool
    has_windows: bool
    has_happenings: bool
    has_changed_jobs: bool
    has_renewals: bool
    has_stops: bool
    has_suppressed: bool
    has_blackout: bool
    has_group_due: bool
    has_withheld: bool
    has_retries_due: bool
    has_monitors_due: bool
    has_workflow_late: bool
    has_workflow_runs: bool
    has_waiting: bool
    has_old: bool
    has_outlived: bool
    newest_missed: int
    deadline_us: int


def look(connection: sqlite3.Connection, now_us: int) -> Look:
    """A query of a fixed number of look-ups in indexes."""
    renewal = orders.next_renewal_us(connection)
    suppressed = orders.next_suppressed_us(connection)
    waiting = runs.waiting(connection, 0, 1)
    week_ago_us = now_us - 7 * DAY_US
    of_groups = orders.next_by_master_us(connection)
    retry = runs.next_begin_us(connection)
    monitor = monitor_rows.next_due_us(connection)
    late = workflow_runs.next_deadline_us(connection)
    blackout = schedules.next_blackout_us(connection)
    deadlines = [renewal, suppressed, of_groups, blackout, retry, monitor, late, _stop_deadline_us(connection)]
    deadlines += [maintenance.next_deadline_us(connection), maintenance_windows.next_deadline_us(connection)]
    return Look(
        revision=settings.gate_revision(connection),
        may_resolve=order_actions.may_resolve(connection),
        has_maintenance=maintenance.has_work(connection, now_us),
        has_windows=maintenance_windows.has_work(connection, now_us),
        has_happenings=bool(happenings.page(connection, 1)),
        has_changed_jobs=bool(jobs.to_plan(connection, 1)),
        has_renewals=renewal is not None and renewal <= now_us,
        has_stops=stops.has_stops(connection, now_us),
        has_suppressed=suppressed is not None and suppressed <= now_us,
        has_blackout=blackout is not None and blackout <= now_us,
        has_group_due=of_groups is not None and of_groups <= now_us,
        has_withheld=withheld_runs.has_work(connection),
        has_retries_due=retry is not None and retry <= now_us,
        has_monitors_due=monitor is not None and monitor <= now_us,
        has_workflow_late=late is not None and late <= now_us,
        has_workflow_runs=workflow_begins.has_work(connection),
        has_waiting=bool(waiting),
        has_old=outcomes.oldest_us(connection) < week_ago_us or sessions.oldest_expiry_us(connection) < week_ago_us,
        has_outlived=retention.has_work(connection, now_us),
        newest_missed=missed.newest_id(connection),
        deadline_us=min((at for at in deadlines if at is not None), default=now_us + HOUR_US),
    )


def _stop_deadline_us(connection: sqlite3.Connection) -> int | None:
    """When the next instant of a stop is to be accounted for, or a lifted stop is over."""
    moments = [stop.until_us for stop in gates.stops(connection, 1)]
    standing = gates.get(connection, SCHEDULER_STOPPED)
    if standing is not None:
        first_us = orders.first_due_us(connection, standing.revision)
        moments += [] if first_us is None else [first_us]
    return min(moments) + stops.GRACE_US if moments else None


class Scheduler:
    """Lives while the node is in office. `run` ends when the store is closed or it is cancelled."""

    def __init__(self, store: Rows, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._since_us = clock.utc_us()
        self._submitted_for = -1
        self._resolved_for = -1
        self._resolved_above = 0
        self._stuck: dict[str, int] = {}
        """Until when a kind of work is left alone, because a defect stopped it: by the wall clock."""

    async def run(self) -> None:
        """Work until the store closes. What cannot be written now is tried again; nothing is lost by that."""
        is_first = True
        while True:
            try:
                if is_first:
                    await self._store.write(group_instants.adopt_orders())
                    is_first = False
                sequence, deadline_us = await self.turn()
                await self._sleep(sequence, deadline_us)
            except Closed:
                return
            except (Unavailable, OutcomeUnknown, ReadTimeout, DiskFull) as error:
                log.warning("scheduler waits", why=str(error))
                await asyncio.sleep(RETRY_S)
            except Exception as error:  # not of one kind of work: the look itself
                if quarantine.is_of_the_disk(error):
                    raise
                await self._say_stuck("the look at what there is to do", error)
                await asyncio.sleep(RETRY_S)

    async def _say_stuck(self, name: str, error: Exception) -> None:
        """What cannot be written now is said when it fails again."""
        with contextlib.suppress(Closed, Unavailable, OutcomeUnknown, ReadTimeout, DiskFull):
            await self._store.write(quarantine.stick(name, error, self._clock.utc_us()))

    async def turn(self) -> tuple[int, int]:
        """Do all there is to do now; returns (the sequence that was seen with nothing to do, next deadline)."""
        while True:
            now_us = self._clock.utc_us()
            seen, sequence = await self._store.read(partial(look, now_us=now_us))
            if not await self._work(seen, now_us):
                return sequence, seen.deadline_us

    async def _sleep(self, sequence: int, deadline_us: int) -> None:
        """Until the commit sequence moves or the deadline comes."""
        delay_s = (deadline_us - self._clock.utc_us()) / SECOND_US
        least_s = RETRY_S if self._stuck else 0.05
        try:
            async with asyncio.timeout(min(max(delay_s, least_s), SLEEP_S_MAX)):
                await self._store.wait_past(sequence)
        except TimeoutError:
            return

    async def _work(self, seen: Look, now_us: int) -> bool:
        """Do the first kind of work that there is; False when there is none, or only what a defect keeps from it."""
        for name, is_due, do in self._steps(seen, now_us):
            if is_due and self._stuck.get(name, 0) <= now_us:
                await self._try(name, do, now_us)
                return True
        return False

    async def _try(self, name: str, do: Callable[[], Awaitable[object]], now_us: int) -> None:
        """One kind of work. A defect that is not of one row stops this kind for a while and nothing else."""
        try:
            await do()
        except (Closed, Unavailable, OutcomeUnknown, ReadTimeout, DiskFull):
            raise
        except Exception as error:  # whatever it is: the next master would meet it too
            if quarantine.is_of_the_disk(error):
                raise
            self._stuck[name] = now_us + STUCK_US
            await self._store.write(quarantine.stick(name, error, now_us))
        else:
            if self._stuck.pop(name, None) is not None:
                await self._store.write(quarantine.unstick(name))

    def _steps(self, seen: Look, now_us: int) -> Iterator[Step]:
        """(name, whether there is something to do, what), the most urgent first."""

        def once(name: str, is_due: bool, change: Callable[[int], Change[T]]) -> Step:
            return name, is_due, lambda: self._store.write(change(now_us))

        yield once("changes of maintenance", seen.has_maintenance, maintenance.go_on)
        yield once("maintenance windows", seen.has_windows, maintenance_windows.go_on)
        yield once("what follows from what happened", seen.has_happenings, happening_actions.follow)
        yield once("time limits of workflows", seen.has_workflow_late, workflow_engine.time_out)
        yield once("jobs that begin workflows", seen.has_workflow_runs, workflow_begins.begin_due)
        yield once("due instants of its own", seen.has_group_due, group_instants.make_due)
        yield once("runs that were withheld", seen.has_withheld, withheld_runs.let_go)
        yield once("runs whose time has come", seen.has_retries_due, retries.begin_due)
        yield "planning of changed jobs", seen.has_changed_jobs, lambda: self._plan(now_us)
        yield "renewal of orders", seen.has_renewals, lambda: self._renew(now_us)
        yield once("the ledger of what is held", seen.has_suppressed, order_ledger.account_held)
        yield once("the ledger of blackout windows", seen.has_blackout, blackouts.account)
        yield once("the ledger of stops", seen.has_stops, stops.account_stops)
        yield once("job monitors", seen.has_monitors_due, partial(job_monitors.look_due, since_us=self._since_us))
        is_new = seen.has_waiting and self._submitted_for != seen.revision
        yield "runs that wait", is_new, lambda: self._submit(seen.revision, now_us)
        yield "misfire policies", self._may_resolve(seen), lambda: self._resolve(seen, now_us)
        yield once("what is old", seen.has_old, _prune)
        yield once("what is kept no longer", seen.has_outlived, retention.prune)

    async def _plan(self, now_us: int) -> None:
        """Plan changed jobs in a thread; a hold or release may also let waiting runs go."""
        subjects, _ = await self._store.read(order_actions.read_changed)
        plans = await asyncio.to_thread(order_actions.plan_all, subjects, now_us)
        await self._store.write(order_actions.put_plans(plans, now_us))
        self._submitted_for = -1

    async def _renew(self, now_us: int) -> None:
        ending, _ = await self._store.read(partial(order_actions.read_ending, now_us=now_us))
        renewals = await asyncio.to_thread(order_actions.renew_all, ending, now_us)
        await self._store.write(order_actions.put_renewals(renewals, now_us))

    async def _submit(self, revision: int, now_us: int) -> None:
        """Let waiting runs go, in order of submission."""
        after: int | None = 0
        while after is not None:
            (_, after), _ = await self._store.write(run_actions.submit_waiting(now_us, after))
        self._submitted_for = revision

    def _may_resolve(self, seen: Look) -> bool:
        is_new = seen.newest_missed > self._resolved_above
        return seen.may_resolve and (self._resolved_for != seen.revision or is_new)

    async def _resolve(self, seen: Look, now_us: int) -> None:
        """Let misfire policies decide: all open rows after a change of gates, else the new ones."""
        since = self._resolved_above if self._resolved_for == seen.revision else 0
        after: int | None = 0
        while after is not None:
            after, _ = await self._store.write(order_actions.resolve_missed(now_us, after, since))
        self._resolved_for, self._resolved_above = seen.revision, seen.newest_missed


def _prune(now_us: int) -> Change[object]:
    return both(outcome_actions.prune(now_us), session_actions.prune(SYSTEM, now_us))
