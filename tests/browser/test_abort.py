"""A planned swap that is called off by button before the point of no return, on a real pair."""

from __future__ import annotations

import asyncio
import signal

import pytest
from playwright.async_api import Browser, expect

from tests.browser.walk import SLOW_MS, confirm, open_tab, shoot, sign_in, web
from tests.process.cluster import Pair

pytestmark = pytest.mark.timeout(240)


async def test_a_swap_is_called_off(browser: Browser, pair: Pair) -> None:
    """BEY-1: while one agent does not acknowledge the lock, Abort puts the queues back and the office stays."""
    master, standby = await asyncio.to_thread(pair.wait_healthy)
    epoch = master.status()["epoch"]
    tab, said = await open_tab(browser)
    await tab.goto(f"{web(master)}/login?next=/swap")
    await sign_in(tab, pair)
    await expect(tab.locator("#swap-now")).to_contain_text("Safe", timeout=SLOW_MS)
    slow = pair.agents["beta"].program
    slow.send(signal.SIGSTOP)
    try:
        await confirm(tab, "Swap roles now")
        lock = tab.locator("#swap-now .steps li", has_text="Lock all queues")
        await expect(lock).to_have_attribute("aria-current", "step", timeout=SLOW_MS)
        await expect(tab.locator("#gates")).to_contain_text("All job queues locked")
        await expect(tab.locator("#swap-waits")).to_contain_text("beta", timeout=SLOW_MS)
        await shoot(tab, "30-swap-waits-for-an-agent")
        await confirm(tab, "Abort", "beta does not answer")
        await expect(tab.locator("#swap-history .badge").first).to_contain_text("Aborted", timeout=SLOW_MS)
        await expect(tab.locator("#gates")).not_to_contain_text("locked", timeout=SLOW_MS)
        await shoot(tab, "31-swap-aborted")
    finally:
        slow.send(signal.SIGCONT)
    await tab.locator("#swap-history a").first.click()
    await expect(tab.locator("#swap-report")).to_contain_text("Aborted by admin")
    await shoot(tab, "32-report-of-the-abort")
    await tab.goto(f"{web(master)}/agents")
    await expect(tab.locator("#agents tbody td:nth-of-type(2) .badge")).to_have_text(["Open"] * 2, timeout=SLOW_MS)
    assert await asyncio.to_thread(pair.wait_healthy) == (master, standby)
    assert master.status()["epoch"] == epoch
    assert said == []
