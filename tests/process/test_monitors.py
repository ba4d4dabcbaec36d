"""A real agent, real files and the job's own file as the witness of what ran (SKY-16)."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from contextlib import closing
from pathlib import Path
from sqlite3 import connect
from typing import Any

import pytest

from server.core import agent_wire as wire
from server.core.monitors import Reaction, Settings, StandingMonitor
from tests.process.agent_master import AgentMaster, AgentProcess, master_and_agent, spec
from tests.process.programs import BIN

WITHIN_S = 20.0


def monitor(kind: str, command: str = "", version: int = 1, **values: Any) -> wire.GiveMonitor:
    reactions = (Reaction(spec(command)),) if command else ()
    settings = Settings(interval_s=1, **values)
    return wire.GiveMonitor(StandingMonitor(5, version, "arrivals", kind, settings, reactions))


async def give(master: AgentMaster, message: wire.GiveMonitor) -> None:
    await master.say(message)
    kept = wire.MonitorKept(message.monitor.id, message.monitor.version)
    await master.until(lambda: kept in master.messages)


def fired(master: AgentMaster) -> list[wire.Fired]:
    return [body for body in master.bodies(wire.Fired) if isinstance(body, wire.Fired)]


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def until_lines(path: Path, count: int) -> list[str]:
    """Wait for so many lines; the bound only ends a test that has failed."""
    async with asyncio.timeout(WITHIN_S):
        while len(lines(path)) < count:
            await asyncio.sleep(0.05)
    return lines(path)


async def first_look(agent: AgentProcess) -> None:
    """Until what is there now was seen."""
    async with asyncio.timeout(WITHIN_S):
        while True:
            with closing(connect(f"file:{agent.data}/spool.db?mode=ro", uri=True)) as spool:
                if spool.execute("SELECT 1 FROM seen").fetchone():
                    return
            await asyncio.sleep(0.05)


async def test_created_changed_and_steady_files_begin_runs_with_their_variables(tmp_path: Path) -> None:
    """A glob over real files: each event once, with path and size in the job's environment; others are left alone."""
    folder, proof = tmp_path / "in", tmp_path / "proof"
    folder.mkdir()
    (folder / "old.csv").write_text("old")
    command = f'echo "$UNDERSTUDY_EVENT_WHAT $UNDERSTUDY_EVENT_PATH $UNDERSTUDY_EVENT_SIZE" >> {proof}'
    async with master_and_agent(tmp_path) as (master, agent):
        on = ["created", "changed", "steady"]
        await give(master, monitor("file", command, path=f"{folder}/*.csv", on=on, steady_s=2))
        await first_look(agent)  # what is there before it is not told
        (folder / "a.csv").write_text("12345")
        (folder / "a.txt").write_text("no")
        assert await until_lines(proof, 1) == [f"created {folder}/a.csv 5"]
        (folder / "part").write_text("1234567")
        os.replace(folder / "part", folder / "old.csv")
        assert (await until_lines(proof, 2))[1] == f"changed {folder}/old.csv 7"
        told = await until_lines(proof, 4)
        assert sorted(told[2:]) == [f"steady {folder}/a.csv 5", f"steady {folder}/old.csv 7"]
        await master.until(lambda: len(fired(master)) == 4)
        assert [event.number for event in fired(master)] == [1, 2, 3, 4]
        keys = {f"j1.e5-{number}.a1" for number in range(1, 5)}
        await master.until(lambda: all(master.end(key) for key in keys))
        assert {report.key for report in master.reports.values() if isinstance(report.body, wire.Begun)} == keys


async def test_an_agent_killed_between_repeats_nothing_and_misses_nothing(tmp_path: Path) -> None:
    """kill -9 and no master: a file put while the agent is dead is told once by its next start, an older one never."""
    folder, proof = tmp_path / "in", tmp_path / "proof"
    folder.mkdir()
    command = f'echo "$UNDERSTUDY_EVENT_PATH" >> {proof}'
    async with master_and_agent(tmp_path) as (master, agent):
        await give(master, monitor("file", command, path=f"{folder}/*", on=["created"], existing=True))
        (folder / "one").write_text("1")
        await until_lines(proof, 1)
        await master.stop()
        await agent.end()
        (folder / "two").write_text("2")
        await agent.start()
        assert await until_lines(proof, 2) == [f"{folder}/one", f"{folder}/two"]
        await agent.end()
        await agent.start()
        (folder / "three").write_text("3")
        assert await until_lines(proof, 3) == [f"{folder}/{name}" for name in ("one", "two", "three")]
        await master.start()
        await master.until(lambda: len(fired(master)) == 3)
        assert [event.number for event in fired(master)] == [1, 2, 3]


def fire(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("UNDERSTUDY_")}
    return subprocess.run(
        [str(BIN / "understudy"), "fire-event", *words],
        capture_output=True,
        text=True,
        env={**clean, **environment},
        timeout=60,
        check=False,
    )


async def test_a_job_fires_an_event_that_another_job_gets_while_the_master_is_away(tmp_path: Path) -> None:
    """SKY-16: fired inside a job over the agent's socket, durable before it is answered, the variables arrive."""
    proof = tmp_path / "proof"
    command = f'echo "$UNDERSTUDY_EVENT_MONITOR $UNDERSTUDY_EVENT_FILE $UNDERSTUDY_EVENT_ROWS" >> {proof}'
    async with master_and_agent(tmp_path) as (master, agent):
        await give(master, monitor("manual", command))
        inner = f"{BIN / 'understudy'} fire-event arrivals file=a.csv rows=7 --json; {BIN / 'understudy'} fire-event no"
        await master.say(wire.Dispatch("j2.rfirst.a1", spec(inner)))
        await master.until(lambda: (end := master.end("j2.rfirst.a1")) is not None and end.output_bytes > 0)
        assert await until_lines(proof, 1) == ["arrivals a.csv 7"]
        end = master.end("j2.rfirst.a1")
        assert end is not None
        assert end.exit_code == 1, "an unknown monitor is an error"
        await master.until(lambda: b"This agent has no manual monitor no" in master.outputs["j2.rfirst.a1"])
        assert b'"number":1' in bytes(master.outputs["j2.rfirst.a1"])
        await master.stop()
        again = [
            await asyncio.to_thread(fire, "arrivals", "file=b", "--data", str(agent.data), "--key", "k", "--json")
            for _ in range(2)
        ]
        assert [json.loads(one.stdout)["number"] for one in again] == [2, 2], again
        assert (await until_lines(proof, 2))[1:] == ["arrivals b "]
        bad = await asyncio.to_thread(fire, "arrivals", "time=1", "--data", str(agent.data))
        assert bad.returncode == 2
        assert "one of the event's own" in bad.stderr
        await agent.end()
        dead = await asyncio.to_thread(fire, "arrivals", "--data", str(agent.data))
        assert dead.returncode == 69
        assert f"understudy agent --data {agent.data}" in dead.stderr
        await agent.start()
        await master.start()
        await master.until(lambda: len(fired(master)) == 2)
        assert [one.variables["NUMBER"] for one in fired(master)] == ["1", "2"]


@pytest.mark.parametrize("by", ["pattern", "pid_file"])
async def test_a_process_that_starts_and_ends_is_told(tmp_path: Path, by: str) -> None:
    """By its command line or its pid file; a process that is there before the monitor is told only when it ends."""
    proof, pid_file = tmp_path / "proof", tmp_path / "pid"
    command = f'echo "$UNDERSTUDY_EVENT_WHAT $UNDERSTUDY_EVENT_PID" >> {proof}'
    word = f"watched-{os.urandom(6).hex()}"
    program = ["/bin/sh", "-c", f"read x # {word}"]
    async with master_and_agent(tmp_path) as (master, _):
        watch = {"pattern": f"*# {word}"} if by == "pattern" else {"pid_file": str(pid_file)}
        await give(master, monitor("process", command, on=["started", "ended"], existing=True, **watch))
        process = await asyncio.create_subprocess_exec(*program, stdin=asyncio.subprocess.PIPE)
        pid_file.write_text(f"{process.pid}\n")
        try:
            assert await until_lines(proof, 1) == [f"started {process.pid}"]
        finally:
            await process.communicate(b"\n")
        assert (await until_lines(proof, 2))[1] == f"ended {process.pid}"
