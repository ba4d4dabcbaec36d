"""Silent agents with real processes: unknown, declared dead, switched on again, given up. JS7-1, JS7-5, JS7-6."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from server.actions import runs, silence
from server.actions.jobs import When
from server.core import giving_up
from server.office import fleet
from server.storage import agents as agent_rows
from server.storage import missed as missed_rows
from server.storage import runs as run_rows
from server.storage import silence as rows
from tests.process.agent_master import AGENT
from tests.process.fleet_office import BOSS, now_us
from tests.process.programs import until_there
from tests.process.test_fleet import ended, lines, pair

EVERY_SECOND = [When("* * * * * *")]
SILENT = lambda c: agent_rows.get(c, AGENT).silent_since_us  # noqa: E731 - a query in one line


def unknown(connection) -> int:
    return sum(line.count for line in rows.unknown(connection, now_us(), AGENT))


async def test_a_dead_machine_that_is_on_again_starts_nothing_and_says_what_it_ran(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its run that went on under the keeper is taken with its exit code; what never began is missed; nothing starts."""
    monkeypatch.setattr(fleet, "SILENT_S", 0.2)
    monkeypatch.setattr("server.core.silence.LATE_US", 0)
    proof, gate = tmp_path / "ran", tmp_path / "gate"
    async with pair(tmp_path) as (desk, agent):
        await desk.job("often", f"echo $UNDERSTUDY_RUN_ID >> {proof}", "alpha", schedules=EVERY_SECOND)
        await desk.job("long", f"{until_there(gate)}; exit 7", "alpha")
        run = await desk.write(runs.run_now("long", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running" and len(lines(proof)) > 1)
        await agent.end()
        await desk.until(SILENT)
        async with asyncio.timeout(20):
            while await desk.read(unknown) < 3:
                await asyncio.sleep(0.1)
        told = await desk.write(silence.declare_dead("alpha", BOSS, now_us(), "it burns"))
        assert told.unknown_runs >= 1
        assert told.unknown_occurrences >= 3
        gate.touch()
        ran = lines(proof)
        await agent.start()
        found = await desk.until(ended(run.key))
        assert (found.state, found.exit_code) == ("failed", 7)
        await desk.until(lambda c: unknown(c) == 0)
        causes = {row.cause for row in await desk.read(lambda c: missed_rows.open_rows(c))}
        assert causes == {"agent declared dead"}
        assert lines(proof) == ran, "a quarantined machine began something"
        await desk.accept_restored("alpha")
        await desk.until(lambda c: len(lines(proof)) > len(ran), 30)
        begun = lines(proof)
        assert len(set(begun)) == len(begun)


async def test_a_run_that_is_given_up_is_dead_before_another_attempt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Agent killed: its keeper ends the run, and only then, a minute later (here 3 s), may it be repeated."""
    for module in (fleet, silence, giving_up):
        monkeypatch.setattr(module, "SLACK_S", 3, raising=False)
    monkeypatch.setattr(giving_up, "SHORTEST_S", 2)
    monkeypatch.setattr(fleet, "SILENT_S", 0.2)
    monkeypatch.setattr(fleet, "GIVE_UP_LOOK_S", 0.2)
    alive = tmp_path / "alive"
    async with pair(tmp_path) as (desk, agent):
        work = f"while :; do touch {alive}; sleep 0.1; done"
        await desk.job("loop", work, "alpha", give_up_after_s=2, may_run_twice=True)
        run = await desk.write(runs.run_now("loop", "one", BOSS, now_us()))
        await desk.until(lambda c: run_rows.by_key(c, run.key).state == "running" and alive.exists())
        await asyncio.sleep(3)
        assert (await desk.run(run.key)).state == "running", "a master that answers puts it off"
        await agent.end()
        given_up_us = await desk.until(lambda c: run_rows.by_key(c, run.key).given_up_at_us, 30)
        assert os.stat(alive).st_mtime_ns // 1000 < given_up_us, "it still ran when it might be taken"
        again = await desk.write(runs.rerun(run.number, BOSS, now_us()))
        assert again.attempt == 2
        await agent.start()
        found = await desk.until(ended(run.key))
        assert (found.state, found.reason.startswith("its machine had no answer")) == ("killed", True)
