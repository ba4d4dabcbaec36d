"""Brings to connected agents what rows say: gates, orders, runs to start, runs to stop.

Rows are read at or below the commit sequence only: nothing is sent that a failover could take back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import partial

import msgspec
import structlog

from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from replication.store import Store
from server.actions import checkpoints as checkpoint_actions
from server.actions import drains as drain_actions
from server.actions import events, quarantine, reconciliation
from server.actions import requests as request_actions
from server.actions import step_chains as chain_actions
from server.core import agent_wire as wire
from server.core.model import Order, Run
from server.core.monitors import Reaction
from server.core.schedule import compress, expand
from server.errors import Invalid
from server.ports.agent_links import AgentLink
from server.storage import checkpoints, deliveries, groups, monitors, orders, runs, settings, silence, step_chains
from server.storage.rows import Unreadable

log = structlog.get_logger(__name__)

RETRY_S = 0.2
DEFECT_S = 5.0
GATES_AT_ONCE = 250
PACE_S = 2e-6
"""While thousands acknowledge something, one look is for many commits: with 10,000 agents in 20 ms at most one."""


@dataclass(slots=True)
class Member:
    """An agent on an open link. `admitted` once its ticket is durable there; `refused` while it is quarantined.

    `is_let_in`: its inventory was taken on this link; before that nothing that it says is recorded. `inbox` has
    messages with the bytes of their frames, `inbox_bytes` in all.
    """

    link: AgentLink
    inbox: asyncio.Queue[tuple[wire.FromAgent, int]] = field(default_factory=asyncio.Queue)
    inbox_bytes: int = 0
    is_let_in: bool = False
    admitted: bool = False
    refused: bool = False
    revision: int = -1
    start_alone: bool | None = None
    given: dict[int, int] = field(default_factory=dict)
    monitors: dict[int, int] = field(default_factory=dict)
    stopped: set[tuple[int, bool]] = field(default_factory=set)
    recalled: set[int] = field(default_factory=set)
    suspended: set[int] = field(default_factory=set)
    deployment: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def knows_groups(self) -> bool:
        """Whether its program understands deployments and recalls."""
        return self.link.hello.protocol >= 2

    def refuse(self, why: str) -> None:
        """Nothing more is given to it; it is told why."""
        self.admitted, self.refused = False, True
        self.link.send(wire.Quarantined(why))


@dataclass(frozen=True, slots=True)
class Standing:
    """What rows say of agents that stays so: who is given nothing and why, who starts alone, the gates' revision."""

    aside: Mapping[str, str] = field(default_factory=dict)
    alone: frozenset[str] = frozenset()
    revision: int = -1

    def differs(self, former: Standing) -> set[str]:
        """The agents of which two looks say different things."""
        return {agent_id for agent_id, _ in self.aside.items() ^ former.aside.items()} | self.alone ^ former.alone


class Deliverer:
    """Of one office; `members` are the fleet's, by agent id. `utc_us`: the node's clock.

    `told` opens what is sealed, just before it is sent.
    """

    def __init__(
        self,
        store: Store,
        members: Mapping[str, Member],
        epoch_number: int,
        utc_us: Callable[[], int],
        told: reconciliation.Told = reconciliation.refuse_secrets,
    ) -> None:
        self._told = told
        self._store = store
        self._members = members
        self._epoch_number = epoch_number
        self._utc_us = utc_us
        self._wake = asyncio.Event()
        self._known = Standing()
        self._fresh: set[str] = set()

    def wake(self) -> None:
        """Look at the rows again: they changed."""
        self._wake.set()

    def consider(self, agent_id: str) -> None:
        """Look at this agent whatever changed in the rows: it was admitted or refused. Others cost a look nothing."""
        self._fresh.add(agent_id)
        self._wake.set()

    async def deliver_forever(self) -> None:
        """Bring what there is at each wake, until the store closes."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            try:
                await self._deliver()
                await asyncio.sleep(len(self._members) * PACE_S)
            except (Unavailable, ReadTimeout, DiskFull) as error:
                log.warning("agents wait for what rows say", why=str(error))
                await asyncio.sleep(RETRY_S)
                self._wake.set()
            except Closed:
                return
            except Exception as error:
                log.error("a defect keeps agents from what rows say; it is tried again", exc_info=error)
                await asyncio.sleep(DEFECT_S)
                self._wake.set()

    async def _deliver(self) -> None:
        """One look: at those of which rows say something to do, or something else than before. It fails as a whole."""
        fresh, self._fresh = self._fresh, set()
        try:
            (waiting, untold, standing), _ = await self._store.read(
                lambda c: (
                    deliveries.agents(c),
                    groups.to_tell(c),
                    Standing(deliveries.quarantined(c), deliveries.starting_alone(c), settings.gate_revision(c)),
                )
            )
            concerned = fresh | standing.differs(self._known)
            is_same = standing.revision == self._known.revision
            await self._give_gates(standing, concerned if is_same else list(self._members))
            for agent_id in concerned | waiting | untold.keys():
                await self._deliver_to(agent_id, standing, untold.get(agent_id, 0), agent_id in waiting)
        except BaseException:
            self._fresh |= fresh
            raise
        self._known = standing

    async def _deliver_to(self, agent_id: str, standing: Standing, deployment: int, has_more: bool) -> None:
        member = self._members.get(agent_id)
        if member is None:
            return
        if agent_id in standing.aside:
            if member.admitted:
                await self._take_back(agent_id, member, standing.aside[agent_id])
        elif member.refused:
            await member.link.close()
        elif member.admitted:
            is_alone = agent_id in standing.alone
            if member.start_alone != is_alone and member.link.hello.protocol >= 2:
                member.start_alone = is_alone
                member.link.send(wire.SetStartAlone(is_alone))
            if member.knows_groups and deployment > member.deployment:
                await self._give_deployment(agent_id, member, deployment)
            if has_more:
                await self._give(agent_id, member)

    async def _take_back(self, agent_id: str, member: Member, why: str) -> None:
        """Ask a machine that was replaced for its orders, behind the word that it starts nothing any more.

        Once on a connection: rows that cannot be read now leave it admitted, and it is looked at again.
        """
        releasing, _ = await self._store.read(partial(silence.releasing, agent_id=agent_id))
        member.refuse(why)
        for order in releasing:
            member.link.send(wire.ReleaseOrder(order.id, order.version))

    async def _give_gates(self, standing: Standing, agent_ids: Collection[str]) -> None:
        """Tell the gates to those that have others, many with one look at the rows: a lock concerns everybody."""
        known = [(agent_id, self._members[agent_id]) for agent_id in agent_ids if agent_id in self._members]
        behind = [
            (agent_id, member)
            for agent_id, member in known
            if member.admitted and member.revision != standing.revision and agent_id not in standing.aside
        ]
        for first in range(0, len(behind), GATES_AT_ONCE):
            told = behind[first : first + GATES_AT_ONCE]
            asked = [(agent_id, member.link.hello.protocol) for agent_id, member in told]
            given, _ = await self._store.read(partial(drain_actions.gate_sets, asked=asked))
            for _, member in told:
                gates = given[member.link.agent_id]
                member.revision = gates.revision
                if member.admitted:
                    member.link.send(wire.SetGates(gates))

    async def _give_deployment(self, agent_id: str, member: Member, number: int) -> None:
        """Which groups it serves now: rows read later may say more, and then with a higher number."""
        found, _ = await self._store.read(lambda c: groups.of_agent(c, agent_id))
        member.deployment = number
        member.link.send(wire.SetDeployment(number, tuple(group.name for group in found)))

    async def _give(self, agent_id: str, member: Member) -> None:
        (given, asked, fresh, chains, recalls, suspending), _ = await self._store.read(
            lambda c: (
                orders.unacknowledged(c, agent_id),
                runs.to_cancel(c, agent_id),
                bool(runs.to_dispatch(c, agent_id, 1)),
                bool(step_chains.to_tell(c, agent_id, 1)),
                [(r.id, run.key) for r in groups.pending_recalls(c, agent_id) if (run := runs.get(c, r.run))],
                checkpoints.to_suspend(c, agent_id),
            )
        )
        for order in given:
            if isinstance(order, Unreadable):
                await self._pass_over(member, order)
            elif member.given.get(order.id) != order.version:
                member.given[order.id] = order.version
                self._give_order(member, order)
        if member.link.hello.protocol >= 2:
            await self._give_monitors(agent_id, member)
        if fresh:
            await self._dispatch(agent_id, member)
        if chains:
            await self._give_chains(agent_id, member)
        for number, key in recalls:
            if member.knows_groups and number not in member.recalled:
                member.recalled.add(number)
                member.link.send(wire.Recall(number, key))
        to_suspend = [run.number for run in suspending if run.number not in member.suspended]
        if to_suspend and member.link.hello.protocol >= 2:
            await self._suspend(member, to_suspend)
        unwanted = [run for run in asked if run.dispatched_epoch is not None]
        if any((run.number, run.cancel_kill) not in member.stopped for run in unwanted):
            await self._stop(member, [run.number for run in unwanted])

    def _give_order(self, member: Member, order: Order) -> None:
        """With its secrets. What this node cannot open it does not give: the order stays as the agent has it."""
        try:
            told = self._told(order.specification)
        except Invalid as error:
            log.error("an order is not given", order=order.id, job=order.specification.job_name, why=str(error))
            return
        member.link.send(order_message(msgspec.structs.replace(order, specification=told), member.link.hello.protocol))

    def _monitor(self, message: wire.FromNode) -> wire.FromNode:
        """With the secrets of the jobs that react; one that cannot be opened is held at the agent."""
        if not isinstance(message, wire.GiveMonitor):
            return message
        reactions = []
        for reaction in message.monitor.reactions:
            try:
                reactions.append(Reaction(self._told(reaction.specification), reaction.held))
            except Invalid as error:
                log.error("a job does not react", job=reaction.specification.job_name, why=str(error))
                bare = msgspec.structs.replace(reaction.specification, confidential=None)
                reactions.append(Reaction(bare, True))
        given = msgspec.structs.replace(message.monitor, reactions=tuple(reactions))
        return wire.GiveMonitor(given, message.next_number)

    async def _pass_over(self, member: Member, order: Unreadable) -> None:
        """Its row does not decode: the agent gets the others. Listed once for each connection."""
        number, job_id, version = (int(order.row[name]) for name in ("id", "job_id", "version"))
        if member.given.get(number) != version:
            member.given[number] = version
            change = quarantine.put_unreadable("give", number, job_id, order.error, self._utc_us())
            await self._store.write(change)

    async def _give_monitors(self, agent_id: str, member: Member) -> None:
        """Monitors in their present version, once on each connection. Protocol 1 knows none: its page says so."""
        given, _ = await self._store.read(
            lambda c: [
                (m.id, m.version, events.standing(c, m))
                for m in monitors.unacknowledged(c, agent_id)
                if member.monitors.get(m.id) != m.version
            ]
        )
        for monitor_id, version, message in given:
            member.monitors[monitor_id] = version
            member.link.send(self._monitor(message))

    async def _suspend(self, member: Member, numbers: list[int]) -> None:
        """Like `_stop`: marked as sent, committed, sent, once on each connection."""
        try:
            told, _ = await self._store.write(checkpoint_actions.mark_suspends_sent(numbers, self._utc_us()))
        except (Unavailable, DiskFull, OutcomeUnknown):
            asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)
            return
        for run in told:
            if run.number not in member.suspended:
                member.suspended.add(run.number)
                member.link.send(wire.Suspend(run.key))

    async def _stop(self, member: Member, numbers: list[int]) -> None:
        """Mark as sent, so that it is not withdrawn any more; commit, send, once on each connection."""
        try:
            told, _ = await self._store.write(request_actions.mark_stops_sent(numbers, self._utc_us()))
        except (Unavailable, DiskFull, OutcomeUnknown):
            asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)
            return
        for run in told:
            wish = (run.number, run.cancel_kill)
            if wish not in member.stopped:
                member.stopped.add(wish)
                member.link.send(stop_message(run))

    async def _give_chains(self, agent_id: str, member: Member) -> None:
        """It was admitted again, and dropped what it was told. What is lost here is left to the master."""
        try:
            told, _ = await self._store.write(chain_actions.renew(agent_id, self._utc_us()))
        except (Unavailable, DiskFull, OutcomeUnknown):
            asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)
            return
        for message in told:
            member.link.send(message)

    async def _dispatch(self, agent_id: str, member: Member) -> None:
        """Mark as sent, commit, send. What was marked and not sent is reconciled at the next connection."""
        told = self._told if member.link.hello.protocol >= 2 else reconciliation.refuse_secrets
        dispatch = reconciliation.dispatch(agent_id, self._epoch_number, self._utc_us(), told)
        try:
            given, _ = await self._store.write(dispatch)
        except (Unavailable, DiskFull):
            asyncio.get_running_loop().call_later(RETRY_S, self._wake.set)
        except OutcomeUnknown:
            await member.link.close()
        else:
            for one in given:
                member.link.send(one.dispatch)


def order_message(order: Order, protocol: int = wire.PROTOCOL) -> wire.FromNode:
    """The order's present version as an agent is told it.

    One of protocol 1 knows no exceptions: it gets none of those occurrences, so none begins that was skipped or moved.
    Nor does it know secrets: of a job that needs them it gets nothing to begin.
    """
    if order.state == "releasing":
        return wire.ReleaseOrder(order.id, order.version)
    instants, exceptions = order.instants, tuple(order.exceptions)
    if protocol == 1 and exceptions:
        named = {one.instant_us for one in exceptions}
        instants, exceptions = compress([at_us for at_us in expand(instants) if at_us not in named]), ()
    specification = order.specification
    if protocol == 1 and specification.sealed:
        instants, specification = [], msgspec.structs.replace(specification, sealed="")
    return wire.GiveOrder(
        wire.StandingOrder(
            order.id,
            order.schedule_id,
            order.version,
            order.valid_from_us,
            order.valid_until_us,
            tuple(instants),
            specification,
            exceptions,
        )
    )


def stop_message(run: Run) -> wire.StopRun:
    """The wish to end a run as its agent is told it."""
    return wire.StopRun(run.key, run.cancel_kill)
