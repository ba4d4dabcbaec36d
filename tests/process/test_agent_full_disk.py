"""A disk that really fills under an agent: nothing begins, output is dropped, and no intent and no result is lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
from pathlib import Path

import pytest

from server.agent.reserve import RESERVE_FILE
from server.core import agent_wire as wire
from tests.process.agent_master import NODE, AgentMaster, AgentProcess, spec
from tests.process.programs import end_everything_in, until_there
from tests.process.troubles import small_disk

MIB = 1 << 20


def key(name: str) -> str:
    return f"j1.r{name}.a1"


def fill(ballast: Path) -> None:
    """Somebody else takes the disk to the last byte."""
    with ballast.open("ab", buffering=0) as file:
        while True:
            try:
                if file.write(bytes(MIB // 4)) < MIB // 4:
                    return
            except OSError:
                return


async def test_at_the_reserve_nothing_begins_and_with_no_byte_left_every_run_still_ends(tmp_path: Path) -> None:
    """JS7-3: a job floods the disk, others fill the rest, the agent is killed: every exit code arrives all the same."""
    with small_disk(tmp_path / "disk", 48) as mounted:
        if not mounted:
            pytest.skip("NOT TESTED: a file system of its own needs root")
        master = AgentMaster()
        await master.start()
        agent = AgentProcess(tmp_path / "disk" / "agent", {NODE: f"127.0.0.1:{master.port}"})
        try:
            await agent.start()
            await master.until(lambda: any(isinstance(m, wire.TicketKept) for m in master.messages))
            await _ends_on_a_full_disk(master, agent, tmp_path)
        finally:
            await agent.end()
            end_everything_in(tmp_path / "disk")
            await master.stop()


async def _ends_on_a_full_disk(master: AgentMaster, agent: AgentProcess, tmp_path: Path) -> None:
    gate, disk = tmp_path / "gate", tmp_path / "disk"
    async with asyncio.timeout(20):
        while not (agent.data / RESERVE_FILE).exists():
            await asyncio.sleep(0.05)
    names = [f"long{number}" for number in range(12)]
    for number, name in enumerate(names):
        await master.say(wire.Dispatch(key(name), spec(f"{until_there(gate)}; echo end of {name}; exit {number + 1}")))
    await master.until(lambda: all(master.bodies(wire.Begun, key(name)) for name in names))
    flood = f"head -c {100 * MIB} /dev/zero; echo END; exit 77"
    await master.say(wire.Dispatch(key("flood"), spec(flood, output_bytes_max=200 * MIB)))
    await master.until(lambda: master.end(key("flood")), 40)
    end = master.end(key("flood"))
    assert end is not None
    assert (end.exit_code, end.output_cut) == (77, True)
    free = shutil.disk_usage(disk).free
    assert free > 2 * MIB, "the output stopped at the reserve, not at the end of the disk"
    whole = os.stat(agent.data / RESERVE_FILE).st_size
    fill(disk / "ballast")
    async with asyncio.timeout(20):
        while os.stat(agent.data / RESERVE_FILE).st_size == whole:  # the agent has seen it, and gives
            await asyncio.sleep(0.05)
    await master.say(wire.Dispatch(key("late"), spec("echo late; exit 5")))
    await master.until(lambda: master.bodies(wire.Held, key("late")))
    assert {held.reason for held in master.bodies(wire.Held, key("late"))} == {"agent disk full"}  # type: ignore[attr-defined]  # bodies of this kind
    fill(disk / "ballast")
    await agent.end()
    gate.touch()
    fill(disk / "ballast")  # what the agent gave back meanwhile: it starts, and the ends come, with no byte left
    assert shutil.disk_usage(disk).free == 0
    await agent.start()
    await master.until(lambda: all(master.end(key(name)) for name in names), 60)
    codes = {name: end.exit_code for name in names if (end := master.end(key(name))) is not None}
    assert codes == {name: number + 1 for number, name in enumerate(names)}
    print(f"free {shutil.disk_usage(disk).free}, reserve {os.stat(agent.data / RESERVE_FILE).st_size}")
    assert master.end(key("late")) is None
    os.unlink(disk / "ballast")
    await master.say(wire.Dispatch(key("late"), spec("echo late; exit 5")))
    await master.until(lambda: master.end(key("late")), 30)
    late = master.end(key("late"))
    assert late is not None
    assert late.exit_code == 5
    assert await agent.end(signal.SIGTERM) == 0
