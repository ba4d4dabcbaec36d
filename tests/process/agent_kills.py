"""kill -9 of an agent, and of its keeper, at each point of a run, against a real master: once, whole, and told rightly.

The witness of what ran is the file into which each job writes its key, fsynced, when it begins and when it ends. Agents
are forked from one process that has everything loaded, so that a start costs little; each has its own directory.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import signal
import sqlite3
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from server.actions import runs
from server.agent.ends import RUNS
from server.agent.spool import SPOOL_FILE
from server.storage import agents as agent_rows
from server.storage import runs as run_rows
from tests.process.checker import Verdict
from tests.process.deadly_agent import AGENT_POINTS, ARMED, KEEPER_POINTS, run_agent
from tests.process.fleet_office import BOSS, OfficeUnderTest, now_us, office
from tests.process.programs import end_everything_in

Say = Callable[[str], None]
AGENTS = 4
NOTE = 'printf "%s {0}\\n" "$UNDERSTUDY_RUN_ID" | dd of={1} oflag=append conv=notrunc,fsync status=none'

ENDS = {
    **dict.fromkeys(AGENT_POINTS, ("failed", 4, "")),
    "keeper before the spawn": ("interrupted", None, ""),
    "keeper after the spawn": ("interrupted", None, ""),
    "keeper after the pid": ("interrupted", None, ""),
    "keeper before the status": ("interrupted", None, ""),
    "keeper after the end is durable": ("failed", 4, ""),
    "keeper after the status": ("failed", 4, ""),
}
"""State, exit code and what more is wanted of the row, by the point at which somebody died."""
NEVER_BEGUN = frozenset({"keeper before the spawn"})
_context = multiprocessing.get_context("forkserver")


@dataclass
class DeadlyAgent:
    """One agent of the office. `faults` are sentences, `hits` counts the deaths by point."""

    desk: OfficeUnderTest
    data: Path
    name: str
    agent_id: str
    process: ForkServerProcess | None = None
    faults: list[str] = field(default_factory=list)
    hits: Counter[str] = field(default_factory=Counter)

    def start(self) -> None:
        address = f"127.0.0.1:{self.desk.port}/by/{self.agent_id}"
        self.process = _context.Process(target=run_agent, args=(self.data, self.agent_id, address), daemon=True)
        self.process.start()

    @property
    def proof(self) -> Path:
        return self.data / "proof"

    async def round(self, point: str) -> None:
        """One run, in which the armed one dies; the agent is started again, and the run looked at."""
        (self.data / ARMED).write_text(point)
        run = await self.desk.write(runs.run_now(f"job-{self.name}", str(now_us()), BOSS, now_us()))
        try:
            if point in AGENT_POINTS:
                await self._await_death()
                self.start()
            await self._look(point, run.key, run.number)
        except (TimeoutError, AssertionError) as error:
            state = await self.desk.run(run.key)
            self.faults.append(f"{point}: {type(error).__name__} {error}; {state.state} {state.reason}")
        if (self.data / ARMED).exists():
            (self.data / ARMED).unlink()
        else:
            self.hits[point] += 1

    async def _await_death(self) -> None:
        assert self.process is not None
        async with asyncio.timeout(30):
            while self.process.is_alive():
                await asyncio.sleep(0.02)
        assert self.process.exitcode == -signal.SIGKILL, f"the agent ended with {self.process.exitcode}"

    async def _look(self, point: str, key: str, number: int) -> None:
        state, exit_code, _ = ENDS[point]
        row = await self.desk.until(lambda c: (r := run_rows.by_key(c, key)) is not None and r.ended_at_us and r, 40)
        assert (row.state, row.exit_code) == (state, exit_code), f"{row.state}, exit code {row.exit_code}"
        said = f"out of {key}\n".encode()
        notes = Counter(self.proof.read_text().splitlines() if self.proof.exists() else [])
        expected = 0 if point in NEVER_BEGUN else 1
        assert notes[f"{key} begins"] == expected, f"it began {notes[f'{key} begins']} times"
        if state == "failed":
            assert notes[f"{key} ends"] == 1, f"it ended {notes[f'{key} ends']} times"
            await self.desk.until(lambda c: run_rows.by_key(c, key).output_bytes == len(said))
            assert self.desk.store.object_path(f"run-{number}").read_bytes() == said

    async def is_empty(self) -> None:
        """Nothing is left in the spool: everything was acknowledged, and forgotten."""
        assert self.process is not None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(30):
                while list((self.data / RUNS).iterdir()):
                    await asyncio.sleep(0.1)
        self.faults += [f"files are left of {path.name}" for path in (self.data / RUNS).iterdir()]
        self.process.kill()
        self.process.join()
        with contextlib.closing(sqlite3.connect(self.data / SPOOL_FILE)) as spool:
            left = spool.execute("SELECT COUNT(*) FROM reports").fetchone()[0]
        if left:
            self.faults.append(f"{left} reports are left in the spool of {self.name}")


async def _new_agent(desk: OfficeUnderTest, directory: Path, number: int) -> DeadlyAgent:
    agent_id, name = f"{number:032x}", f"agent-{number}"
    data = directory / name
    data.mkdir()
    identity = {"kind": "agent", "cluster": "c" * 32, "id": agent_id, "name": name, "peers": {}}
    (data / "identity.json").write_text(json.dumps(identity))
    agent = DeadlyAgent(desk, data, name, agent_id)
    await desk.enrol(agent_id, name)
    begins, ends = NOTE.format("begins", agent.proof), NOTE.format("ends", agent.proof)
    await desk.job(f"job-{name}", f"{begins}; echo out of $UNDERSTUDY_RUN_ID; sleep 0.2; {ends}; exit 4", name)
    agent.start()
    await desk.until(lambda c: agent_rows.get(c, agent_id).ticket_confirmed > 0)
    return agent


async def _rounds(directory: Path, count: int, say: Say) -> Verdict:
    _context.set_forkserver_preload(["tests.process.deadly_agent"])
    points = [point for point in (*AGENT_POINTS, *KEEPER_POINTS) for _ in range(count)]
    async with AsyncExitStack() as stack:
        desk = await stack.enter_async_context(office(directory / "node"))
        stack.callback(end_everything_in, directory)
        agents = [await _new_agent(desk, directory, number) for number in range(1, AGENTS + 1)]

        async def take_turns(agent: DeadlyAgent) -> None:
            while points:
                await agent.round(points.pop(0))
            await agent.is_empty()

        await asyncio.gather(*(take_turns(agent) for agent in agents))
        open_runs = await desk.read(
            lambda c: [row.key for row in run_rows.page(c) if row.state in ("running", "unknown")]
        )
        twice = [key for agent in agents for key, n in _counts(agent.proof).items() if n > 1]
    hits = sum((agent.hits for agent in agents), Counter[str]())
    for point in (*AGENT_POINTS, *KEEPER_POINTS):
        say(f"{hits[point]:3} {point}: {ENDS[point][0]}{' 4' if ENDS[point][1] else ''}")
    faults = [fault for agent in agents for fault in agent.faults]
    faults += [f"never hit: {point}" for point in ENDS if not hits[point]]
    faults += [f"left open: {key}" for key in open_runs] + [f"twice: {key}" for key in twice]
    counts = {"points": len(ENDS), "kills": sum(hits.values()), "ran twice": len(twice), "left open": len(open_runs)}
    return Verdict(counts, tuple(faults))


def _counts(proof: Path) -> Counter[str]:
    return Counter(proof.read_text().splitlines() if proof.exists() else [])


def agent_kills(directory: Path, count: int, say: Say) -> Verdict:
    """Every point `count` times, over some agents of one master; a point at which nobody died is a fault."""
    return asyncio.run(_rounds(directory, count, say))
