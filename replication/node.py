"""A node of the pair: drives the role machine with one inbox and one timer, and carries out its effects in order.

The machine decides; `Links`, `Following`, `Serving` and `Office` do. All of it runs in one event loop; what blocks runs
in threads. Slow effects are queued in `Operations`, so that the inbox never waits for them.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from replication import threads
from replication.control import ControlFile
from replication.core import effects, events, memory
from replication.core.commit import CommitRule
from replication.core.compression import OFF
from replication.core.effects import Effect
from replication.core.events import Event, Facts
from replication.core.machine import Machine
from replication.core.messages import Ack
from replication.core.request import Kind
from replication.core.schema import UNKNOWN, SchemaRange
from replication.core.types import DEFAULT_RETENTION, Epoch, Mode, NodeId, Refused, Retention, State, Status
from replication.errors import Closed, DiskFull
from replication.files import Disk
from replication.following import Following
from replication.journal import SEGMENT_BYTES
from replication.links import Links
from replication.office import Office
from replication.operations import Operations
from replication.picture import Picture
from replication.ports import Application, Connection, Dialler, Fence, ForkReader, Witnesses
from replication.process import end_process
from replication.prover import Prover
from replication.redo import Applier, open_node, read_copy
from replication.releases import Releases
from replication.serving import Serving
from replication.third_parties import ThirdParties

T = TypeVar("T")
PROGRESS_S = 0.2
CLOSE_WAIT_S = 5.0
ANSWER_S = 30.0


@dataclass(frozen=True, slots=True)
class NodeSettings:
    """Who this node is, how patient, and its wall clock, which nothing but display and skew depends on.

    `address` is what the roster says of it, "host:port" of the cluster port. `steady_s` and `standby_timeout_s` are
    those of `core.machine.Machine`; `fence` is run before a promotion, when there is one. `copy_bytes_per_s` limits
    what a copy sends (0: nothing does). Every `proof_interval_s` all files are read and checked (0: never). `end` ends
    the process, from whichever thread, when what is on the disk or in memory cannot be trusted any more; it does not
    return. `schema` is what databases this release opens. `compression` is what this node, as a standby, asks its
    master to pack requests and blocks with: for a slow line.
    """

    cluster: str
    node: NodeId
    name: str
    address: str
    version: str
    mode: Mode = Mode.AVAILABLE
    steady_s: float = 30.0
    standby_timeout_s: float = 10.0
    fence: Fence | None = None
    retention: Retention = DEFAULT_RETENTION
    utc_us: Callable[[], int] = threads.utc_us
    segment_bytes: int = SEGMENT_BYTES
    copy_bytes_per_s: float = 0.0
    end: Callable[[BaseException], None] = end_process
    fork_reader: ForkReader | None = None
    proof_interval_s: float = 86400.0
    schema: SchemaRange = UNKNOWN
    compression: str = OFF


class Node:
    """Open with `Node.open`. Both roles; the application exists only while this node is in office."""

    def __init__(
        self, disk: Disk, applier: Applier, settings: NodeSettings, application: Application, witnesses: Witnesses,
        dial: Dialler, log: Callable[[str, dict[str, Any]], None],
    ) -> None:  # fmt: skip
        self.disk = disk
        self.applier = applier
        self.journal = applier.journal
        self.control: ControlFile = applier.control
        self.settings = settings
        self.cluster, self.node = settings.cluster, settings.node
        self.fork_reader, self.compression = settings.fork_reader, settings.compression
        self.instance = secrets.token_hex(8)
        self.machine = Machine(
            settings.node, memory.decode(self.control.value.memory), settings.steady_s, settings.mode,
            settings.standby_timeout_s, settings.fence is not None,
        )  # fmt: skip
        self.persisted = self.machine.memory
        self.rule = CommitRule()
        self.rule.required = frozenset(self.machine.memory.in_sync)
        self.office: Office | None = None
        self.following: Following | None = None
        self.releases = Releases(self, settings.schema)
        self.picture = Picture(self)
        self.prover = Prover(self, settings.proof_interval_s)
        self.links = Links(self.picture, dial, self.post, self.log)
        self.serving = Serving(
            disk, self.journal, self.control, self.cluster, lambda: self.office, self._on_ack, self.log,
            self.links.instance, settings.retention, lambda: settings.copy_bytes_per_s,
        )  # fmt: skip
        self._log = log
        self._inbox: asyncio.Queue[tuple[Event, asyncio.Future[None] | None]] = asyncio.Queue()
        self._operations = Operations(self, application, dial)
        self._third_parties = ThirdParties(
            witnesses, settings.fence, self.links.address, self._operations.unfollowed, self.post, self.log
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[int, asyncio.Future[effects.Answer]] = {}
        self._requests = itertools.count(1)
        self._progress_at: dict[NodeId, float] = {}
        self._changed = asyncio.Event()

    @classmethod
    async def open(
        cls, directory: Path | Disk, settings: NodeSettings, application: Application, witnesses: Witnesses,
        dial: Dialler, log: Callable[[str, dict[str, Any]], None] = lambda text, facts: None,
    ) -> Node:  # fmt: skip
        """Redo the directory and begin in the state that its control file and the table say. Raises Corrupt."""
        disk = directory if isinstance(directory, Disk) else Disk(directory)
        applier = await asyncio.to_thread(open_node, disk, segment_bytes=settings.segment_bytes)
        node = cls(disk, applier, settings, application, witnesses, dial, log)
        for job in (node._run(), node._operations.run(), node.serving.watch(), node.prover.run()):
            node.spawn(job)
        node.post(events.Started())
        return node

    # what the application calls

    def status(self) -> Status:
        """One consistent look."""
        return self.picture.status()

    async def wait_status(self) -> Status:
        """The next status that differs in role, state or numbers; at most a second old."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):  # wait_for of Python 3.11 can swallow a cancellation
                await self._changed.wait()
        return self.status()

    async def read_copy(self, query: Callable[[Any], T]) -> tuple[T, int]:
        """A bounded look into the database in any role: the store in office, else the standby's held copy."""
        if self.office is not None and self.office.store is not None:
            value, sequence, _ = await self.office.store.read_unconfirmed(query, 0.0)
            return value, sequence
        return await asyncio.to_thread(read_copy, self.applier, query)

    async def attach(self, connection: Connection, channel: str) -> None:
        """Run an accepted link until it ends; `channel` is control or bulk."""
        await (self.links if channel == "control" else self.serving).attach(connection)

    def set_peers(self, peers: Mapping[NodeId, str]) -> None:
        """The roster without this node: whom to dial, at "host:port"; kept for starts before the database is read."""
        others = {node: address for node, address in peers.items() if node != self.node}
        if others != self.control.value.peers:
            self.control.update(peers=others)
            self.serving.slots.retain(others)
        self.links.set_roster(others)
        self.post(events.PeersChanged(tuple(others)))

    async def found(self) -> None:
        """`init`: be the master of a new cluster. Returns when office is open."""
        self.post(events.InitRequested())
        await self._until(lambda: self.office is not None and self.office.ready)

    async def join(self, peers: Mapping[NodeId, str]) -> None:
        """`master-to-standby`: follow the master among `peers`."""
        self.set_peers(peers)
        await self.settled(events.JoinRequested())

    async def swap(self, target: NodeId, note: bytes, timeout_s: float) -> str:
        """Hand office over. Returns at the point of no return; raises Refused when refused or aborted."""
        self.releases.check_target(target)
        return await self._ask(lambda n: events.SwapRequested(n, target, timeout_s, note), timeout_s + ANSWER_S)

    async def abort_swap(self) -> str:
        """Abort a hand-off before the point of no return. Raises Refused when there is nothing to abort."""
        return await self._ask(events.SwapAbortRequested)

    async def promote(self, allow_data_loss: bool, stopped: bool, note: bytes) -> str:
        """Take office without the master. Returns what is known of loss; raises Refused with what to type next."""
        await self.releases.check_here()
        timeout_s = ANSWER_S + (self.settings.fence.timeout_s if self.settings.fence is not None else 0.0)
        return await self._ask(lambda n: events.PromoteRequested(n, allow_data_loss, stopped, note), timeout_s)

    async def go_alone(self, note: bytes, allow_data_loss: bool = False) -> str:
        """Write without a standby, by the operator's leave. Raises Refused; waits for the witnesses up to 30 s.

        `allow_data_loss`: also when a majority of the witnesses is silent, or knows a later office.
        """
        return await self._ask(lambda n: events.GoAloneRequested(n, note, allow_data_loss))

    async def give_seat(self, node: NodeId) -> str:
        """Count on another node; the former standby is an observer then. Raises Refused. See `core.seat`."""
        return await self._ask(lambda n: events.SeatRequested(n, node))

    def epoch_heard(self, epoch: Epoch) -> None:
        """An agent refused this office, because it obeys `epoch`: a number as high as ours may have to be passed."""
        self.post(events.EpochHeard(epoch))

    async def close(self) -> None:
        """Clean stop: CLOSED is journaled and, within 5 s, acknowledged by the standby. Idempotent."""
        self.prover.close()
        if self.office is not None:
            await self._say_closed(self.office)
        await self._operations.stop_following()
        await self.links.close()
        await self.serving.disconnect_all()
        await self.serving.slots.save_all()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.to_thread(self.applier.close)
        self.disk.close()

    async def _say_closed(self, office: Office) -> None:
        """CLOSED is the last word of a master; behind HANDOFF it would keep the token from fitting."""
        await office.close_application()
        if office.store is not None and self.machine.state in (State.MASTER, State.ALONE):
            try:
                position = await office.store.append_control_request(Kind.CLOSED, b"")
                async with asyncio.timeout(CLOSE_WAIT_S):
                    await office.store.committed(position.sequence)
            except (TimeoutError, DiskFull, Closed) as error:
                self.log(f"Stopped before the standby acknowledged the last request. {error}".rstrip(), "")
        await office.close()

    # events

    def post(self, event: Event) -> None:
        """Give an event to the role machine. Event loop only."""
        self._inbox.put_nowait((event, None))

    async def settled(self, event: Event) -> None:
        """Give an event; returns once its effects are carried out or queued, and what it persisted is durable."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._inbox.put_nowait((event, done))
        await done

    def log(self, text: str, peer: NodeId) -> None:
        """A sentence for people, about a peer or, with "", about this node."""
        self._log(text, {"peer": peer[:8]} if peer else {})

    def utc_us(self) -> int:
        """Wall clock, for display only."""
        return self.settings.utc_us()

    def reopen(self) -> Applier:
        """A new applier on the directory as it is. Blocks."""
        self.applier.retire()
        self.disk.release_kept()
        return Applier(self.disk, self.journal, self.control)

    async def _ask(self, make: Callable[[int], Event], timeout_s: float = ANSWER_S) -> str:
        number = next(self._requests)
        future: asyncio.Future[effects.Answer] = asyncio.get_running_loop().create_future()
        self._answers[number] = future
        self.post(make(number))
        try:
            async with asyncio.timeout(timeout_s):
                answer = await future
        except TimeoutError:
            text = f"Not done yet; it is still being tried. {self.machine.pending.text}".rstrip()
            raise Refused("timed_out", text) from None
        finally:
            self._answers.pop(number, None)
        if answer.code:
            raise Refused(answer.code, answer.text)
        return answer.text

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self.wait_status()

    async def _run(self) -> None:
        while True:
            event, done = await self._next_event()
            for effect in self.machine.step(event, self._facts(), threads.monotonic()):
                await self._carry_out(effect)
            if done is not None:
                done.set_result(None)
            if not isinstance(event, events.Ticked | events.PeerHeard):
                self.notify()

    async def _next_event(self) -> tuple[Event, asyncio.Future[None] | None]:
        """The next of the inbox; `Ticked` as soon as it is due, however full the inbox is."""
        now = threads.monotonic()
        wait_s = self.machine.next_deadline(now) - now
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    return await self._inbox.get()
        return events.Ticked(), None

    def notify(self) -> None:
        """Something that the status shows has changed."""
        self._changed.set()
        self._changed = asyncio.Event()

    def _facts(self) -> Facts:
        closed, journal = self.last_is_closed(), self.journal
        return Facts(journal.last, closed, journal.synced, self.utc_us(), self.rule.confirmed)

    def last_is_closed(self) -> bool:
        """The last request is CLOSED: the master stopped cleanly behind it."""
        return self.picture.last_kind() is Kind.CLOSED

    # effects

    async def _carry_out(self, effect: Effect) -> None:
        match effect:
            case effects.Persist():
                encoded = effect.memory.encode()
                await asyncio.to_thread(lambda: self.control.update(memory=encoded, state=effect.memory.state))
                former, self.persisted = self.persisted, effect.memory
                if (former.standby, former.many) != (effect.memory.standby, effect.memory.many):
                    self.links.announce()
            case effects.Send():
                self.links.send(effect.peer, effect.message)
            case effects.RequireAcks():
                self.rule.require(effect.nodes)
                if self.office is not None:
                    self.office.require(effect.nodes)
            case effects.Answer():
                future = self._answers.get(effect.request)
                if future is not None and not future.done():
                    future.set_result(effect)
            case effects.Announce():
                self._log(effect.sentence, {"row": effect.row, "state": self.machine.state.value})
                self.links.announce()
                self.notify()
            case effects.AskWitnesses() | effects.RecordAlone() | effects.Fence():
                self.spawn(self._third_parties.ask(effect))
            case _:
                self._operations.put(effect)

    def _on_ack(self, peer: NodeId, ack: Ack) -> None:
        if self.office is None:
            return
        is_counted = self.releases.is_counted(peer)
        self.office.acknowledged(peer, ack, is_counted)
        now = threads.monotonic()
        if self.machine.state is State.HANDING_OFF or now - self._progress_at.get(peer, 0.0) >= PROGRESS_S:
            self._progress_at[peer] = now
            meter = self.office.meters.get(peer)
            lag_s = meter.lag_s(threads.monotonic()) if meter else 0.0
            if is_counted:
                self.post(events.StandbyProgressed(peer, ack.fsynced, ack.applied, ack.checksum, lag_s))
            else:
                self.post(events.StandbyProgressed(peer, 0, 0, 0, math.inf))

    def fatal(self, error: BaseException) -> None:
        """What is on the disk, or in memory, cannot be trusted any more: end the process."""
        self._log(f"This process ends: {error}. The next start redoes what was journaled.", {})
        self.settings.end(error)

    def spawn(self, job: Any) -> asyncio.Task[None]:
        """Run a job until the node closes; an exception of it ends the process."""
        task: asyncio.Task[None] = asyncio.ensure_future(job)
        self._tasks.add(task)
        task.add_done_callback(self._finished)
        return task

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self.fatal(error)
