"""One seed: the shipped pair under a virtual clock, on a spoiled network and spoiled disks; always the same trace.

`python -m tests.simulation SEED` replays one and prints its trace.
"""

from __future__ import annotations

import asyncio
import gc
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.process.checker import Verdict
from tests.simulation.cooperative import Scheduler, Stuck
from tests.simulation.director import ACKNOWLEDGED_MIN, FAULTS_MIN, Director
from tests.simulation.ledger import Clients
from tests.simulation.power_loss import MEMORY
from tests.simulation.primitives import in_place
from tests.simulation.seeded_disk import spoiled
from tests.simulation.small_sizes import scaled_down
from tests.simulation.verdict import judge
from tests.simulation.world import World

CLIENTS = 3
LANES = 2
SEEDS_PER_TASK = 5
SEEDS_PER_POOL = 200


@dataclass(frozen=True)
class Outcome:
    """What one seed did. `wrong` is empty when every promise was kept."""

    seed: int
    acknowledged: int
    faults: dict[str, int]
    role_changes: int
    virtual_s: float
    digest: str
    trace: list[str]
    wrong: list[str]
    focus: str = ""
    point: str = ""
    struck: bool = False
    points: frozenset[str] = frozenset()

    @property
    def command(self) -> str:
        """What replays it."""
        focus = f" --focus {self.focus}" if self.focus else ""
        point = f" --point '{self.point}'" if self.point else ""
        return f"python -m tests.simulation {self.seed}{focus}{point}"


async def _live(world: World, clients: Clients, focus: str) -> None:
    director = Director(world, clients)
    await director.found()
    world.founded = True
    running = [asyncio.ensure_future(clients.run(number)) for number in range(CLIENTS)]
    running.append(asyncio.ensure_future(clients.look(world.running)))
    await director.trouble(focus)
    await director.settle()
    clients.stopping = True
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def soak(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Seeds 1 to `count`, as a scenario of `./scripts/soak`; it keeps nothing in `directory`.

    In processes that are replaced now and then: what a killed node held open stays open in the process that played it.
    """
    totals = dict.fromkeys(("seeds", "acknowledged", "faults landed", "role changes", "virtual hours", "failed"), 0)
    kinds: set[str] = set()
    virtual_s = 0.0
    faults: list[str] = []
    for seed, outcome in enumerate(_outcomes(count), 1):
        totals["seeds"] += 1
        totals["acknowledged"] += outcome.acknowledged
        totals["faults landed"] += sum(outcome.faults.values())
        totals["role changes"] += outcome.role_changes
        virtual_s += outcome.virtual_s
        kinds |= outcome.faults.keys()
        if outcome.wrong:
            say(f"again: {outcome.command}")
            totals["failed"] += 1
            faults.append(f"seed {seed}: {outcome.wrong[0]}")
        if seed % 100 == 0:
            say(f"{seed} seeds, {totals['failed']} failed")
    totals["virtual hours"] = round(virtual_s / 3600)
    say(f"faults that landed: {', '.join(sorted(kinds))}")
    return Verdict(totals, tuple(faults))


def _outcomes(count: int) -> Iterator[Outcome]:
    """Of seeds 1 to `count`, in order."""
    context = multiprocessing.get_context("spawn")
    for first in range(1, count + 1, SEEDS_PER_POOL):  # 3.11 can hang when a pool replaces its processes by itself
        with ProcessPoolExecutor(LANES, context, _be_quiet) as pool:
            seeds = range(first, min(first + SEEDS_PER_POOL, count + 1))
            yield from pool.map(simulate, seeds, chunksize=SEEDS_PER_TASK)


def _be_quiet() -> None:
    """Say nothing of coroutines of killed nodes, which are thrown away in the middle."""
    sys.unraisablehook = lambda found: None


def simulate(seed: int, *, show: bool = False, focus: str = "", point: str = "") -> Outcome:
    """Run one seed in this thread; about half a second. A node ends once at `point` (`tests.failpoints.points`)."""
    with tempfile.TemporaryDirectory(prefix="pair-", dir=MEMORY, ignore_cleanup_errors=True) as directory:
        random.seed(seed)
        scheduler = Scheduler(seed)
        gc.disable()
        with in_place(scheduler), spoiled(), scaled_down():
            world = World(seed, Path(directory), scheduler, show)
            world.deadly = point
            clients = Clients(world.loop, world, seed, world.note)
            try:
                with world.observer.watching():
                    world.loop.run_until_complete(_live(world, clients, focus))
                if not world.wrong:
                    world.wrong += judge(world, clients)
            except Stuck as error:
                world.wrong.append(str(error))
            finally:
                world.bury()
                asyncio.set_event_loop(None)
        gc.enable()
        outcome = Outcome(
            seed, len(clients.acknowledged), world.faults, world.role_changes, scheduler.now - 100,
            world.trace.digest, world.trace.lines, world.wrong, focus, point, world.struck, frozenset(world.points),
        )  # fmt: skip
    for what, count, least in (
        ("acknowledged entries", outcome.acknowledged, ACKNOWLEDGED_MIN),
        ("faults", sum(outcome.faults.values()), FAULTS_MIN),
        ("role changes", outcome.role_changes, 1),
    ):
        if count < least and not outcome.wrong:
            outcome.wrong.append(f"only {count} {what}")
    return outcome
