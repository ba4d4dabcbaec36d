"""The agent's loop: events go into the session, its outcome is made durable, then carried out in order."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from replication.core.types import NO_EPOCH, Epoch
from server.agent.credentials import Credentials
from server.agent.job_calls import JobCalls
from server.agent.job_socket import JobSocket
from server.agent.leaving import Leaving
from server.agent.link import Link
from server.agent.outputs import Outputs
from server.agent.platform import boot_clock_us, boot_id
from server.agent.reserve import SPOOL_BYTES_MAX, Reserve, held_bytes
from server.agent.runner import Runner
from server.agent.safe import Safe
from server.agent.spool import Spool, SpoolUnusableError
from server.agent.untold import Untold
from server.agent.watcher import Watcher
from server.agent.witness import Witness
from server.core import agent_wire as wire
from server.core.agent_ledger import Outcome
from server.core.agent_session import Session
from server.core.agent_trust import Moment
from server.core.monitors import StandingMonitor
from server.core.sightings import Look

log = structlog.get_logger(__name__)

TICK_S = 1.0
OUTPUT_S = 0.25
MEASURE_S = 5.0
SPOOL_RETRY_S = 1.0
PREPARE_S = 1.0
SOON_US = 3_000_000
"""What is due within this time is made ready."""
STARTS_IN_A_ROW = 32
"""Between so many starts the loop looks at its links, and the keeper gets what was asked so far."""


class WallClock(Protocol):
    """The agent's wall clock, microseconds since 1970 UTC."""

    def utc_us(self) -> int:
        """Now."""


class Client:
    """One agent. `run` returns after `stop`; the jobs go on under their keeper. `on_stop` overrules the agent's row."""

    def __init__(
        self,
        data: Path,
        agent_id: str,
        peers: dict[str, str],
        clock: WallClock,
        credentials: Credentials | None,
        version: str,
        on_stop: str = "",
        spool_bytes_max: int = SPOOL_BYTES_MAX,
    ) -> None:
        self._data = data
        self._agent_id = agent_id
        self._peers = dict(peers)
        self._clock = clock
        self._credentials = credentials
        self._version = version
        self._on_stop = on_stop
        self._spool_bytes_max = spool_bytes_max
        self._reserve = Reserve(data)
        self._leaving: Leaving | None = None
        self._instance = secrets.token_hex(8)
        self._boot_id = boot_id()
        self._witness = Witness(data)
        self._witness_lock = asyncio.Lock()
        self._offices: dict[str, Epoch] = {}
        self._pending: list[Outcome] = []
        self._wake = asyncio.Event()
        self._beat_told = asyncio.Event()
        self._stopping = asyncio.Event()
        self._failure: BaseException | None = None
        self._batch: list[Outcome] = []
        self._links: dict[str, Link] = {}
        self._dialling: dict[str, tuple[str, asyncio.Task[None]]] = {}

    def stop(self) -> None:
        """Ask `run` to return: links are closed, running jobs are left alone."""
        self._stopping.set()

    def signalled(self) -> None:
        """SIGTERM or SIGINT: end, and drain first when that is set or the machine goes down. Again: end at once."""
        if self._leaving is None:
            self.stop()
        else:
            self._leaving.signalled()

    def on_stop(self) -> str:
        """What a signal means: the program's own setting, else what the master said last."""
        return self._on_stop or self._memory.durable.gates.on_stop

    def drain(self) -> None:
        """Begin nothing new until the program ends."""
        self._handle(self._session.drain_to_stop(self._now()))

    def is_drained(self) -> bool:
        """What ran when the drain began has ended, and that is durable."""
        return self._session.drain.is_over and not self._pending and not self._batch

    def is_told(self) -> bool:
        """The master that is obeyed has every report; nobody is waited for when none is."""
        return not self._session.admitted or len(self._memory.reports) <= len(self._memory.marks)

    async def run(self) -> None:
        """Serve until `stop`. Raises what no part expected, after everything is closed."""
        self._spool = await self._open_spool()
        try:
            memory = await self._spool.load()
        except BaseException:
            await self._spool.close()
            raise
        self._memory = memory
        self._session = Session(memory, self._boot_id, self._now(), self._spool.place)
        self._outputs = Outputs(self._data, self._session.takes_output, self._send_output, self._output_done)
        self._safe = Safe.open(self._data)
        self._runner = Runner(self._data, self._began, self._ended, self._fail, self._safe.secrets)
        loop = asyncio.get_running_loop()
        self._untold = Untold(lambda: self._runner.starts_wait, self._send, loop.time, loop.call_at)
        for run in list(memory.runs.values()):
            if run.state == "ended":
                self._outputs.follow(run.key)
                self._outputs.ended(run.key, self._runner.output_size(run.key))
        watcher = Watcher(self._session.events.watched, self._looked)
        self._calls = JobCalls(self._session, self._handle, self._now)
        socket = JobSocket(self._data, self._calls)
        intents = [run for run in memory.runs.values() if run.state == "intent"]
        self._runner.clear(lambda key: key in memory.runs and memory.runs[key].state == "forgotten")
        await self._runner.open(intents, self._boot_id)
        loops = [self._commit_forever, self._tick_forever, self._beat_forever, self._output_forever]
        loops += [self._measure_forever, self._prepare_forever]
        if self._credentials is not None:
            loops.append(partial(self._credentials.keep, self._dial_again))
        tasks = [asyncio.create_task(loop()) for loop in [*loops, watcher.watch_forever]]
        await socket.open()
        self._dial()
        self._leaving = Leaving(self, self.stop, self._fail)
        stopping = asyncio.create_task(self._stopping.wait())
        try:
            done, _ = await asyncio.wait([*tasks, stopping], return_when=asyncio.FIRST_COMPLETED)
            for task in done - {stopping}:
                task.result()
        finally:
            await socket.close()
            await self._close([*tasks, stopping])
        if self._failure is not None:
            raise self._failure

    async def _close(self, tasks: list[asyncio.Task[None] | asyncio.Task[bool]]) -> None:
        dials = [task for _, task in self._dialling.values()]
        for task in [*tasks, *dials]:
            task.cancel()
        await asyncio.gather(*tasks, *dials, return_exceptions=True)
        await self._runner.close()
        left = [*self._batch, *self._pending]  # a batch that was interrupted comes first: twice is once
        try:
            await self._spool.commit(save for outcome in left for save in outcome.saves)
        except Exception as error:
            log.error("the last events were not kept; the next start finds them by their files", error=str(error))
        await self._spool.close()

    async def _open_spool(self) -> Spool:
        """Open it; on a full disk with what the reserve gives back."""
        try:
            return await Spool.open(self._data)
        except SpoolUnusableError:
            self._reserve.give()
            return await Spool.open(self._data)

    def _now(self) -> Moment:
        return Moment(self._clock.utc_us(), boot_clock_us())

    def _handle(self, outcome: Outcome) -> None:
        self._pending.append(outcome)
        self._wake.set()

    async def _commit_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._batch, self._pending = self._pending, []
            await self._commit(self._batch)
            batch, self._batch = self._batch, []
            for outcome in batch:
                await self._carry_out(outcome)
            self._untold.tell()

    async def _commit(self, batch: list[Outcome]) -> None:
        """Nothing is sent or started before this returns; whatever the disk says, nothing is forgotten."""
        while True:
            try:
                await self._spool.commit([save for outcome in batch for save in outcome.saves])
                return
            except Exception as error:
                log.error("the spool cannot be written: free disk space", error=str(error), data=str(self._data))
                self._session.work.disk_full = True  # until the next tick has looked
                self._reserve.give()
                await asyncio.sleep(SPOOL_RETRY_S)

    async def _carry_out(self, outcome: Outcome) -> None:
        for question, answer in outcome.answers:
            self._calls.answer(question, answer)
        self._untold.add(outcome.sends)
        for number, run in enumerate(outcome.starts, 1):
            self._outputs.follow(run.key)
            self._runner.start(run)
            if number % STARTS_IN_A_ROW == 0:
                await asyncio.sleep(0)
        for stop in outcome.stops:
            self._runner.stop(stop)
        for key in outcome.abandons:
            self._runner.abandon(key)
        for key in outcome.forgets:
            self._outputs.drop(key)
        self._runner.forget(outcome.forgets)

    def _send(self, node: str, message: wire.FromAgent) -> None:
        if node in self._links:
            self._links[node].send(message)

    async def _tick_forever(self) -> None:
        while True:
            is_full = self._reserve.keep(len(self._session.work.running))
            *held, most = self._session.held_bytes
            self._session.work.disk_full = is_full or sum(held) > most > 0
            now = self._now()
            self._handle(self._session.tick(now))
            deadline = self._session.next_deadline_us(now)
            wait_s = TICK_S if deadline is None else min(TICK_S, (deadline - now.wall_us) / 1e6)
            await asyncio.sleep(max(wait_s, 0.001))

    async def _measure_forever(self) -> None:
        while True:
            spool, output = await asyncio.to_thread(held_bytes, self._data)
            self._session.held_bytes = (spool, output, self._spool_bytes_max)
            await asyncio.sleep(MEASURE_S)

    async def _beat_forever(self) -> None:
        while True:
            self._beat_told.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(min((link.beat_s for link in self._links.values()), default=1.0)):
                    await self._beat_told.wait()
            self._handle(self._session.heartbeat(self._now()))

    def _looked(self, monitor: StandingMonitor, look: Look) -> None:
        self._handle(self._session.looked(monitor, look, self._now()))

    async def _output_forever(self) -> None:
        while True:
            await asyncio.sleep(OUTPUT_S)
            if self._session.admitted:
                self._outputs.pump()

    async def _prepare_forever(self) -> None:
        while True:
            await asyncio.sleep(PREPARE_S)
            if not self._session.work.disk_full:
                soon = self._session.work.soon(self._now(), SOON_US)
                self._runner.make_ahead(soon, len(self._memory.orders))

    def _began(self, key: str) -> None:
        self._outputs.follow(key)
        self._handle(self._session.began(key))

    def _ended(self, key: str, end: wire.Ended) -> None:
        self._outputs.ended(key, end.output_bytes)
        self._handle(self._session.ended(key, end, self._now()))

    def _send_output(self, message: wire.Output) -> None:
        """In order with what the session sends: a run is announced before its output."""
        if self._session.admitted:
            self._handle(Outcome(sends=[(self._session.obeyed, message)]))

    def _output_done(self, key: str) -> None:
        self._handle(self._session.output_done(key))

    # Links.

    def _dial(self) -> None:
        """One link for every node of the roster, at the address that was said last."""
        wanted = self._memory.durable.roster or self._peers
        for node, (address, task) in list(self._dialling.items()):
            if wanted.get(node) != address:
                task.cancel()
                del self._dialling[node]
        for node, address in wanted.items():
            if node not in self._dialling:
                link = Link(node, address, self._credentials, self._opened, self._closed, self._received)
                task = asyncio.create_task(link.keep())
                task.add_done_callback(self._dial_ended)
                self._dialling[node] = (address, task)

    def _dial_again(self) -> None:
        """The certificate or its authorities are new: show them to every node."""
        for _, task in self._dialling.values():
            task.cancel()
        self._dialling.clear()
        self._dial()

    def _dial_ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        """A defect: stop rather than go on half-deaf. Jobs go on under the keeper, the next start adopts them."""
        self._failure = self._failure or error
        self.stop()

    def _opened(self, link: Link) -> None:
        self._links[link.node] = link
        hello = wire.Hello(
            self._agent_id,
            wire.PROTOCOL,
            self._version,
            self._boot_id,
            self._instance,
            self._clock.utc_us(),
            self._credentials.trusts() if self._credentials is not None else "",
        )
        link.send(hello)
        self._handle(self._session.link_opened(link.node))

    def _closed(self, link: Link) -> None:
        if self._links.pop(link.node, None) is not None:
            self._untold.drop(link.node)
            self._handle(self._session.link_closed(link.node))

    async def _received(self, link: Link, message: wire.FromNode) -> None:
        if isinstance(message, wire.AskGrant | wire.AskAlone):
            await self._answer(link, message)
            return
        if isinstance(message, wire.Office):
            self._offices[link.node] = message.epoch
            if message.role == "master" and self._credentials is not None:
                self._credentials.told(message.trust, message.beat_s)
        if link.node == self._session.obeyed:
            if self._session.admitted and isinstance(message, wire.OutputKept):
                self._outputs.kept(message)
            elif isinstance(message, wire.NodeHeartbeat):
                if self._session.admitted:  # marks of an earlier office say nothing about this one
                    self._outputs.replicated(message.replicated)
                epoch = self._offices.get(link.node, NO_EPOCH)
                self._witness.note_master(epoch, message.committed, boot_clock_us() / 1e6)
        message = self._safe.closed(message)
        before = self._memory.durable.groups, self._memory.durable.deployment
        self._handle(self._session.received(link.node, message, self._now()))
        if isinstance(message, wire.NodeHeartbeat | wire.Admitted):
            self._runner.answered(self._session.work.answered_us)
        if isinstance(message, wire.SetDeployment):
            self._note_deployment(*before)
        if isinstance(message, wire.Office):
            self._beat_told.set()
            self._dial()
        elif isinstance(message, wire.Admitted) and link.node == self._session.obeyed:
            self._outputs.admitted(message.outputs)

    def _note_deployment(self, groups: tuple[str, ...], deployment: int) -> None:
        """SMA-6: say it where the machine's own people look."""
        durable = self._memory.durable
        if durable.groups == groups and deployment:
            return
        if durable.groups:
            log.info("this agent serves groups", groups=list(durable.groups), deployment=durable.deployment)
        else:
            log.warning("this agent is not deployed: it serves no group and runs only jobs that name it")

    async def _answer(self, link: Link, question: wire.AskGrant | wire.AskAlone) -> None:
        async with self._witness_lock:
            try:
                answer = await asyncio.to_thread(self._witness.answer, question, boot_clock_us() / 1e6)
            except OSError as error:
                log.error("the witness record cannot be written: free disk space", error=str(error))
                return
        link.send(answer)
