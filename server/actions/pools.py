"""The runs of groups on their way: chosen, taken back, asked for, adopted. By the program itself: for the fleet.

Until a run was sent (`dispatched_epoch`), nobody has it and its row may name another member; afterwards only the agent
itself sets it free: by its inventory, or by the answer to a recall. Never by a guess.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Collection, Mapping

import msgspec

from server.actions import debts, job_workflows
from server.actions.change import Change, Transaction
from server.actions.quarantine import put_aside
from server.core.debts import WITHHELD_US, could_move
from server.core.gates import DRAINING, REASONS, reason, takes_runs
from server.core.groups import (
    NOT_CONNECTED,
    Choice,
    Handover,
    Policy,
    Pool,
    Seat,
    Wish,
    Worker,
    is_overdue,
    on_removal,
    place,
)
from server.core.limits import Usage, said
from server.core.model import SYSTEM, Agent, Run
from server.core.run_states import ENDED, RunEvent, RunState, allows, step
from server.storage import agents, drains, gates, groups, jobs, limits, runs, system_messages
from server.storage import debts as debt_rows
from server.storage.job_workflows import WORKFLOWS

PAGE = 500
NO_USAGE = Usage({}, lambda name: 0)
"""Runs of one group that one change places at most."""


class Placement(msgspec.Struct, frozen=True):
    """What one look at the pools leaves to do. `reasons`: what the rest of each pool says."""

    choices: list[Choice]
    turns: dict[str, int]
    loose: list[Run]
    away: list[Run]
    orphans: list[Run]
    reasons: dict[str, str]
    short: dict[int, str] = {}
    """Of runs that a limit stops and that do not say so yet: what they say then."""
    owed: list[Run] = []
    """What an agent that is silent since a loss may have."""
    bad: list[tuple[Run, Exception]] = []
    """Runs whose job's row does not decode."""

    @property
    def is_empty(self) -> bool:
        """Whether no row but reasons would change."""
        return not (self.choices or self.loose or self.away or self.orphans or self.short or self.owed or self.bad)


def look(connection: sqlite3.Connection, connected: Collection[str]) -> Placement:
    """A query: decide for every pool from the rows and from who is connected."""
    group_ids = groups.pools(connection)
    loose: list[Run] = []
    pools = groups.load_pools(connection, barred(connection, connected), group_ids)
    waiting: list[Wish] = []
    limited: dict[int, Run] = {}
    reasons: dict[str, str] = {}
    debt = debt_rows.latest(connection)
    owed: list[Run] = []
    bad: list[tuple[Run, Exception]] = []
    for group_id, pool in pools.items():
        seats = {seat.worker.agent_id: seat for seat in pool.seats}
        gate = reason(gates.host_wide(connection), "")
        for run in groups.in_pool(connection, group_id, PAGE):
            if run.state == RunState.STARTING:
                seat = seats.get(run.agent_id)
                if seat is None or seat.worker.barred:
                    loose.append(run)
            elif debts.must_wait(connection, debt, run):
                owed.append(run)
            elif gate is None:
                try:
                    waiting.append(_wish(connection, run, group_id, limited))
                except msgspec.MsgspecError as error:
                    bad.append((run, error))
        if gate is not None:
            reasons[group_id] = gate
    turns = {group_id: pool.turn for group_id, pool in pools.items()}
    groups_only = dict(pools)
    waiting += _singles(connection, connected, pools, limited, owed, bad)
    choices, stopped = place(waiting, pools, limits.usage(connection) if limited else NO_USAGE)
    for group_id, pool in groups_only.items():
        if group_id not in reasons:
            reasons[group_id] = pool.reason()
    moved = {group_id: pool.turn for group_id, pool in groups_only.items() if pool.turn != turns[group_id]}
    away, orphans = groups.held_away(connection), groups.orphaned(connection)
    wishes = {wish.number: wish for wish in waiting}
    taken = {choice.number for choice in choices}
    says = {n: said(stopped[n]) if n in stopped else pools[wishes[n].group_id].reason() for n in limited.keys() - taken}
    short = {number: why for number, why in sorted(says.items()) if limited[number].reason != why}
    return Placement(choices, moved, loose, away, orphans, reasons, short, owed, bad)


def _wish(connection: sqlite3.Connection, run: Run, pool: str, limited: dict[int, Run]) -> Wish:
    """A run as it is placed. One with limits, its job's or its group's, is noted in `limited`."""
    if not run.limited:
        return Wish(run.number, pool, run.rank_us)
    job = jobs.get(connection, run.job_id)
    limited[run.number] = run
    return Wish(run.number, pool, run.rank_us, limits.needs(connection, job, run.group_id) if job is not None else {})


def _singles(
    connection: sqlite3.Connection,
    connected: Collection[str],
    pools: dict[str, Pool],
    limited: dict[int, Run],
    owed: list[Run],
    bad: list[tuple[Run, Exception]],
) -> list[Wish]:
    """Runs of single agents that only a limit stops, each agent as a pool of its own: all have one order of ranks.

    What an agent that is silent since a loss may have is added to `owed` instead, and to `bad` a run whose job's row
    does not decode.
    """
    found, in_force = [], gates.every(connection)
    for run in limits.waiting(connection, PAGE):
        try:
            job = jobs.get(connection, run.job_id)
        except msgspec.MsgspecError as error:
            bad.append((run, error))
            continue
        is_connected = run.agent_id in connected or run.agent_id == WORKFLOWS
        is_there = is_connected and job is not None and job.deleted_at_us is None
        if not is_there or job_workflows.why_waits(connection, job) or reason(in_force, run.agent_id, job) is not None:
            continue
        if debts.must_wait(connection, debt_rows.latest(connection, run.agent_id), run):
            owed.append(run)
            continue
        if run.agent_id not in pools:
            seats = [Seat(Worker(run.agent_id, run.agent_id[:8]), 0)]
            pools[run.agent_id] = Pool(run.agent_id, run.agent_id[:8], Policy.PREFERRED, seats=seats)
        found.append(_wish(connection, run, run.agent_id, limited))
    return found


def barred(connection: sqlite3.Connection, connected: Collection[str]) -> dict[str, str]:
    """Why an agent may start nothing now, for every agent that serves a group and may not."""
    own = [gate for gate in gates.every(connection) if gate.agent_id]
    stopping = drains.stopping(connection)
    found = {}
    for agent_id in groups.deployed(connection):
        agent = agents.get(connection, agent_id)
        if agent is None or agent.removed_at_us is not None:
            found[agent_id] = "removed"
        elif agent.quarantined_at_us is not None:
            found[agent_id] = "quarantined"
        elif agent_id not in connected:
            found[agent_id] = NOT_CONNECTED
        elif not takes_runs(own, agent_id, stopping):
            found[agent_id] = reason(own, agent_id) or REASONS[DRAINING]
    return found


def describe(connection: sqlite3.Connection, group_id: str, is_connected: Callable[[str], object]) -> str:
    """A query: the members' state in one line, for a run that waits: `alpha 4 of 4, beta not connected`."""
    connected = {m.agent_id for m in groups.members(connection, group_id) if is_connected(m.agent_id)}
    pools = groups.load_pools(connection, barred(connection, connected), [group_id])
    return pools[group_id].describe() if group_id in pools else ""


def place_waiting(connected: Collection[str], now_us: int) -> Change[int]:
    """Give members to waiting runs, by rank and within limits; returns how many rows changed.

    The look is repeated inside the change: what it decides from is what is written upon.
    """

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = look(connection, connected)
        for run in found.loose:
            release(connection, run, now_us)
        for run in found.orphans:
            state = step(run.state, RunEvent.CANCELLED)
            runs.set_state(connection, run.number, state, now_us, "job deleted")
        for run, error in found.bad:
            put_aside(connection, "begin", str(run.number), run.job_id, error, now_us)
        for run in found.owed:
            debts.withhold_run(connection, run, now_us)
        for choice in found.choices:
            state = step(RunState.WAITING, RunEvent.SUBMITTED)
            holds = msgspec.json.encode(dict(choice.holds)).decode()
            runs.set_state(connection, choice.number, state, now_us, agent_id=choice.agent_id, holds=holds)
        for number, why in found.short.items():
            runs.set_state(connection, number, step(RunState.WAITING, RunEvent.GATED), now_us, why)
        for group_id, turn in found.turns.items():
            groups.update(connection, group_id, turn=turn)
        for run in found.away:
            groups.recall(connection, run, SYSTEM.name, "its agent may not begin it now", now_us)
        parts = (found.loose, found.orphans, found.choices, found.away, found.short, found.owed, found.bad)
        return sum(len(part) for part in parts)

    return change


def misnamed(connection: sqlite3.Connection, reasons: Mapping[str, str]) -> list[str]:
    """A query: ids of the groups with runs that wait and say another reason than they should."""
    return [group_id for group_id, why in reasons.items() if groups.says_otherwise(connection, group_id, why)]


def say_reasons(reasons: Mapping[str, str], now_us: int) -> Change[int]:
    """Let what waits in the pools say why; returns how many rows did not."""

    def change(transaction: Transaction) -> int:
        return sum(groups.say_reason(transaction.connection, gid, why, now_us) for gid, why in reasons.items())

    return change


def release(connection: sqlite3.Connection, run: Run, now_us: int, why: str = "") -> None:
    """Nobody has the run: it waits in its group's pool, inside the caller's change. What was asked is answered.

    One that somebody wants cancelled is: nobody else gets it.
    """
    if run.cancel_requested_at_us is not None:
        cancel(connection, run, now_us)
        return
    event = RunEvent.NEVER_STARTED if allows(run.state, RunEvent.NEVER_STARTED) else RunEvent.GATED
    text = why or "chosen again"
    state = step(run.state, event)
    runs.set_state(connection, run.number, state, now_us, text, agent_id=run.group_id, dispatched_epoch=None)
    groups.answer_recall(connection, run.number, "given back", now_us)


def cancel(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    """End a run that never began and that somebody wanted ended, inside the caller's change."""
    state = step(run.state, RunEvent.CANCELLED)
    runs.set_state(connection, run.number, state, now_us, f"cancelled by {run.cancel_requested_by}")
    groups.answer_recall(connection, run.number, "given back", now_us)


def give_back(connection: sqlite3.Connection, run: Run, number: int, now_us: int) -> None:
    """The agent's answer to recall `number`: it has not begun the run and has forgotten it.

    Only the answer to what is asked now counts: a report that comes twice changes nothing.
    """
    asked = groups.pending_recall(connection, run.number)
    if asked is None or asked.id != number or run.started_at_us is not None:
        return
    if run.state not in ("waiting", "starting", "unknown"):
        groups.answer_recall(connection, run.number, "ended" if run.state in ENDED else "began", now_us)
        return
    release(connection, run, now_us, f"given back by {_name(connection, run.agent_id)}")


def adopt(connection: sqlite3.Connection, run: Run, agent_id: str, epoch: int) -> Run:
    """An agent has begun a run of which the rows say that nobody has it: they are of before; it is that agent's."""
    runs.update(connection, run.number, agent_id=agent_id, dispatched_epoch=epoch, begin_after_us=None)
    found = runs.get(connection, run.number)
    assert found is not None, "it was updated just now"
    return found


def is_in_pool(run: Run) -> bool:
    """Whether it is a group's run that nobody was sent. A suspended one waits for a person, not for a member."""
    is_open = run.state not in (RunState.SUSPENDED, RunState.RESUMING)
    return run.group_id != "" and run.dispatched_epoch is None and is_open


def is_nobodys(run: Run) -> bool:
    """Whether no agent was sent the run: it waits in a pool, or here, or nobody knows whether a dead machine had it.

    An agent that has begun it was given it by a master whose last writes are lost.
    """
    is_open = run.state in ("waiting", "starting", "unknown")
    return is_in_pool(run) or (run.dispatched_epoch is None and is_open and could_move(run))


def was_withheld(run: Run) -> bool:
    """Whether it waits, or is `unknown`, because a silent agent may have been given it by a lost master."""
    return run.begin_after_us == WITHHELD_US or (run.state == "unknown" and run.dispatched_epoch is None)


def hand_over(connection: sqlite3.Connection, group_id: str, agent_id: str, by: str, now_us: int) -> int:
    """SMA-5: the agent serves the group no more; returns how many runs it is asked to give back.

    Inside the caller's change. What runs there goes on to its end.
    """
    asked = 0
    for run in groups.open_at(connection, group_id, agent_id):
        sent, began = run.dispatched_epoch is not None, run.started_at_us is not None
        match on_removal(run.state, sent, began):
            case Handover.MOVE:
                release(connection, run, now_us)
            case Handover.RECALL:
                asked += groups.recall(connection, run, by, "another deployment", now_us)
            case Handover.RESUME:
                state = step(run.state, RunEvent.RESUME_ASKED)
                why = "its agent serves the group no more"
                values = {"agent_id": group_id, "dispatched_epoch": None}
                runs.set_state(connection, run.number, state, now_us, why, **values)
            case Handover.STAY:
                pass
    return asked


def warn_overdue(connected: Collection[str], now_us: int) -> Change[int]:
    """SMA-7: an alarm, once for each group, for runs that wait although a member could start them."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        late = overdue(connection, connected, now_us)
        for pool in late:
            seat = pool.choose()
            assert seat is not None, "overdue means that somebody could start it"
            text = (
                f"Runs of group {pool.name} wait for more than a minute although {seat.worker.name} could start them. "
                f"`understudy group show {pool.name}` says what each member does."
            )
            system_messages.insert(connection, "alarm", text, now_us)
        return len(late)

    return change


def overdue(connection: sqlite3.Connection, connected: Collection[str], now_us: int) -> list[Pool]:
    """A query: pools whose oldest run waits too long while no gate or debt stops it and a member has room."""
    if reason(gates.host_wide(connection), "") is not None or debt_rows.is_open(connection):
        return []
    pools = groups.load_pools(connection, barred(connection, connected), groups.pools(connection))
    since = {group_id: groups.oldest_since_us(connection, group_id) for group_id in pools}
    return [p for p in pools.values() if (at := since[p.group_id]) is not None and is_overdue(at, now_us, p)]


def _name(connection: sqlite3.Connection, agent_id: str) -> str:
    agent: Agent | None = agents.get(connection, agent_id)
    return agent.name if agent is not None else agent_id[:8]
