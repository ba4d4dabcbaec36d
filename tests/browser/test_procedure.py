"""The source system's procedure by hand, on a real pair with real agents: pages in a browser, commands typed."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Tab

from tests.browser.walk import SLOW_MS, agree, ask, confirm, go, open_tab, shoot, shoot_small, sign_in, web
from tests.process.cluster import Node, Pair

JOB = "count-beans"
pytestmark = pytest.mark.timeout(240)


def make_job(pair: Pair, master: Node, ran: Path) -> None:
    """A job due every five seconds that appends a line to a file outside of the product."""
    api = master.api
    try:
        job = {"name": JOB, "agent": "beta", "command": f"echo ran >> {ran}", "misfire_policy": "once"}
        api.post("/api/v1/jobs", job | {"schedules": [{"cron": "*/5 * * * * *"}]})
    finally:
        api.close()
    pair.wait("the job to run", ran.exists)


def count(ran: Path) -> int:
    """How often the job ran, as its own file says."""
    return len(ran.read_text().splitlines())


def pids(pair: Pair) -> dict[str, int]:
    """The process of each agent that is running."""
    running = [agent.program for agent in pair.agents.values() if agent.program.running]
    return {program.name: program.process.pid for program in running if program.process is not None}


def nothing_missed(node: Node) -> bool:
    """Whether every occurrence that the stop suppressed was decided."""
    api = node.api
    try:
        return not api.get("/api/v1/missed")
    finally:
        api.close()


async def hold_everything(tab: Tab, pair: Pair, master: Node) -> None:
    """Lock all queues until each row says so, and stop the scheduler."""
    await tab.goto(f"{web(master)}/agents")
    await ask(tab, "Lock all Agent Job Queues", "two-monthly swap")
    await shoot(tab, "03-lock-all-asks")
    await agree(tab)
    await expect(tab.locator("#agents tbody td:nth-of-type(2) .badge")).to_have_text(["Locked"] * 2, timeout=SLOW_MS)
    await expect(tab.locator("#agents")).to_contain_text("All 2 queues are locked and acknowledged", timeout=SLOW_MS)
    await shoot(tab, "04-agents-locked")
    await shoot_small(tab, "04-agents-locked")
    await tab.goto(f"{web(master)}/scheduler")
    await confirm(tab, "Stop Scheduler", "two-monthly swap")
    await expect(tab.locator("#scheduler .badge")).to_contain_text("Stopped")
    await shoot(tab, "05-scheduler-stopped")


async def see_zero_on_both(tab: Tab, master: Node, standby: Node) -> None:
    """SKY-4: the number is 0 where the master counts it and where the standby says it."""
    await tab.goto(web(master))
    await expect(tab.locator("#backlog-number")).to_have_text("0", timeout=SLOW_MS)
    await expect(tab.locator(".verdict .sign")).to_contain_text("Active", timeout=SLOW_MS)
    await shoot(tab, "06-zero-on-the-master")
    await tab.goto(web(standby))
    await expect(tab.locator(".standby-number .number")).to_have_text("0", timeout=SLOW_MS)
    await expect(tab.locator("h1")).to_contain_text("It is active and has everything", timeout=SLOW_MS)
    await shoot(tab, "07-zero-on-the-standby")
    await shoot_small(tab, "07-zero-on-the-standby")


async def take_over(pair: Pair, master: Node, standby: Node) -> None:
    """Stop the master in an orderly way and type `standby-to-master`, without leave to lose anything."""
    assert await asyncio.to_thread(master.program.stop) == 0
    said = await asyncio.to_thread(pair.type, standby, "standby-to-master", "--hold", "--yes")
    assert "The scheduler is stopped and all queues are locked" in said
    await asyncio.to_thread(pair.wait, "the new master", standby.is_master)


async def let_go(tab: Tab, new: Node, ran: Path) -> None:
    """Start the scheduler, unlock, and see that what was due meanwhile runs, and only then."""
    before = count(ran)
    await tab.goto(f"{web(new)}/scheduler")
    await shoot(tab, "11-scheduler-held")
    await confirm(tab, "Start Scheduler")
    await expect(tab.locator("#scheduler .badge")).to_contain_text("Running")
    await shoot(tab, "12-scheduler-started")
    await tab.goto(f"{web(new)}/runs?state=waiting")
    await expect(tab.locator("#runs")).to_contain_text("queue locked", timeout=SLOW_MS)
    await shoot(tab, "13-run-waits")
    assert count(ran) == before, "a locked queue starts nothing"
    await tab.goto(f"{web(new)}/agents")
    await confirm(tab, "Unlock all Agent Job Queues")
    await expect(tab.locator("#agents tbody td:nth-of-type(2) .badge")).to_have_text(["Open"] * 2, timeout=SLOW_MS)
    await shoot(tab, "14-agents-unlocked")


async def see_pair(tab: Tab, pair: Pair, new: Node, old: Node, first: int) -> None:
    """SKY-8, SKY-9: Active on green at the new master; the standby's own page says that it is, and of whom.

    `first` is the number of the first picture.
    """
    await asyncio.to_thread(pair.wait_healthy)
    await tab.goto(web(new))
    await expect(tab.locator(".verdict.ok .sign")).to_contain_text("STANDBY SERVER", timeout=SLOW_MS)
    await expect(tab.locator(".verdict.ok .sign")).to_contain_text("Active")
    await expect(tab.locator("#gates")).to_be_empty()
    await shoot(tab, f"{first}-standby-server-active")
    await shoot_small(tab, f"{first}-standby-server-active")
    await tab.goto(web(old))
    await expect(tab.locator("h1")).to_contain_text("This is the standby. It is active", timeout=SLOW_MS)
    await expect(tab.locator(".verdict .say")).to_contain_text(f"Connected to the master {new.name}")
    await shoot(tab, f"{first + 1}-the-standby-says-so")


def enrolment(pair: Pair, master: Node) -> list[str]:
    """`master-to-standby` as an operator types it, from what Server Properties shows."""
    words = ["master-to-standby", "--master", master.host, "--port", str(master.port)]
    return [*words, "--fingerprint", pair.fingerprint(master), "--password-file", str(pair.password_file), "--yes"]


async def test_the_procedure_by_hand(browser: Browser, pair: Pair, tmp_path: Path) -> None:
    """SKY-1 to SKY-10: hold, look, stop the master, take over without loss, let go; the old master comes back."""
    old, new = await asyncio.to_thread(pair.wait_healthy)
    ran = tmp_path / "ran"
    await asyncio.to_thread(make_job, pair, old, ran)
    tab, said = await open_tab(browser)
    await tab.goto(web(old))
    await shoot(tab, "01-sign-in")
    await sign_in(tab, pair)
    await shoot(tab, "02-home")
    agents = pids(pair)
    await hold_everything(tab, pair, old)
    await see_zero_on_both(tab, old, new)
    await take_over(pair, old, new)

    await tab.goto(web(new))
    await shoot(tab, "08-sign-in-at-the-new-master")
    await sign_in(tab, pair)
    await expect(tab.locator("#gates")).to_contain_text("Scheduler stopped")
    await expect(tab.locator("#gates")).to_contain_text("All job queues locked")
    await shoot(tab, "09-in-office-and-held")
    await tab.goto(f"{web(new)}/agents")
    await expect(tab.locator("#agents tbody td:nth-of-type(1) .badge")).to_have_text(["Active"] * 2, timeout=SLOW_MS)
    await shoot(tab, "10-agents-back")
    assert pids(pair) == agents, "the agents were left alone"
    before = count(ran)
    await let_go(tab, new, ran)
    await asyncio.to_thread(pair.wait, "what was due meanwhile to run", lambda: count(ran) > before)

    old.program.start()
    await asyncio.to_thread(pair.wait_healthy)
    await asyncio.to_thread(pair.wait, "the job's own rule for what was missed", lambda: nothing_missed(new))
    await tab.goto(web(old))
    await shoot(tab, "15-the-old-master-came-back")
    shown = await asyncio.to_thread(pair.type, old, *enrolment(pair, new))
    assert "streams from its master already" in shown
    await tab.goto(f"{web(new)}/properties")
    await shoot(tab, "16-server-properties", whole=True)
    await see_pair(tab, pair, new, old, 17)
    assert said == []


async def test_an_old_master_that_lost_its_directory(browser: Browser, pair: Pair) -> None:
    """SKY-6: with an empty directory, `master-to-standby` with password, address and port makes the first copy."""
    old, new = await asyncio.to_thread(pair.wait_healthy)
    await take_over(pair, old, new)
    shutil.rmtree(old.data)
    old.program.start()
    tab, said = await open_tab(browser)
    await asyncio.to_thread(pair.wait, "the empty node", (old.data / "understudy.sock").exists)
    await tab.goto(web(old))
    await expect(tab.locator("main")).to_contain_text("master-to-standby")
    await shoot(tab, "20-no-role-yet")
    await asyncio.to_thread(pair.type, old, *enrolment(pair, new), "--name", old.name)
    await go(tab, web(new))
    await sign_in(tab, pair)
    await tab.goto(f"{web(new)}/agents")
    await confirm(tab, "Unlock all Agent Job Queues")
    await tab.goto(f"{web(new)}/scheduler")
    await confirm(tab, "Start Scheduler")
    await see_pair(tab, pair, new, old, 21)
    await tab.goto(f"{web(new)}/properties")
    await expect(tab.locator("main table tbody tr")).to_have_count(2)
    await expect(tab.locator("main table tbody")).to_contain_text("connected")
    assert said == []
