"""Jobs that save checkpoints, on three real agents of one real office, while they are killed, suspended and drained.

The witness is a file into which each step writes, fsynced, that it begins and that its checkpoint was answered. The
promise (docs/checkpoints.md): a step whose checkpoint was answered with `--replicated` never begins again; without
trouble, and through a suspension or a drain, each step begins exactly once; the work comes to its end in any case.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import random
import signal
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from server.actions import checkpoints, drains, groups, runs
from server.core.checkpoints import CheckpointRule
from server.core.model import Run
from server.storage import agents as agent_rows
from server.storage import runs as run_rows
from tests.process.checker import Verdict
from tests.process.deadly_agent import ARMED, CHECKPOINT_POINTS, run_agent
from tests.process.fleet_office import BOSS, OfficeUnderTest, now_us, office
from tests.process.programs import BIN, end_everything_in

Say = Callable[[str], None]
AGENTS = 3
STEPS = 4
GROUP = "f" * 32
JOB = """
set -e
n=0
if [ -n "$UNDERSTUDY_CHECKPOINT" ]; then n=$(cat "$UNDERSTUDY_CHECKPOINT"); fi
say() {{
  printf '%s %s %s\\n' "$1" "$UNDERSTUDY_RUN_ID" "$2" | dd of={proof} oflag=append conv=notrunc,fsync status=none
}}
while [ "$n" -lt {steps} ]; do
  n=$((n + 1))
  say begins "$n"
  sleep {pause}
  printf %s "$n" | {bin}/understudy checkpoint {flag} > /dev/null
  say saved "$n"
done
say ends 0
"""
KINDS = ("calm", "kill", "machine", "suspend", "drain", *CHECKPOINT_POINTS)
EXACT = ("calm", "kill", "suspend", "drain", *CHECKPOINT_POINTS)
"""Kinds in which nothing of a step is lost: the agent alone dies, or the run is ended at a checkpoint."""
_context = multiprocessing.get_context("forkserver")


@dataclass
class Machine:
    """One agent with its directory."""

    desk: OfficeUnderTest
    data: Path
    name: str
    agent_id: str
    process: ForkServerProcess | None = None

    def start(self) -> None:
        address = f"127.0.0.1:{self.desk.port}/by/{self.agent_id}"
        self.process = _context.Process(target=run_agent, args=(self.data, self.agent_id, address), daemon=True)
        self.process.start()

    def kill(self) -> None:
        """kill -9 of the agent; its keeper and its jobs go on."""
        assert self.process is not None
        self.process.kill()
        self.process.join()

    def crash(self) -> None:
        """Everything of the machine is gone at once."""
        self.kill()
        end_everything_in(self.data)


@dataclass
class Site:
    """The office with its machines; `faults` are sentences."""

    desk: OfficeUnderTest
    directory: Path
    machines: list[Machine] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    moved: int = 0
    rounds: Counter[str] = field(default_factory=Counter)
    hits: Counter[str] = field(default_factory=Counter)
    """Deaths by point."""

    @property
    def proof(self) -> Path:
        return self.directory / "proof"

    async def make(self) -> None:
        for number in range(1, AGENTS + 1):
            agent_id, name = f"{number:032x}", f"agent-{number}"
            data = self.directory / name
            data.mkdir()
            identity = {"kind": "agent", "cluster": "c" * 32, "id": agent_id, "name": name, "peers": {}}
            (data / "identity.json").write_text(json.dumps(identity))
            await self.desk.enrol(agent_id, name)
            self.machines.append(Machine(self.desk, data, name, agent_id))
        names = [machine.name for machine in self.machines]
        spec = groups.GroupSpec(name="steps", agents=names)
        await self.desk.write(groups.create(spec, GROUP, BOSS, now_us()))
        rule = CheckpointRule(keep=3, restartable=True)
        for name, flag in (("exact", ""), ("safe", "--replicated")):
            command = JOB.format(proof=self.proof, steps=STEPS, pause=0.1, bin=BIN, flag=flag)
            await self.desk.job(name, command, "", group="steps", checkpoints=rule)
        self.proof.touch()
        for machine in self.machines:
            machine.start()
        for machine in self.machines:
            await self.desk.until(lambda c, m=machine: agent_rows.get(c, m.agent_id).ticket_confirmed > 0, 60)

    def lines(self, key: str) -> list[tuple[str, int]]:
        """(what, step) of all attempts of a run, in order."""
        stem = key.rpartition(".a")[0]
        found = [line.split(" ") for line in self.proof.read_text().split("\n")[:-1]]
        return [(what, int(step)) for what, attempt, step in found if attempt.rpartition(".a")[0] == stem]

    async def saw(self, key: str, what: str, step: int) -> None:
        """Wait until the file says it."""
        async with asyncio.timeout(60):
            while (what, step) not in self.lines(key):
                await asyncio.sleep(0.02)

    async def newest(self, key: str, wanted: Callable[[Run], Any], within_s: float = 60) -> Run:
        """The newest attempt, once it is as wanted."""

        def look(c: Any) -> Run | None:
            run = run_rows.get(c, run_rows.attempts(c, key)[-1].number)
            return run if run is not None and wanted(run) else None

        found: Run = await self.desk.until(look, within_s)
        return found

    async def round(self, kind: str, number: int, chance: random.Random) -> None:
        """One run and one trouble in the middle of it; then the file and the rows are looked at."""
        self.rounds[kind] += 1
        job = "safe" if kind == "machine" else "exact"
        run = await self.desk.write(runs.run_now(job, f"k{number}-{now_us()}", BOSS, now_us()))
        at = chance.randint(1, STEPS - 1)
        try:
            await self._trouble(kind, run.key, at)
            last = await self.newest(run.key, lambda r: r.state == "succeeded", 90)
            self.moved += last.attempt - 1
            self._judge(kind, run.key)
        except (TimeoutError, AssertionError) as error:
            found = await self.desk.read(lambda c: [(r.key, r.state, r.reason) for r in run_rows.attempts(c, run.key)])
            self.faults.append(f"{kind}: {type(error).__name__} {error}; {found}; {self.lines(run.key)}")

    async def _trouble(self, kind: str, key: str, at: int) -> None:
        await self.saw(key, "begins", at)
        run = await self.newest(key, lambda r: r.state == "running")
        machine = next(m for m in self.machines if m.agent_id == run.agent_id)
        if kind == "kill":
            machine.kill()
            machine.start()
        elif kind == "machine":
            machine.crash()
            machine.start()
        elif kind == "suspend":
            await self.desk.write(checkpoints.suspend(run.number, BOSS, now_us()))
            stopped = await self.newest(key, lambda r: r.state in ("suspended", "succeeded"))
            if stopped.state == "suspended":
                await self.desk.write(checkpoints.resume(run.number, BOSS, now_us()))
        elif kind == "drain":
            await self.desk.write(drains.drain(machine.name, 60, BOSS, now_us()))
            await self.newest(key, lambda r: r.attempt > 1 or r.ended_at_us)
            await self.desk.write(drains.undrain(machine.name, BOSS, now_us()))
        elif kind in CHECKPOINT_POINTS:
            (machine.data / ARMED).write_text(kind)
            if "suspen" in kind:
                await self.desk.write(checkpoints.suspend(run.number, BOSS, now_us()))
            if "resume" in kind:
                await self._resume_and_die(kind, run, machine)
            elif await self._died(machine):
                self.hits[kind] += 1
                machine.start()
            if "suspen" in kind:
                stopped = await self.newest(key, lambda r: r.state in ("suspended", "succeeded"))
                if stopped.state == "suspended":
                    await self.desk.write(checkpoints.resume(run.number, BOSS, now_us()))
            (machine.data / ARMED).unlink(missing_ok=True)

    async def _resume_and_die(self, kind: str, run: Run, machine: Machine) -> None:
        """Whichever machine begins the next attempt dies there."""
        (machine.data / ARMED).unlink()
        await self.desk.write(checkpoints.suspend(run.number, BOSS, now_us()))
        stopped = await self.newest(run.key, lambda r: r.state in ("suspended", "succeeded"))
        if stopped.state != "suspended":
            return
        for one in self.machines:
            (one.data / ARMED).write_text(kind)
        await self.desk.write(checkpoints.resume(run.number, BOSS, now_us()))
        async with asyncio.timeout(30):
            while all(one.process is not None and one.process.is_alive() for one in self.machines):
                await asyncio.sleep(0.02)
        for one in self.machines:
            (one.data / ARMED).unlink(missing_ok=True)
            if one.process is not None and not one.process.is_alive():
                self.hits[kind] += 1
                one.start()

    async def _died(self, machine: Machine) -> bool:
        """Whether it came to the point; the last checkpoint may have been behind it already."""
        assert machine.process is not None
        try:
            async with asyncio.timeout(15):
                while machine.process.is_alive():
                    await asyncio.sleep(0.02)
        except TimeoutError:
            return False
        assert machine.process.exitcode == -signal.SIGKILL, f"it ended with {machine.process.exitcode}"
        return True

    def _judge(self, kind: str, key: str) -> None:
        lines = self.lines(key)
        begun = Counter(step for what, step in lines if what == "begins")
        assert set(begun) == set(range(1, STEPS + 1)), f"steps {sorted(begun)} of {STEPS} began"
        for at, (what, step) in enumerate(lines):
            again = what == "saved" and ("begins", step) in lines[at:]
            assert not again, f"step {step} began again after its checkpoint was answered"
        if kind in EXACT:
            assert set(begun.values()) == {1}, f"steps began {dict(begun)} times"


async def run_kinds(directory: Path, kinds: list[str], say: Say, seed: int) -> Verdict:
    """One round of each, in this order."""
    _context.set_forkserver_preload(["tests.process.deadly_agent"])
    chance = random.Random(seed)
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(office(directory / "node"))
        stack.callback(end_everything_in, directory)
        site = Site(desk, directory)
        await site.make()
        for number, kind in enumerate(kinds):
            await site.round(kind, number, chance)
        twice = await desk.read(lambda c: [r.key for r in run_rows.page(c, limit=1000) if r.state in ("running",)])
        for machine in site.machines:
            machine.kill()
    begun = site.proof.read_text().count("begins ")
    for kind, count in site.rounds.items():
        died = f", {site.hits[kind]} died there" if kind in CHECKPOINT_POINTS else ""
        say(f"{count:3} {kind}{died}")
    say(f"{begun} steps began, {len(kinds) * STEPS} were to be done; {site.moved} runs went on as another attempt")
    faults = [f"never hit: {kind}" for kind in CHECKPOINT_POINTS if site.rounds[kind] and not site.hits[kind]]
    faults += [*site.faults, *(f"left running: {key}" for key in twice)]
    counts = {"runs": len(kinds), "steps": begun, "went on": site.moved, "kills at points": sum(site.hits.values())}
    return Verdict(counts, tuple(faults))


def checkpoint_rounds(directory: Path, count: int, say: Say) -> Verdict:
    """Every kind `count` times, in mixed order."""
    kinds = [kind for kind in KINDS for _ in range(count)]
    random.Random(count).shuffle(kinds)
    return asyncio.run(run_kinds(directory, kinds, say, count))
