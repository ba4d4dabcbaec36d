"""The simulated machine room: two nodes with all of the shipped code, a witness, and what can befall them."""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from replication.core.request import DATABASE_FILE
from replication.core.types import Epoch, Mode, NodeId, State
from replication.core.witness import (
    Claim,
    WitnessAnswer,
    WitnessRecord,
    WitnessVerdict,
    combine,
    decide_alone,
    decide_claim,
)
from replication.errors import Corrupt, DiskFull, ReplicationError
from replication.node import Node, NodeSettings
from replication.ports import Opening
from server.integrity.repair import may_copy_again, set_aside
from server.trust.identity import Identity
from tests.simulation.cooperative import Killed, Process, Scheduler
from tests.simulation.ledger import Ledger
from tests.simulation.observer import Observer
from tests.simulation.seeded_disk import SeededDisk
from tests.simulation.seeded_network import End, Network
from tests.simulation.small_sizes import SEGMENT_BYTES
from tests.simulation.virtual_loop import VirtualLoop

A, B = "a" * 32, "b" * 32
CLUSTER = "c" * 32
STEADY_S = 2.0
FOLLOWER = cast("Identity", SimpleNamespace(peers={"master": "m:1"}))
STANDBY_TIMEOUT_S = 6.0
EPOCH_US = 1_700_000_000_000_000


class Trace:
    """What happened, line by line, and one hash over it."""

    def __init__(self, clock: Callable[[], float], show: bool) -> None:
        self._clock = clock
        self._show = show
        self._hash = hashlib.blake2b(digest_size=8)
        self.lines: list[str] = []

    def note(self, text: str, keep: bool = True) -> None:
        """Add a line; with `keep` False it counts in the hash and is shown only while showing."""
        line = f"{self._clock() - 100:10.4f} {text}"
        self._hash.update(line.encode())
        if keep:
            self.lines.append(line)
        if self._show:
            print(line)

    @property
    def digest(self) -> str:
        """The same for the same seed, always."""
        return self._hash.hexdigest()


class Witness:
    """One witness agent; a node listed in `unreachable_for` gets no answer. The rule is the shipped one."""

    def __init__(self, rng: random.Random) -> None:
        self.record = WitnessRecord()
        self.unreachable_for: set[str] = set()
        self._rng = rng

    def of(self, name: str) -> WitnessLink:
        """What a node gets as its `witnesses`."""
        return WitnessLink(self, name)

    async def reached(self, name: str) -> bool:
        """Whether a question of this node arrives; takes its time."""
        await asyncio.sleep(self._rng.random() * 0.02)
        if name in self.unreachable_for:
            await asyncio.sleep(3.0)
            return False
        return True


class WitnessLink:
    """`replication.ports.Witnesses` of one node."""

    def __init__(self, witness: Witness, name: str) -> None:
        self._witness = witness
        self._name = name

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Ask, and hear, or not."""
        answers: list[WitnessAnswer] = []
        if await self._witness.reached(self._name):
            self._witness.record, answer = decide_claim(self._witness.record, claim)
            if await self._witness.reached(self._name):
                answers.append(answer)
        return combine(answers, 1)

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Record it, and hear, or not."""
        if not await self._witness.reached(self._name):
            return False
        self._witness.record, done = decide_alone(self._witness.record, epoch, alone or "", counter)
        return await self._witness.reached(self._name) and done


class Life:
    """One run of a node's program, from its start to its end or death."""

    def __init__(self, name: str, process: Process, disk: SeededDisk, ledger: Ledger) -> None:
        self.name = name
        self.process = process
        self.disk = disk
        self.ledger = ledger
        self.node: Node | None = None
        self.failed: Exception | None = None
        self.power_next = False

    async def accept(self, connection: End, channel: str) -> None:
        """An accepted link; before the node is open it is refused."""
        if self.node is None:
            await connection.close()
        else:
            await self.node.attach(connection, channel)

    @property
    def ready(self) -> bool:
        """In office with the application open."""
        node = self.node
        return self.process.alive and node is not None and node.office is not None and node.office.ready


class World:
    """Both nodes with their disks, links and lives. `wrong` collects what must never happen."""

    def __init__(self, seed: int, root: Path, scheduler: Scheduler, show: bool) -> None:
        self.seed = seed
        self.root = root
        self.scheduler = scheduler
        self.rng = random.Random(f"world/{seed}")
        self.mode = Mode.STRICT if seed % 2 else Mode.AVAILABLE
        self.trace = Trace(lambda: scheduler.now, show)
        self.deadly, self.founded, self.struck = "", False, False
        self.points: dict[str, int] = {}
        self.wrong = scheduler.wrong
        self.loop = VirtualLoop(scheduler, self.wrong.append)
        self.observer = Observer()
        self.faults: dict[str, int] = {}
        self._landed_now: set[str] = set()
        self.network = Network(self.loop, seed, self.landed, lambda text: self.trace.note(text, keep=False))
        self.witness = Witness(random.Random(f"witness/{seed}"))
        self.lives: dict[str, Life] = {}
        self.counts = {A: 0, B: 0}
        self.openings: list[tuple[float, str, Epoch, str]] = []
        self.kept_forks: dict[str, set[str]] = {A: set(), B: set()}
        self.set_aside: set[str] = set()
        self.loss_accepted = False
        self.lost = 0
        self._flipped: dict[str, bool] = {}
        self._page_flipped: set[str] = set()
        self._graves: list[Life] = []
        self._next_root = {A: root / "a0", B: root / "b0"}
        self._inherit: dict[str, SeededDisk | None] = {A: None, B: None}

    # what the code under test is told, and tells

    def landed(self, what: str) -> None:
        """A fault did something; of one kind only the first counts until the director's next event."""
        kind = what.split(" of ")[0].split(" for ")[0].split(":")[0]
        if kind not in self._landed_now:
            self._landed_now.add(kind)
            self.trace.note(f"fault: {what}")
            self.faults[kind] = self.faults.get(kind, 0) + 1

    def next_event(self) -> None:
        """The director does something else: faults count again."""
        self._landed_now.clear()

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.trace.note(text)

    def _log(self, name: str, process: Process) -> Callable[[str, dict[str, Any]], None]:
        def log(text: str, facts: dict[str, Any]) -> None:
            if text.startswith("Cannot reach it") or not process.alive:
                return
            row = f" (row {facts['row']}, {facts['state']})" if "row" in facts else ""
            self.trace.note(f"node {name[0]}: {text}{row}")
            if text.startswith("Kept requests"):
                self.kept_forks[name].add(text.split(" as fork ")[1].rstrip("."))

        return log

    def _opened(self, name: str) -> Callable[[Opening], None]:
        def opened(opening: Opening) -> None:
            self.note(f"node {name[0]}: office {opening.epoch} is open ({opening.kind})")
            before = [epoch for _, _, epoch, _ in self.openings]
            if before and opening.epoch <= max(before):
                self.wrong.append(f"{name[0]} opened office {opening.epoch} after {max(before)}")
            self.openings.append((self.scheduler.now, name, opening.epoch, opening.kind))

        return opened

    @property
    def role_changes(self) -> int:
        """How often office went to the other node."""
        return sum(one != other for one, other in pairwise(name for _, name, _, _ in self.openings))

    # lives

    def life(self, name: str) -> Life | None:
        """The running life of a node, or None."""
        life = self.lives.get(name)
        return life if life is not None and life.process.alive else None

    def node(self, name: str) -> Node | None:
        """The running node, once it is open."""
        life = self.life(name)
        return life.node if life is not None else None

    def in_office(self) -> list[tuple[Process, Ledger]]:
        """For the clients."""
        return [(life.process, life.ledger) for life in self.lives.values() if life.ready and life.ledger.store]

    def running(self) -> list[tuple[Process, Node]]:
        """For the reader."""
        lives = [life for life in self.lives.values() if life.process.alive]
        return [(life.process, life.node) for life in lives if life.node is not None]

    def start(self, name: str) -> Life:
        """Start a node's program on its directory; it opens by itself."""
        self.counts[name] += 1
        process = Process(f"{name[0]}{self.counts[name]}")
        disk = self._disk(name, process, self._next_root[name])
        before = self._inherit[name]
        if before is not None:
            disk.inherit(before)
        life = Life(name, process, disk, Ledger(self._opened(name)))
        disk.on_kill = lambda where: self._died_at(life, where)
        self.lives[name] = life
        self.network.listeners[name] = life
        self.network.back(name)
        self.note(f"world: start {process.name}")
        self.loop.run_for(process, self._open(life))
        return life

    async def _open(self, life: Life) -> None:
        name = life.name
        settings = NodeSettings(
            CLUSTER, name, f"node-{name[0]}", f"{name[0]}:1", "0.1.0", steady_s=STEADY_S,
            mode=self.mode, standby_timeout_s=STANDBY_TIMEOUT_S,
            utc_us=lambda: EPOCH_US + int(self.scheduler.now * 1e6), segment_bytes=SEGMENT_BYTES,
            end=lambda error: self._ended(life, error),
        )  # fmt: skip
        try:
            node = await Node.open(
                life.disk, settings, life.ledger, self.witness.of(name),
                self.network.dialler(name, life.process), self._log(name, life.process),
            )  # fmt: skip
        except ReplicationError as error:
            self.note(f"node {name[0]}: cannot be opened: {error}")
            if not self._flipped.get(name) or not may_copy_again(life.disk.root, FOLLOWER):
                self.wrong.append(f"{name[0]} cannot be opened: {error}")
                return
            await self._copy_again(life)
            return
        life.node = node
        if node.control.value.peers:
            node.set_peers(node.control.value.peers)

    async def _copy_again(self, life: Life) -> None:
        """What `server.app` does with the damaged directory of a node that only followed."""
        self.note(f"world: the damaged directory of {life.process.name} is set aside")
        set_aside(life.disk.root)
        self.set_aside.add(life.name)
        self._flipped[life.name] = False
        life.disk.bury()
        life.disk = self._disk(life.name, life.process, life.disk.root)
        life.disk.on_kill = lambda where: self._died_at(life, where)
        await self._open(life)
        if life.node is not None:
            peer = B if life.name == A else A
            await life.node.join({peer: f"{peer[0]}:1"})
            if self.rng.random() < 0.6:  # the copy is interrupted
                life.power_next = self.rng.random() < 0.5
                life.disk.kill_at = self.rng.randint(1, 80)

    def _disk(self, name: str, process: Process, root: Path) -> SeededDisk:
        rng = random.Random(f"disk/{self.seed}/{process.name}/{name in self.set_aside}")
        disk = SeededDisk(root, process, rng, self.landed)
        disk.adopt()
        disk.is_deadly = self._is_deadly
        return disk

    def _is_deadly(self, point: str) -> bool:
        """Whether a node ends here: at the armed point, once, from the time that the pair was founded."""
        self.points[point] = self.points.get(point, 0) + 1
        if point != self.deadly or self.struck or not self.founded:
            return False
        self.struck = True
        return True

    def flip_journal(self, name: str) -> None:
        """One bit of the stopped node's journal, in what was written of a segment."""
        folder = self._next_root[name] / "journal"
        segments = sorted(folder.glob("*.journal"))
        if segments:
            path = self.rng.choice(segments)
            data = bytearray(path.read_bytes())
            at = self.rng.randrange(max(len(data.rstrip(b"\0")), 1))
            data[at] ^= 1 << self.rng.randrange(8)
            path.write_bytes(data)
            self._flipped[name] = True
            self.landed(f"bit flip: byte {at} of {path.name} at {name[0]}")

    def flip_page(self, life: Life) -> None:
        """One bit of a standby's database, behind its back."""
        path = life.disk.root / DATABASE_FILE
        at = self.rng.randrange(max(path.stat().st_size, 1))
        with path.open("r+b") as file:
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1 << self.rng.randrange(8)]))
        self._page_flipped.add(life.name)
        self.landed(f"bit flip in a page: byte {at} at {life.name[0]}")

    def _died_at(self, life: Life, where: str) -> None:
        self.landed(f"{'power loss' if life.power_next else 'kill'} of {life.process.name} {where}")
        self.crash(life.name, power=life.power_next, at=where)

    def _ended(self, life: Life, error: BaseException) -> None:
        """The program ended itself."""
        if life.process.alive:
            self.note(f"world: {life.process.name} ended itself: {error!r}")
            is_unreadable = (
                isinstance(error, Corrupt) and error.file == DATABASE_FILE and life.name in self._page_flipped
            )
            if not (life.disk.failed or (life.disk.is_full and isinstance(error, DiskFull)) or is_unreadable):
                self.wrong.append(f"{life.process.name} ended itself without a failing disk: {error!r}")
            self.crash(life.name, power=True, at="at its end", silent=False)
        raise Killed

    def crash(self, name: str, *, power: bool, at: str = "", silent: bool | None = None) -> None:
        """Kill a node's program; with `power` what was not fsynced is lost. `silent`: no kernel closes its links."""
        life = self.lives[name]
        target = self.root / f"{name[0]}{self.counts[name]}"
        rng = random.Random(f"crash/{self.seed}/{life.process.name}")
        self.note(f"world: {'power loss' if power else 'kill'} of {life.process.name} {at}")
        if power:
            life.disk.crash_into(target, rng)
            self._inherit[name] = None
        else:
            life.disk.kill_into(target)
            self._inherit[name] = life.disk
        self._next_root[name] = target
        self.loop.kill(life.process)
        silent = power if silent is None else silent
        if silent:
            self.network.hosts_down.add(name)
        self.network.died(life.process, silent)
        self._graves.append(life)

    def bury(self) -> None:
        """Close what the dead left open."""
        for life in [*self._graves, *self.lives.values()]:
            life.disk.bury()

    def is_whole(self) -> bool:
        """Both run; one is master and counts on the other, which says the same and holds and applied as much."""
        nodes = [self.node(name) for name in (A, B)]
        if any(node is None for node in nodes):
            return False
        known = [node for node in nodes if node is not None]
        if {node.machine.state for node in known} != {State.MASTER, State.IN_SYNC}:
            return False
        looks = {(n.journal.last, n.picture.status().applied_sequence, n.picture.status().checksum) for n in known}
        return len(looks) == 1 and all(node.status().in_sync for node in known)
