"""Machines that are not as they should be, at a real master: a clock in 2020, a link that breaks all the time."""

from __future__ import annotations

from pathlib import Path

from server.actions import runs
from server.actions.jobs import When
from server.storage import runs as run_rows
from server.storage import system_messages
from tests.process.agent_master import AGENT
from tests.process.fleet_office import BOSS, now_us
from tests.process.programs import until_there
from tests.process.test_fleet import ended, pair

SINCE_2020_S = 6 * 365 * 86_400


async def test_a_clock_in_2020_stops_standing_orders_and_nothing_else(tmp_path: Path) -> None:
    """A run from before is adopted, not taken for another's process; a new one runs; the clock is named, then heals."""
    async with pair(tmp_path) as (desk, agent):
        gate = tmp_path / "gate"
        await desk.job("before", f"touch {gate}.runs; {until_there(gate)}; exit 3", "alpha")
        await desk.job("hello", "exit 2", "alpha")
        before = await desk.write(runs.run_now("before", "one", BOSS, now_us()))
        await desk.until(lambda _: Path(f"{gate}.runs").exists())
        await agent.end()
        await agent.start(UNDERSTUDY_TEST_CLOCK_OFFSET_S=str(-SINCE_2020_S))
        text = await desk.until(
            lambda c: next((m.text for m in system_messages.page(c) if "timedatectl" in m.text), None)
        )
        assert text.startswith("alpha starts nothing by itself")
        await desk.job("often", "true", "alpha", schedules=[When("* * * * * *")])
        run = await desk.write(runs.run_now("hello", "one", BOSS, now_us()))
        assert (await desk.until(ended(run.key))).exit_code == 2
        gate.touch()
        assert (await desk.until(ended(before.key))).exit_code == 3
        assert await desk.read(lambda c: run_rows.page(c, None, "succeeded")) == []
        await agent.end()
        await agent.start()
        await desk.until(lambda c: run_rows.page(c, None, "succeeded"))


async def test_what_an_agent_holds_is_told_with_its_heartbeats(tmp_path: Path) -> None:
    """Bytes of its records and of output, and the most that both may be: what its page and the API show."""
    async with pair(tmp_path) as (desk, _):
        await desk.job("prints", "head -c 300000 /dev/zero; sleep 60", "alpha")
        await desk.write(runs.run_now("prints", "one", BOSS, now_us()))

        def tells(_: object) -> bool:
            link = desk.links.get(AGENT)
            return link is not None and link.heartbeat.output_bytes >= 300_000

        await desk.until(tells)
        link = desk.links.get(AGENT)
        assert link is not None
        assert link.heartbeat.spool_bytes > 4096
        assert link.heartbeat.spool_bytes_max == 4 << 30
