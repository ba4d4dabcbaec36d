"""A master in the search: the shipped actions on a real database, whose rows are one value.

What the fleet, the deliverer and the scheduler do around the actions is repeated here in order, without their queues.
The same action on the same rows is looked up.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from replication.core.types import Epoch
from server.actions import (
    agents,
    debts,
    gates,
    group_instants,
    happenings,
    jobs,
    reconciliation,
    reports,
    retries,
    step_chains,
    withheld_runs,
    workflow_runs,
    workflows,
)
from server.actions import checkpoints as checkpoint_actions
from server.actions import drains as drain_actions
from server.actions import orders as order_actions
from server.actions import runs as run_actions
from server.actions import silence as silence_actions
from server.actions.jobs import JobSpec, When
from server.core import agent_wire as wire
from server.core.gates import QUEUE_LOCKED
from server.core.model import SYSTEM
from server.core.special_instances import SpecialInstance
from server.core.workflows import Edge, WorkflowSpec, WorkflowStep, as_json
from server.errors import Conflict
from server.office.deliverer import order_message
from server.storage import agents as agent_rows
from server.storage import checkpoints, deliveries, orders, runs, settings, silence
from server.storage import gates as gate_rows
from tests.unit.ledger import Ledger

NAMES = ("north", "south")
IDS = tuple((name * 32)[:32] for name in NAMES)
JOB, ONCE = "tick", "once"
KEPT_SEQUENCE = 1
STATIC = {
    "users", "sessions", "api_tokens", "join_tokens", "outcomes", "audit", "system_messages", "nodes", "swaps",
    "sealed", "forks", "fork_runs", "fork_edits", "replication_position",
}  # fmt: skip
"""Tables that nothing here reads."""
WHEN = {
    "state_since_us", "submitted_at_us", "started_at_us", "ended_at_us", "recorded_at_us", "resolved_at_us",
    "set_at_us", "updated_at_us", "created_at_us", "enrolled_at_us", "quarantined_at_us", "removed_at_us",
    "cancel_requested_at_us", "silent_since_us", "dead_at_us", "given_up_at_us",
    "suspend_requested_at_us", "suspend_sent_at_us", "suspended_at_us", "at_us", "kept_at_us",
    "begun_at_us", "requested_at_us", "made_at_us",
}  # fmt: skip
"""Columns that say when something was: whether they are set matters, the time does not."""


class Link(NamedTuple):
    """An open link and what the master keeps of it; `up` and `down` are messages under way, by number.

    `news`: something was recorded since the last ticket. `slow`: nothing arrives until somebody talks.
    """

    down: tuple[int, ...]
    up: tuple[int, ...] = ()
    admitted: bool = False
    refused: bool = False
    revision: int = -1
    given: tuple[tuple[int, int], ...] = ()
    news: bool = False
    slow: bool = False
    suspended: tuple[int, ...] = ()


class Told(NamedTuple):
    """What came of an action: the rows after it, and its value."""

    rows: int
    value: Any


class Facts(NamedTuple):
    """What rows say. Pairs are of both agents: `confirmed` is the last ticket, `lock_kept` that a lock is acknowledged.

    `runs`: key -> (state, begun). `missed` and `open` are instants with a row, and an open row, in the ledger;
    `unknown` those that are unknown in the end without a run. `history`: keys in Server History.
    """

    quarantined: tuple[bool, ...]
    removed: tuple[bool, ...]
    confirmed: tuple[int, ...]
    job_at: int
    locked: tuple[bool, ...]
    runs: dict[str, tuple[str, int | None]]
    missed: frozenset[int]
    open: frozenset[int]
    history: frozenset[str]
    lock_kept: tuple[bool, ...]
    dead: tuple[bool, ...]
    silent: tuple[bool, ...]
    unknown: frozenset[int]


class Offices(Ledger):
    """One database that takes on any known rows. `times` are wall times of the world, by index."""

    def __init__(self, times: tuple[int, ...], cron: str, words: Collection[str] = ()) -> None:
        super().__init__()
        self._words = words
        self.connection.execute("PRAGMA foreign_keys = OFF")
        self._times = times
        for name in NAMES:
            self.add_agent(name, times[0])
        self.do(jobs.create(self.spec(NAMES[0], cron), SYSTEM, times[0]))
        if "chain" in words:
            first = WorkflowStep(name="a", command="true")
            steps = [first, WorkflowStep(name="b", command="true", after=[Edge(step="a")])]
            flow = as_json(WorkflowSpec(name="flow", agent=NAMES[0], steps=steps))
            self.do(workflows.create(flow, SYSTEM, times[0]))
            self.do(workflow_runs.run("flow", "k", {}, SYSTEM, times[0]))
        else:
            self.do(jobs.create(JobSpec(name=ONCE, command="true", agent=NAMES[0]), SYSTEM, times[0]))
            self.do(run_actions.run_now(ONCE, "k", SYSTEM, times[0]))
        self._turn(times[0])
        self._tables = self._watched()
        self._numbers: dict[Any, int] = {}
        self.contents: list[tuple[Any, ...]] = []
        self._known: dict[Any, Told] = {}
        self._facts: dict[int, Facts] = {}
        self._cron = cron
        self.steps = 0
        self.first = self._keep()

    def spec(self, agent: str, cron: str) -> JobSpec:
        """The job with the standing order: what is past is caught up, which is the most dangerous policy."""
        special = [SpecialInstance(name="x")] if "master" in self._words else []  # so the master submits what is due
        when = {"schedules": [When(cron)], "misfire_policy": "all", "special_instances": special}
        return JobSpec(name=JOB, command="true", agent=agent, **when)

    def _watched(self) -> dict[str, tuple[list[str], str]]:
        found = {}
        tables = self.connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")
        for (table,) in tables.fetchall():
            if table in STATIC or table.startswith("sqlite_"):
                continue
            columns = [row[1] for row in self.connection.execute(f"PRAGMA table_info({table})")]
            wanted = ", ".join(f"CASE WHEN {name} IS NULL THEN NULL ELSE 1 END" if name in WHEN else name
                               for name in columns)  # fmt: skip
            found[table] = (columns, f"SELECT {wanted} FROM {table} ORDER BY 1, 2")
        return found

    def _keep(self) -> int:
        content = tuple(tuple(self.connection.execute(query)) for _, query in self._tables.values())
        number = self._numbers.get(content)
        if number is None:
            number = self._numbers[content] = len(self.contents)
            self.contents.append(content)
        self._here = number
        return number

    def take_on(self, rows: int) -> sqlite3.Connection:
        """The database with these rows; changes to it must go through `act`."""
        if rows != self._here:
            here, wanted = self.contents[self._here], self.contents[rows]
            for (table, (columns, _)), old, new in zip(self._tables.items(), here, wanted, strict=True):
                if old != new:
                    self.connection.execute(f"DELETE FROM {table}")
                    marks = ", ".join("?" for _ in columns)
                    self.connection.executemany(f"INSERT INTO {table} VALUES ({marks})", new)
            self._here = rows
        return self.connection

    def act(self, rows: int, name: Any, time: int, action: Callable[[int], Any]) -> Told:
        """Do `action(now_us)` to the rows, let the scheduler do what follows."""
        key = (rows, name, time)
        found = self._known.get(key)
        if found is None:
            self.steps += 1
            self.take_on(rows)
            self._here = -1
            value = action(self._times[time])
            self._turn(self._times[time])
            found = self._known[key] = Told(self._keep(), value)
        return found

    def _turn(self, now_us: int) -> None:
        """What `server.office.scheduler` does at a commit."""
        while self.do(happenings.follow(now_us)):
            pass
        subjects = order_actions.read_changed(self.connection)
        if subjects:
            self.do(order_actions.put_plans(order_actions.plan_all(subjects, now_us), now_us))
        does = (group_instants.make_due, withheld_runs.let_go, retries.begin_due)
        while any(self.do(change(now_us)) for change in does):
            pass
        self.do(run_actions.submit_waiting(now_us))
        if order_actions.may_resolve(self.connection):
            self.do(order_actions.resolve_missed(now_us, 0))

    def turn(self, rows: int, time: int) -> int:
        """The scheduler looks at the time."""
        return self.act(rows, ("turn",), time, lambda now: None).rows

    # Actions by people and by office.

    def take_over(self, rows: int, epoch: int, time: int) -> int:
        """A new office begins on rows that may lack the last writes of the one before."""

        def change(now: int) -> None:
            debts.incur(self.connection, now)
            self.do(reconciliation.open_epoch(epoch, now))

        return self.act(rows, ("take over", epoch), time, change).rows

    def open_epoch(self, rows: int, epoch: int, time: int) -> int:
        """A new office begins on these rows."""
        return self.act(rows, ("open", epoch), time, lambda now: self.do(reconciliation.open_epoch(epoch, now))).rows

    def fall_silent(self, rows: int, who: int, time: int) -> int:
        """An agent has not answered for a while."""
        name = ("silent", who)
        return self.act(rows, name, time, lambda now: self.do(reconciliation.fall_silent(IDS[who], now, now))).rows

    def dead(self, rows: int, who: int, time: int) -> int:
        """An operator: the machine is dead."""
        name, declare = ("dead", who), silence_actions.declare_dead
        return self.act(rows, name, time, lambda now: self.do(declare(NAMES[who], SYSTEM, now))).rows

    def double(self, rows: int, who: int, time: int) -> Told:
        """Two processes say that they are this agent."""
        name = ("double", who)
        return self.act(rows, name, time, lambda now: self.do(reconciliation.quarantine_double(IDS[who], now)))

    def accept(self, rows: int, who: int, time: int) -> int:
        """An operator: the agent was restored."""
        name = ("accept", who)
        return self.act(rows, name, time, lambda now: self.do(agents.accept_restored(NAMES[who], SYSTEM, now))).rows

    def lock(self, rows: int, who: int, time: int) -> int:
        """An operator locks a queue."""
        return self.act(rows, ("lock", who), time, lambda now: self.do(gates.lock(NAMES[who], SYSTEM, now))).rows

    def unlock(self, rows: int, who: int, time: int) -> int:
        """An operator unlocks a queue."""
        return self.act(rows, ("unlock", who), time, lambda now: self.do(gates.unlock(NAMES[who], SYSTEM, now))).rows

    def move(self, rows: int, who: int, time: int) -> int:
        """An operator gives the job to another agent."""
        wanted = self.spec(NAMES[who], self._cron)
        return self.act(rows, ("move", who), time, lambda now: self.do(jobs.update(JOB, wanted, SYSTEM, now))).rows

    def give(self, rows: int, who: int, time: int) -> int:
        """An operator gives the job on request to another agent."""
        wanted = JobSpec(name=ONCE, command="true", agent=NAMES[who])
        return self.act(rows, ("give", who), time, lambda now: self.do(jobs.update(ONCE, wanted, SYSTEM, now))).rows

    def suspend(self, rows: int, time: int) -> int:
        """An operator suspends the run on request, or hears why not."""
        return self._of_once(rows, "suspend", time, checkpoint_actions.suspend)

    def resume(self, rows: int, time: int) -> int:
        """An operator lets it go on, or hears why not."""
        return self._of_once(rows, "resume", time, checkpoint_actions.resume)

    def _of_once(self, rows: int, name: str, time: int, action: Callable[..., Any]) -> int:
        def act(now_us: int) -> None:
            newest = self.connection.execute("SELECT max(number) FROM runs WHERE key LIKE '%.rk.a%'").fetchone()[0]
            with contextlib.suppress(Conflict):
                self.do(action(newest, SYSTEM, now_us))

        return self.act(rows, (name,), time, act).rows

    def next_ticket(self, rows: int, who: int, time: int) -> Told:
        """Something was recorded a while ago."""
        return self.act(rows, ("ticket", who), time, lambda now: self.do(reconciliation.next_ticket(IDS[who])))

    # What the fleet does with what an agent says.

    def take(
        self, rows: int, who: int, epoch: Epoch, batch: tuple[Any, ...], name: Any, time: int, alone: bool
    ) -> Told:
        """A batch of messages of one agent. Value: (answers, whether its ticket is kept, the reason of a refusal)."""
        key = ("take", who, epoch, name, alone)
        return self.act(rows, key, time, lambda now: self._take(who, epoch, batch, now, alone))

    def _take(self, who: int, epoch: Epoch, batch: tuple[Any, ...], now_us: int, alone: bool) -> Any:
        answers: list[wire.FromNode] = []
        kept, refusal = False, ""
        recordable: list[Any] = []

        def record() -> None:
            if recordable:
                self.do(reports.record(IDS[who], recordable, epoch.number, now_us))
                numbers = tuple(message.id for message in recordable if isinstance(message, wire.Report))
                if numbers:
                    answers.append(wire.Kept(numbers, KEPT_SEQUENCE, not alone))
                recordable.clear()

        for message in batch:
            if isinstance(message, wire.Present):
                record()
                if message.epoch == epoch:
                    hello = wire.Hello(IDS[who], wire.PROTOCOL, "1", "", "", 0)
                    verdict = self.do(reconciliation.present(IDS[who], hello, message, epoch.number, now_us))
                    if verdict.admitted is None:
                        refusal = verdict.refusal
                        answers.append(wire.Quarantined("q"))
                    else:
                        answers.append(verdict.admitted)
                        answers += [wire.ReleaseOrder(number, version) for number, version in verdict.strays]
            elif isinstance(message, reports.Recordable):
                kept = kept or isinstance(message, wire.TicketKept)
                recordable.append(message)
        record()
        return tuple(answers), kept, refusal

    def is_back(self, rows: int, who: int, time: int) -> int:
        """The agent keeps its ticket."""
        return self.act(rows, ("back", who), time, lambda now: self.do(run_actions.agent_is_back(IDS[who], now))).rows

    def bring(self, rows: int, who: int, epoch: int, link: Link, time: int) -> Told:
        """What the deliverer sends at a wake. Value: (messages, the link after it or None when it is closed)."""
        key = ("bring", who, epoch, link._replace(up=(), down=(), news=False, slow=False))
        return self.act(rows, key, time, lambda now: self._bring(who, epoch, link, now))

    def _bring(self, who: int, epoch: int, link: Link, now_us: int) -> Any:
        c, agent = self.connection, IDS[who]
        said: list[wire.FromNode] = []
        if agent in deliveries.quarantined(c):
            if not link.admitted:
                return (), link
            return (wire.Quarantined("q"),), link._replace(admitted=False, refused=True)
        if link.refused:
            return (), None
        if not link.admitted:
            return (), link
        revision = settings.gate_revision(c)
        if link.revision != revision:
            given_gates = drain_actions.gate_set(c, agent, wire.PROTOCOL)
            said.append(wire.SetGates(given_gates))
            link = link._replace(revision=given_gates.revision)
        given = dict(link.given)
        for order in orders.unacknowledged(c, agent):
            if given.get(order.id) != order.version:
                given[order.id] = order.version
                said.append(order_message(order))
        said += self.do(step_chains.renew(agent, now_us))
        if runs.to_dispatch(c, agent, 1):
            said += [one.dispatch for one in self.do(reconciliation.dispatch(agent, epoch, now_us))]
        wanted = [run.number for run in checkpoints.to_suspend(c, agent) if run.number not in link.suspended]
        for run in self.do(checkpoint_actions.mark_suspends_sent(wanted, now_us)) if wanted else ():
            said.append(wire.Suspend(run.key))
            link = link._replace(suspended=(*link.suspended, run.number))
        return tuple(said), link._replace(given=tuple(sorted(given.items())))

    # What is asked of rows.

    def facts(self, rows: int) -> Facts:
        """What moves and promises ask of rows."""
        found = self._facts.get(rows)
        if found is None:
            c = self.take_on(rows)
            rows_of = [agent_rows.get(c, agent) for agent in IDS]
            job = c.execute("SELECT agent_id FROM jobs WHERE name = ?", (JOB,)).fetchone()
            state = {
                key: (name, began)
                for key, name, began in c.execute("SELECT key, state, started_at_us FROM runs ORDER BY number")
            }
            open_rows = {at for (at,) in c.execute("SELECT scheduled_for_us FROM missed WHERE resolution = ''")}
            missed = {at for (at,) in c.execute("SELECT scheduled_for_us FROM missed")}
            history = frozenset(key for (key,) in c.execute("SELECT run_key FROM server_history"))
            found = self._facts[rows] = Facts(
                tuple(row.quarantined_at_us is not None for row in rows_of),
                tuple(row.removed_at_us is not None for row in rows_of),
                tuple(row.ticket_confirmed for row in rows_of),
                IDS.index(job[0]),
                tuple(any(gate.kind == QUEUE_LOCKED for gate in gate_rows.for_agent(c, agent)) for agent in IDS),
                state,
                frozenset(missed),
                frozenset(open_rows),
                history,
                tuple(
                    any(gate.kind == QUEUE_LOCKED for gate in gate_rows.for_agent(c, row.id))
                    and row.gates_acknowledged >= settings.gate_revision(c)
                    for row in rows_of
                ),
                tuple(row.dead_at_us is not None for row in rows_of),
                tuple(row.silent_since_us is not None for row in rows_of),
                frozenset(at for line in silence.unknown(c, self._times[-1]) for at in line.instants_us),
            )
        return found
