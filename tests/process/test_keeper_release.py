"""An agent of another release than the keeper that its runs are under, with real processes (BEY-12)."""

from __future__ import annotations

import asyncio
from pathlib import Path

from server import __version__
from server.agent.keeper_release import LOCK_FILE
from tests.process.programs import until_there
from tests.process.test_keeper import Watched, record, watched


async def _replaced(agent: Watched, former: int) -> int:
    """The pid of another keeper than that; waits for it."""
    async with asyncio.timeout(20):
        while True:
            found = _keeper(agent)
            if found not in (None, former):
                return found or 0
            await asyncio.sleep(0.02)


async def _signed(data: Path) -> None:
    async with asyncio.timeout(20):
        while not (data / LOCK_FILE).is_file() or (data / LOCK_FILE).read_text() != __version__:
            await asyncio.sleep(0.01)


def _keeper(agent: Watched) -> int | None:
    try:
        return agent.keeper()
    except AssertionError:
        return None


async def test_a_former_keeper_keeps_its_runs_and_ends_behind_the_last_one(tmp_path: Path) -> None:
    """The run keeps its exit code; what begins next begins under the keeper of the agent's release."""
    data, go = tmp_path / "a", tmp_path / "go"
    long = record("long", f"{until_there(go)}; exit 7")
    async with watched(data) as agent:
        agent.runner.start(long)
        former = await _replaced(agent, 0)
        async with asyncio.timeout(20):
            while long.key not in agent.began:
                await asyncio.sleep(0.01)
    (data / LOCK_FILE).write_bytes(b"")  # as releases before left it
    async with watched(data, long) as agent:
        async with asyncio.timeout(20):
            while not agent.runner._kept:
                await asyncio.sleep(0.01)
        assert agent.keeper() == former
        go.touch()
        assert (await agent.end(long)).exit_code == 7
        present = await _replaced(agent, former)
        await _signed(data)
        after = record("after", "true")
        agent.runner.start(after)
        assert (await agent.end(after)).exit_code == 0
        assert agent.keeper() == present


async def test_a_run_that_is_asked_for_while_the_former_keeper_ends_begins_once(tmp_path: Path) -> None:
    """Nothing runs under it, so it is ended; runs asked for at that very moment are asked for again, and run once."""
    data, ran = tmp_path / "a", tmp_path / "ran"
    async with watched(data) as agent:
        former = await _replaced(agent, 0)
        await _signed(data)
    (data / LOCK_FILE).write_bytes(b"0.0.1")
    async with watched(data) as agent:
        runs = [record(f"n{number}", f"echo {number} >> {ran}") for number in range(20)]
        for run in runs:
            agent.runner.start(run)
            await asyncio.sleep(0.005)  # spread over the moment of the change, whenever that is
        for run in runs:
            assert (await agent.end(run)).exit_code == 0
        assert sorted(map(int, ran.read_text().split())) == list(range(20))
        await _replaced(agent, former)
