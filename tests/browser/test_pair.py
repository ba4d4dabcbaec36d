"""A real pair with real agents, in a browser: the two-monthly swap as an operator does it, from sign-in to report."""

from __future__ import annotations

import re

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Tab

from server.core.swap_plan import STEPS
from tests.browser.walk import SLOW_MS, confirm, open_tab, shoot, sign_in, web
from tests.process.cluster import Node, Pair

pytestmark = pytest.mark.timeout(240)


async def make_job(tab: Tab, master: Node) -> None:
    """Create a job with the form, run it, and see its output arrive."""
    await tab.goto(f"{web(master)}/jobs/new")
    await tab.fill("#field-name", "count")
    await tab.fill("#field-command", "for n in 1 2 3; do echo line $n; sleep 0.3; done")
    await tab.fill("#field-cron", "99 * * * *")
    await tab.get_by_role("button", name="Save").click()
    await expect(tab.locator("#error-cron")).to_contain_text("minute")
    await expect(tab.locator("#field-name")).to_have_value("count")
    await tab.fill("#field-cron", "0 4 * * *")
    await tab.get_by_role("button", name="Save").click()
    await expect(tab.get_by_role("heading", name="count")).to_be_visible()
    await tab.get_by_role("button", name="Run now").click()
    await expect(tab.locator("#output")).to_contain_text("line 3", timeout=SLOW_MS)
    await expect(tab.locator("#run-state .badge")).to_contain_text("Succeeded", timeout=SLOW_MS)


async def test_the_two_monthly_swap(browser: Browser, pair: Pair) -> None:
    """SKY-2, 3, 4, 7, 8, 9, BEY-1: lock, stop, look, swap from the page; it follows to the new master by itself."""
    master, standby = pair.wait_healthy()
    tab, said = await open_tab(browser)
    await tab.goto(web(master))
    await sign_in(tab, pair)
    await expect(tab.locator(".verdict .sign")).to_contain_text("Active", timeout=SLOW_MS)
    await expect(tab.locator("#backlog-number")).to_have_text("0", timeout=SLOW_MS)
    await shoot(tab, "pair-home", whole=True)
    await make_job(tab, master)

    await tab.goto(f"{web(master)}/agents")
    await expect(tab.locator("#agents")).not_to_contain_text(standby.name)
    await confirm(tab, "Lock all Agent Job Queues", "two-monthly swap")
    await expect(tab.locator("#agents")).to_contain_text("All 2 queues are locked and acknowledged", timeout=SLOW_MS)
    await shoot(tab, "pair-agents-locked", whole=True)
    await tab.goto(f"{web(master)}/scheduler")
    await confirm(tab, "Stop Scheduler", "two-monthly swap")
    await expect(tab.locator("#scheduler .badge")).to_contain_text("Stopped")
    await expect(tab.locator("#gates")).to_contain_text("All job queues locked")
    await shoot(tab, "pair-scheduler-stopped", whole=True)
    await tab.goto(f"{web(master)}/properties")
    fingerprint = pair.fingerprint(master).replace(":", "").lower()
    await expect(tab.locator("main")).to_contain_text(re.compile(fingerprint, re.IGNORECASE))

    await tab.goto(f"{web(master)}/swap")
    await expect(tab.locator("#swap-now")).to_contain_text("Safe", timeout=SLOW_MS)
    await shoot(tab, "pair-swap-safe", whole=True)
    await confirm(tab, "Swap roles now")
    await tab.wait_for_url(f"{web(standby)}/swap", timeout=SLOW_MS)
    await expect(tab.locator("#swap-history .badge").first).to_contain_text("Done", timeout=SLOW_MS)
    await tab.locator("#swap-history a").first.click()
    await expect(tab.locator("#swap-report .steps .mark.ok")).to_have_count(len(STEPS))
    await shoot(tab, "pair-swap-report", whole=True)
    await expect(tab.locator("#gates")).to_contain_text("Scheduler stopped")

    await tab.goto(web(master))
    await expect(tab.locator("h1")).to_contain_text("This is the standby. It is active", timeout=SLOW_MS)
    await expect(tab.locator("main")).to_contain_text("Jobs do not run here")
    assert await tab.locator(f'main a[href="{web(standby)}"]').count() >= 1
    await shoot(tab, "pair-standby", whole=True)
    assert said == []
