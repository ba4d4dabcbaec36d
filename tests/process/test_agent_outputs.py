"""What a job printed while no master listened: a new office hears of the run before it gets the output."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Iterable
from pathlib import Path

import pytest

from server.agent.client import Client
from server.agent.ends import RUNS
from server.agent.outputs import Outputs
from server.agent.spool import Spool
from server.clock import SystemClock
from server.core import agent_wire as wire
from server.core.agent_memory import Save, SaveDurable
from tests.process.agent_master import AGENT, NODE, AgentMaster, AgentProcess, spec

KEY = "j1.rlate.a1"


async def test_output_never_overtakes_the_begin_of_its_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A master dies before it commits Begun; the disk of the agent is slow when the next one admits it: Begun first."""
    first = AgentMaster()
    first.keep = False
    await first.start()
    agent = AgentProcess(tmp_path / "agent", {NODE: f"127.0.0.1:{first.port}"})
    client = Client(agent.data, AGENT, {NODE: f"127.0.0.1:{first.port}"}, SystemClock(), None, "1")
    serving = asyncio.create_task(client.run())
    second = AgentMaster(number=2)
    second.port, second.ticket = first.port, 1
    try:
        await first.until(lambda: any(isinstance(m, wire.TicketKept) for m in first.messages))
        command = f"until [ -e {tmp_path}/go ]; do sleep 0.02; done; echo late; sleep 2"
        await first.say(wire.Dispatch(KEY, spec(command)))
        await first.until(lambda: first.bodies(wire.Begun, KEY))
        await first.stop()
        (tmp_path / "go").touch()
        printed = agent.data / RUNS / KEY / "output"
        while not (printed.exists() and printed.read_bytes()):
            await asyncio.sleep(0.02)
        _commit_of_an_admission_waits_for_a_pump(monkeypatch)
        await second.start()
        await second.until(lambda: second.outputs.get(KEY) == bytearray(b"late\n") and second.bodies(wire.Begun, KEY))
        kinds = [type(m.body if isinstance(m, wire.Report) else m) for m in second.messages]
        assert kinds.index(wire.Begun) < kinds.index(wire.Output)
    finally:
        client.stop()
        await serving
        if keeper := agent.keeper_pid():
            os.kill(keeper, signal.SIGTERM)
        await (second if second.messages else first).stop()


def _commit_of_an_admission_waits_for_a_pump(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on; the memory of an admission is what a ticket is written into."""
    pumped = asyncio.Event()
    pump, commit = Outputs.pump, Spool.commit

    def pump_and_say(outputs: Outputs) -> None:
        pump(outputs)
        pumped.set()

    async def commit_after_a_pump(spool: Spool, saves: Iterable[Save]) -> None:
        batch = list(saves)
        if any(isinstance(save, SaveDurable) and save.durable.ticket == 2 for save in batch):
            pumped.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(5):  # a pump comes four times a second; the bound only ends a failed test
                    await pumped.wait()
        await commit(spool, batch)

    monkeypatch.setattr(Outputs, "pump", pump_and_say)
    monkeypatch.setattr(Spool, "commit", commit_after_a_pump)
