"""The guide of planned swaps: reads the open swap's row, does its steps, writes each proof (BEY-1, BEY-2).

The row is the truth. The old master does the steps up to the hand-off; HANDOFF carries them to the new master, which
finds the row open, adds the rest and closes it. A master that finds a row it cannot go on with aborts it and restores
the gates of before.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

import msgspec
import structlog

from replication.core.types import PeerStatus, Refused, Status
from replication.errors import Closed, OutcomeUnknown, ReadTimeout, ReplicationError, Unavailable
from replication.ports import Opening
from replication.store import Store
from server.actions import gates, sessions, swap
from server.actions.change import Change, Transaction
from server.clock import Clock
from server.core import swap_plan as plan
from server.core.model import NodeRow, Principal, Step, Swap
from server.core.swap_plan import HandOffNote, SwapCheck
from server.errors import Conflict
from server.storage import agents, nodes, settings, swaps

T = TypeVar("T")
log = structlog.get_logger(__name__)
POLL_S = 0.02
AGENTS_WAIT_S = 15.0
REJOIN_WAIT_S = 30.0
NAMES_MAX = 10_000


class Replication(Protocol):
    """What the guide uses of the node."""

    def status(self) -> Status:
        """One look."""

    async def swap(self, target: str, note: bytes, timeout_s: float) -> str:
        """Hand over; returns at the point of no return."""


class Agents(Protocol):
    """What the guide uses of the fleet."""

    def connected(self) -> list[str]:
        """The ids of agents that obey this node."""


class Aborted(Exception):
    """A step could not be done, or an operator asked to go back; the text says why."""


class Keys(Protocol):
    """What the nodes say of the cluster's keys (`server.trust.key_proofs`)."""

    async def reasons(self, target: str, name: str) -> list[plan.Reason]:
        """Lines of the verdict."""


class Guide:
    """Open with the office; `run` ends when office closes. At most one swap is open at a time."""

    def __init__(self, store: Store, node: Replication, fleet: Agents, clock: Clock, keys: Keys) -> None:
        self._store = store
        self._node = node
        self._fleet = fleet
        self._clock = clock
        self._keys = keys
        self._timeouts: dict[int, float] = {}
        self._silent: dict[int, frozenset[str]] = {}
        self._unlocked: list[str] = []

    async def check(self, to: str = "") -> SwapCheck:
        """The drill: would a swap to `to` (id or name, "" for the standby) be safe now. Changes nothing."""
        status = self._node.status()
        roster = await self._read(nodes.page)
        target = self._target(status, roster, to)
        name = next((row.name for row in roster if target is not None and row.id == target.node), to)
        keys = await self._keys.reasons(target.node, name) if target is not None and target.connected else []
        return plan.check(status, target, name, await self._silent_agents(), await self._behind(), keys)

    async def _behind(self) -> list[str]:
        """The names of connected agents that have not acknowledged the gates in force."""
        named = await self._read(lambda c: agents.behind(c, settings.gate_revision(c), NAMES_MAX))
        here = set(self._fleet.connected())
        return [name for agent_id, name in named if agent_id in here]

    async def _silent_agents(self) -> list[str]:
        """The names of enrolled agents that are not connected."""
        known = await self._read(lambda c: agents.page(c, "", NAMES_MAX))
        here = set(self._fleet.connected())
        return [agent.name for agent in known if agent.id not in here]

    async def begin(self, to: str, timeout_s: float, yes: bool, by: Principal, now_us: int) -> Change[Swap]:
        """The change that opens a swap; raises Conflict with every reason when it is not safe and not accepted."""
        verdict = await self.check(to)
        if verdict.refusals or (verdict.accepted_by_yes and not yes):
            hint = "" if verdict.refusals else " To accept this, add --yes."
            raise Conflict("Not safe now: " + " ".join(verdict.refusals + verdict.accepted_by_yes) + hint)
        status = self._node.status()
        roster = await self._read(nodes.page)
        target = self._target(status, roster, to)
        assert target is not None, "a verdict without refusals has a target"
        silent = frozenset[str]()
        if verdict.accepted_by_yes:
            silent = frozenset(await self._silent_agents() + await self._behind())
        change = swap.begin("planned", status.node, target.node, plan.STEPS, verdict.accepted_by_yes, by, now_us)

        def opened(transaction: Transaction) -> Swap:
            row = change(transaction)
            self._timeouts[row.id], self._silent[row.id] = timeout_s, silent
            return row

        return opened

    async def run(self, opening: Opening) -> None:
        """Go on with a swap found open, then drive each new one, until office closes or was handed over."""
        try:
            await self._inherit(opening)
            sequence = 0
            while True:
                sequence = await self._store.wait_past(sequence)
                row = await self._read(swaps.open_swap)
                if row is not None and row.from_node == self._node.status().node and await self._drive(row):
                    return
        except Closed:
            return

    # a swap that was open when this office began

    async def _inherit(self, opening: Opening) -> None:
        row = await self._read(swaps.open_swap)
        if row is None:
            return
        if opening.kind == "handoff" and row.to_node == self._node.status().node:
            await self._conclude(row, msgspec.json.decode(opening.note, type=HandOffNote), opening)
        else:
            await self._finish(row, "aborted", "The master stopped in the middle; locks are as before.")

    async def _conclude(self, row: Swap, note: HandOffNote, opening: Opening) -> None:
        """The new master's steps. None of them fails the swap: office is taken, the report says what is missing."""
        await self._write(swap.put_steps(row.id, msgspec.convert(note.steps, list[Step]), self._now()))
        await self._done(row, plan.PROMOTE, f"This node is master in epoch {opening.epoch.number}.")
        rejoined = await self._wait(lambda: self._node.status().in_sync, REJOIN_WAIT_S)
        status = self._node.status()
        here = f"both nodes are at request {status.commit_sequence}, checksum {status.checksum:016x}"
        proof = f"The old master streams: {here}." if rejoined else "The old master has not come back yet."
        await self._done(row, plan.REJOIN, proof)
        expected = set(note.agents)
        await self._wait(lambda: expected <= set(self._fleet.connected()), AGENTS_WAIT_S)
        back = expected & set(self._fleet.connected())
        await self._done(row, plan.AGENTS, f"{len(back)} of {len(expected)} agents that were connected are back.")
        await self._done(row, plan.RESTORE, "Queues are locked or open as they were before the swap.")
        await self._finish(row, "done", f"Nothing was lost: {here}. Epoch {opening.epoch.number}.")

    # a swap that begins here

    async def _drive(self, row: Swap) -> bool:
        """True once office is handed over: the new master goes on from the row."""
        timeout_s = self._timeouts.pop(row.id, 60.0)
        self._unlocked = []
        try:
            async with asyncio.timeout(timeout_s):
                await self._prepare(row)
                await self._hand_off(row)
                return True
        except (Aborted, Refused, TimeoutError, ReplicationError) as error:
            if isinstance(error, Closed):
                raise
            why = str(error) or self._too_late(timeout_s)
            log.warning("swap aborted", why=why)
            await self._finish(row, "aborted", f"{why} Locks are as before.")
        return False

    def _too_late(self, timeout_s: float) -> str:
        """What was waited for in vain, and what to do."""
        if not self._unlocked:
            return f"It was not done within {timeout_s:.0f} s."
        names = plan.enumerate_names(self._unlocked)
        return (
            f"Within {timeout_s:.0f} s the lock was not confirmed by: {names}. Look there "
            "(`understudy agent list`); what is seen as not connected `understudy swap --yes` goes on without."
        )

    async def _prepare(self, row: Swap) -> None:
        """Everything with writes still on: check, sign out, lock, backlog 0 with an equal checksum."""
        by = Principal(row.requested_by, "administrator")
        why = f"swap {row.id}"
        await self._step(row, plan.PREFLIGHT, self._preflight(row))
        ended = await self._write(sessions.end_ordinary(by, self._now(), why))
        await self._done(row, plan.SIGN_OUT, f"{ended} users signed out; sign-in is for administrators until the end.")
        await self._write(gates.lock_all(by, self._now(), why))
        await self._step(row, plan.LOCK, self._locked(row))
        await self._step(row, plan.BACKLOG, self._backlog_zero(row))

    async def _hand_off(self, row: Swap) -> None:
        await self._write(swap.update_step(row.id, plan.HAND_OFF, "running", self._now()))
        await self._check_abort(row)
        fresh = await self._read(lambda connection: swap.find(connection, row.id))
        position = self._node.status().position
        proof = f"HANDOFF follows request {position.sequence}, chain hash {position.hash.hex()[:16]}."
        now_us = self._now()
        steps = [_closed(step, now_us, proof) if step.name == plan.HAND_OFF else step for step in fresh.steps]
        note = HandOffNote(row.id, msgspec.to_builtins(steps), self._fleet.connected())
        await self._node.swap(row.to_node, msgspec.json.encode(note), 10.0)

    async def _preflight(self, row: Swap) -> str:
        verdict = await self.check(row.to_node)
        if verdict.refusals:
            raise Aborted(" ".join(verdict.refusals))
        return " ".join(reason.text for reason in verdict.reasons if reason.ok)

    async def _locked(self, row: Swap) -> str:
        """Wait until every agent has acknowledged the gates; the accepted silent ones are named instead."""
        revision = await self._read(settings.gate_revision)
        accepted = self._silent.pop(row.id, frozenset())
        while True:
            await self._check_abort(row)
            missing, total = await self._read(
                lambda c: (agents.unacknowledged_names(c, revision, NAMES_MAX), agents.count(c))
            )
            self._unlocked = [name for name in missing if name not in accepted]
            if not self._unlocked:
                named = f" Accepted without: {', '.join(missing)}." if missing else ""
                held = "what falls due waits and starts in order afterwards"
                return f"{total - len(missing)} of {total} agents have locked their queue; {held}.{named}"
            await asyncio.sleep(POLL_S)

    async def _backlog_zero(self, row: Swap) -> str:
        """Reports of agents go on, so 0 is seen, not held; the hand-off itself proves the final 0."""
        while True:
            await self._check_abort(row)
            status = self._node.status()
            peer = self._target(status, [], row.to_node)
            backlog = status.backlog
            if backlog is not None and backlog.requests == 0 and peer is not None and _equal(status, peer):
                return f"Both nodes hold request {peer.applied}, checksum {status.checksum:016x}; backlog 0."
            await asyncio.sleep(POLL_S)

    # rows

    async def _step(self, row: Swap, name: str, work: Awaitable[str]) -> None:
        await self._write(swap.update_step(row.id, name, "running", self._now()))
        await self._done(row, name, await work)

    async def _done(self, row: Swap, name: str, proof: str) -> None:
        await self._write(swap.update_step(row.id, name, "done", self._now(), proof))

    async def _finish(self, row: Swap, state: str, report: str) -> None:
        by = Principal(row.requested_by, "administrator")
        await self._write(swap.finish(row.id, state, report, by, self._now()))

    async def _check_abort(self, row: Swap) -> None:
        fresh = await self._read(lambda connection: swap.find(connection, row.id))
        if fresh.abort_requested_by:
            raise Aborted(f"Aborted by {fresh.abort_requested_by}.")

    async def _wait(self, condition: Callable[[], bool], wait_s: float) -> bool:
        try:
            async with asyncio.timeout(wait_s):
                while not condition():
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return False
        return True

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Read what is committed; while the standby is silent, wait for it."""
        while True:
            try:
                return (await self._store.read(query))[0]
            except (Unavailable, ReadTimeout):
                await asyncio.sleep(POLL_S)

    async def _write(self, change: Change[T]) -> T:
        """Write what may be written twice; while writes are closed for a moment, try again."""
        while True:
            try:
                return (await self._store.write(change))[0]
            except (Unavailable, OutcomeUnknown):
                await asyncio.sleep(POLL_S)

    def _now(self) -> int:
        return self._clock.utc_us()

    @staticmethod
    def _target(status: Status, roster: list[NodeRow], to: str) -> PeerStatus | None:
        """The peer that `to` names by id or name; without a name the standby, never an observer."""
        wanted = {row.id for row in roster if row.name == to} | {to}
        found = [peer for peer in status.peers if (peer.node in wanted if to else not peer.observer)]
        return found[0] if found else None


def _equal(status: Status, peer: PeerStatus) -> bool:
    return peer.applied == status.position.sequence and peer.checksum == status.checksum


def _closed(step: Step, now_us: int, proof: str) -> Step:
    return msgspec.structs.replace(step, state="done", ended_at_us=now_us, proof=proof)
