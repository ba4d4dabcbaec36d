"""What befalls the pair, drawn by the seed, and the people who help it: a supervisor that restarts, an operator."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from replication.core.types import IN_OFFICE, Refused, State
from replication.node import Node
from tests.simulation.ledger import Clients
from tests.simulation.world import A, B, Life, World

PEERS = {A: B, B: A}
ACKNOWLEDGED_MIN = 50
FAULTS_MIN = 5
EVENTS_MIN = 8
EVENTS_MAX = 60
SETTLE_S = 400.0
Event = Callable[[], Awaitable[None]]


class Director:
    """Runs one seed on a world: `found`, `trouble`, `settle`. `wrong` of the world collects what it sees."""

    def __init__(self, world: World, clients: Clients) -> None:
        self.world = world
        self.clients = clients
        self.rng = random.Random(f"director/{world.seed}")
        self.swaps = 0
        self._away_until: dict[str, float] = {}
        self._stopping = False

    async def found(self) -> None:
        """A founds the cluster, B joins and is counted on."""
        world = self.world
        first = world.start(A)
        await self.until(lambda: first.node is not None, "A to open")
        assert first.node is not None
        world.loop.run_for(first.process, first.node.found())
        await self.until(lambda: first.ready, "A to be master")
        second = world.start(B)
        await self.until(lambda: second.node is not None, "B to open")
        assert second.node is not None
        first.node.set_peers({B: "b:1"})
        world.loop.run_for(second.process, second.node.join({A: "a:1"}))
        await self.until(world.is_whole, "the pair to be whole")

    async def until(self, condition: Callable[[], bool], what: str, timeout_s: float = SETTLE_S) -> bool:
        """Wait in virtual time; what does not come in time is wrong."""
        deadline = self.world.scheduler.now + timeout_s
        while not condition():
            if self.world.scheduler.now > deadline:
                self.world.wrong.append(f"waited {timeout_s:.0f} s in vain for {what}: {self.states()}")
                return False
            await asyncio.sleep(0.1)
        return True

    def states(self) -> str:
        """Both nodes in a line."""
        said = []
        for name in (A, B):
            node = self.world.node(name)
            if node is None:
                said.append(f"{name[0]} down")
                continue
            status = node.status()
            following = node.following.problem if node.following is not None else ""
            said.append(
                f"{name[0]} {status.state} {status.epoch.number} last {status.position.sequence} commit "
                f"{status.commit_sequence} applied {status.applied_sequence} {status.waiting_for}{following}"
            )
        return "; ".join(said)

    # trouble

    async def trouble(self, focus: str = "") -> None:
        """Draw events until enough has happened; with a `focus` only this one and hand-offs."""
        helpers = [asyncio.ensure_future(self._supervise()), asyncio.ensure_future(self._operate())]
        events: list[tuple[int, Event]] = [
            (4, self._swap), (3, self._kill), (3, self._kill_in_the_middle), (2, self._kill_both), (2, self._partition),
            (3, self._one_way), (2, self._break_links), (2, self._be_sloppy), (2, self._stall_disk),
            (1, self._fill_disk), (1, self._fail_disk), (2, self._long_absence), (1, self._lose_witness),
            (2, self._calm), (3, self._disaster),
            (1, self._flip_page), (1, self._flip_journal),
        ]  # fmt: skip
        if focus:
            events = [(weight, event) for weight, event in events if event.__name__ in (f"_{focus}", "_swap")]
        weights = [weight for weight, _ in events]
        for number in range(EVENTS_MAX):
            if number >= EVENTS_MIN and self.enough:
                break
            _, event = self.rng.choices(events, weights)[0]
            self.world.note(f"director: {event.__name__.strip('_')}; {self.states()}")
            self.world.next_event()
            await event()
            await asyncio.sleep(self.rng.random() * self.rng.choice((0.5, 4.0)))
        self._stopping = True
        for helper in helpers:
            helper.cancel()
        await asyncio.gather(*helpers, return_exceptions=True)

    @property
    def enough(self) -> bool:
        """What each seed has to have seen."""
        faults = sum(self.world.faults.values())
        return (
            len(self.clients.acknowledged) >= ACKNOWLEDGED_MIN and faults >= FAULTS_MIN and self.world.role_changes >= 1
        )

    def _some(self) -> Life | None:
        alive = [life for name in (A, B) if (life := self.world.life(name)) is not None]
        return self.rng.choice(alive) if alive else None

    def _master(self) -> Life | None:
        return next((life for name in (A, B) if (life := self.world.life(name)) is not None and life.ready), None)

    async def _calm(self) -> None:
        """Time to become whole again."""
        for _ in range(200):
            if self.world.is_whole():
                return
            await asyncio.sleep(0.1)

    async def _swap(self) -> None:
        await self._calm()
        life = self._master()
        if life is None or life.node is None:
            return
        self._ask(life, "swap", life.node.swap(PEERS[life.name], b"note", 5.0))
        await asyncio.sleep(self.rng.choice((0.0, 0.01, 0.05, 2.0)))

    def _ask(self, life: Life, what: str, job: Awaitable[str], refused_is: Callable[[str], None] | None = None) -> None:
        async def ask() -> None:
            try:
                answer = await job
                self.swaps += what == "swap"
                self.world.note(f"operator: {what} at {life.process.name}: {answer}")
            except Refused as refused:
                self.world.note(f"operator: {what} at {life.process.name} refused: {refused.code}: {refused}")
                if refused_is is not None:
                    refused_is(refused.code)

        self.world.loop.run_for(life.process, ask())

    def _crash(self, life: Life, away_s: float, power: bool | None = None) -> None:
        power = self.rng.random() < 0.6 if power is None else power
        self._away_until[life.name] = self.world.scheduler.now + away_s
        self.world.landed(f"{'power loss' if power else 'kill'} of {life.process.name}")
        self.world.crash(life.name, power=power)

    def _absence(self) -> float:
        return self.rng.random() * self.rng.choice((0.5, 3.0, 12.0))

    async def _kill(self) -> None:
        if (life := self._some()) is not None:
            self._crash(life, self._absence())

    async def _kill_in_the_middle(self) -> None:
        life = self._some()
        if life is None:
            return
        life.power_next = self.rng.random() < 0.7
        life.disk.kill_at = self.rng.randint(1, self.rng.choice((12, 60, 200)))
        self._away_until[life.name] = self.world.scheduler.now + self._absence() + 2
        if self.rng.random() < 0.3:
            await self._swap()

    async def _kill_both(self) -> None:
        for name in self.rng.sample((A, B), 2):
            if (life := self.world.life(name)) is not None:
                self._crash(life, self._absence())
            await asyncio.sleep(self.rng.choice((0.0, 0.003, 0.5)))

    async def _partition(self) -> None:
        self.world.network.cut(A, B)
        await self._one_way()

    async def _one_way(self) -> None:
        self.world.network.cut(*self.rng.choice(((A, B), (B, A))))
        await asyncio.sleep(self.rng.random() * self.rng.choice((2.0, 8.0, 25.0)))
        self.world.network.heal()

    async def _break_links(self) -> None:
        for link in self.world.network.open_links():
            if self.rng.random() < 0.6:
                self.world.landed(f"break: {link.channel} link {link.number}")
                self.world.network.break_link(link)

    async def _be_sloppy(self) -> None:
        self.world.network.sloppy_until = self.world.scheduler.now + self.rng.random() * 12
        if self.rng.random() < 0.5:
            await self._swap()

    async def _stall_disk(self) -> None:
        if (life := self._some()) is not None:
            seconds = self.rng.choice((1.0, 3.0, 8.0, 60.0)) * (0.5 + self.rng.random() / 2)
            life.disk.stalled_until = self.world.scheduler.now + seconds
            await asyncio.sleep(min(seconds, 10.0))

    async def _fill_disk(self) -> None:
        if (life := self._some()) is not None:
            life.disk.fill(True)
            await asyncio.sleep(self.rng.random() * 8)
            life.disk.fill(False)

    async def _fail_disk(self) -> None:
        if (life := self._some()) is not None:
            life.disk.fail_next = self.rng.choice(("write", "sync"))
            self._away_until[life.name] = self.world.scheduler.now + 2 + self._absence()

    async def _long_absence(self) -> None:
        """Long enough for an operator to do something about it."""
        life = self._some()
        if life is not None:
            self._crash(life, 20 + self.rng.random() * 20)
            await asyncio.sleep(15 + self.rng.random() * 15)

    async def _disaster(self) -> None:
        """Both go while fsyncs hang, within a moment; one comes back soon, the other long after people had to act."""
        await self._calm()
        lives = [life for name in (A, B) if (life := self.world.life(name)) is not None]
        self.rng.shuffle(lives)
        hanging_s = 0.05 + self.rng.random() * 0.4
        for life in lives[: self.rng.randint(1, 2)]:
            life.disk.stalled_until = self.world.scheduler.now + hanging_s
        await asyncio.sleep(hanging_s * self.rng.random())
        self.rng.shuffle(lives)
        for life, away_s in zip(lives, (self._absence(), 25.0), strict=False):
            if life.process.alive:
                self._crash(life, away_s, power=self.rng.random() < 0.8)
            await asyncio.sleep(self.rng.choice((0.0, 0.002, 0.01, 0.1)))
        await asyncio.sleep(15 + self.rng.random() * 15)

    def _standby(self) -> Life | None:
        lives = [life for name in (A, B) if (life := self.world.life(name)) is not None and life.node is not None]
        return next((life for life in lives if life.node and life.node.machine.state is State.IN_SYNC), None)

    async def _flip_page(self) -> None:
        """A standby finds it when it proves its files, and has the page from its master."""
        await self._calm()
        life = self._standby()
        if life is None or life.node is None or self._master() is None:
            return
        self.world.flip_page(life)
        while life is not None and not await self._prove(life):  # it was killed meanwhile: an operator asks again
            await self._calm()
            life = self._standby()
        await asyncio.sleep(1.0)
        await self._calm()

    async def _prove(self, life: Life) -> bool:
        """Have a node read all its files; False when it ended before it was done."""
        assert life.node is not None
        proof = self.world.loop.run_for(life.process, life.node.prover.prove())
        await asyncio.wait([proof], timeout=60.0)
        if proof.done() and not proof.cancelled() and proof.exception() is None:
            self.world.note(f"operator: verify at {life.process.name}: {proof.result().text}")
        elif life.process.alive:
            self.world.wrong.append(f"the files of {life.process.name} could not be proven")
        else:
            return False
        return True

    async def _flip_journal(self) -> None:
        """A standby whose journal is damaged keeps it and copies again."""
        await self._calm()
        life = self._standby()
        if life is not None and self._master() is not None:
            self._crash(life, 1.0)
            self.world.flip_journal(life.name)
            await asyncio.sleep(1.5)
            await self._calm()

    async def _lose_witness(self) -> None:
        self.world.witness.unreachable_for = set(self.rng.sample((A, B), self.rng.randint(1, 2)))
        self.world.landed("witness unreachable")
        await asyncio.sleep(self.rng.random() * 10)
        self.world.witness.unreachable_for = set()

    # people

    async def _supervise(self) -> None:
        """Start again what has ended, as systemd does."""
        while True:
            await asyncio.sleep(0.2)
            for name in (A, B):
                if self.world.life(name) is None and self.world.scheduler.now >= self._away_until.get(name, 0.0):
                    self.world.start(name)

    async def _operate(self) -> None:
        """Follow the printed advice when nobody has been master, or nothing was acknowledged, for a while."""
        while True:
            await asyncio.sleep(3.0 + self.rng.random() * 6)
            for name in (A, B):
                life = self.world.life(name)
                if life is not None and life.node is not None and self.world.life(PEERS[name]) is None:
                    await self._help(life, life.node)

    async def _help(self, life: Life, node: Node) -> None:
        """Its peer is down, the operator has looked: go on without it, as `status` says."""
        state = node.machine.state
        if state is State.RESUMING or (state in IN_OFFICE and self.rng.random() < 0.5):
            self._ask(life, "go-alone", node.go_alone(b""))
        elif state not in IN_OFFICE:
            self._ask(
                life, "standby-to-master", node.promote(False, True, b""), lambda code: self._insist(life, node, code)
            )

    def _insist(self, life: Life, node: Node, code: str) -> None:
        """Sometimes the operator accepts the loss that the refusal names."""
        if code == "data_loss" and self.rng.random() < 0.4:
            self.world.loss_accepted = True
            self._ask(life, "standby-to-master --allow-data-loss", node.promote(True, True, b""))

    async def settle(self) -> None:
        """Everything works again: both must become whole by themselves, and stop cleanly."""
        world = self.world
        world.note(f"director: everything is healed; {self.states()}")
        world.network.heal()
        world.network.sloppy_until = 0.0
        world.witness.unreachable_for = set()
        for life in world.lives.values():
            life.disk.stalled_until, life.disk.kill_at, life.disk.fail_next = 0.0, None, ""
            life.disk.fill(False)
        self._away_until.clear()
        supervisor = asyncio.ensure_future(self._supervise())
        await self.until(world.is_whole, "the pair to be whole after everything is healed")
        self.clients.stopping = True
        await asyncio.sleep(3.0)
        await self.until(world.is_whole, "the pair to be equal at the end")
        world.note(f"director: whole; {self.states()}")
        supervisor.cancel()
        master, standby = sorted(world.lives.values(), key=lambda life: not life.ready)
        for life in (master, standby):
            if life.node is not None and life.process.alive:
                closing = world.loop.run_for(life.process, life.node.close())
                await asyncio.wait([closing], timeout=60)
                if not closing.done():
                    world.wrong.append(f"{life.process.name} does not close")
