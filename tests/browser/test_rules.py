"""A job with rules and a workflow, made, run and foreseen by somebody with a browser, on a real pair."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Tab

from tests.browser.test_stories import AXE, findings
from tests.browser.walk import SLOW_MS, agree, ask, go, open_tab, shoot, sign_in, web
from tests.process.cluster import Pair

FLOW = """\
name: two-steps
agent: beta
steps:
  - name: count
    command: echo counted
  - name: tell
    command: echo told
    after: count
"""
pytestmark = pytest.mark.timeout(240)


async def sound(tab: Tab, name: str) -> None:
    """Axe finds nothing in the page that is open."""
    await tab.evaluate(AXE.axe_script)
    assert [f"{name}: {line}" for line in await findings(tab)] == []
    await shoot(tab, f"rules-{name}", whole=True)


async def press(tab: Tab, button: str) -> None:
    """Press a button of the form in the page, and wait for the page that answers."""
    async with tab.expect_navigation():
        await tab.get_by_role("main").get_by_role("button", name=button, exact=True).click()


async def make_jobs(tab: Tab, at: str) -> None:
    """A job with four fields; one more that waits for it; an error opens the part of the form where it is."""
    await go(tab, f"{at}/jobs/new")
    await expect(tab.locator("details.card[open]")).to_have_count(0)
    await sound(tab, "job-form")
    await tab.fill("#field-name", "backup")
    await tab.fill("#field-command", "true")
    await tab.select_option("#field-agent", "beta")
    await press(tab, "Save")
    await go(tab, f"{at}/jobs/new")
    await tab.fill("#field-name", "report")
    await tab.fill("#field-command", "true")
    await tab.select_option("#field-agent", "beta")
    await tab.fill("#field-cron", "last working day at 18:00\n30 2 * * 1-5 Europe/Berlin")
    await tab.get_by_text("Waits for other jobs").click()
    await tab.fill("#field-prerequisites", "backups completed")
    await press(tab, "Save")
    await expect(tab.locator("details.card[open]")).to_have_count(1)
    await expect(tab.locator("#error-prerequisites")).to_be_visible()
    await sound(tab, "job-wrong")
    await tab.fill("#field-prerequisites", "backup completed")
    await press(tab, "Save")
    await expect(tab.get_by_role("main")).to_contain_text("at 18:00")
    await expect(tab.locator(".needs")).to_contain_text("backup has completed")
    await sound(tab, "job")


async def run_flow(tab: Tab, at: str) -> None:
    """A workflow from its text: drawn before it is saved, saved, begun, and seen to succeed without a reload."""
    await go(tab, f"{at}/workflows/new")
    await tab.fill("#field-text", FLOW)
    await press(tab, "Check and draw")
    await expect(tab.get_by_role("main")).to_contain_text("It is not saved yet")
    await press(tab, "Save")
    await expect(tab.locator("figure.graph svg[role=img]")).to_contain_text("count")
    await sound(tab, "workflow")
    await ask(tab, "Run now")
    await tab.fill("#reason-run", "to see it")
    await agree(tab)
    await expect(tab.locator(".state .badge").first).to_have_text("Succeeded", timeout=SLOW_MS)
    await sound(tab, "workflow-run")


async def test_rules_and_workflows(browser: Browser, pair: Pair) -> None:
    """The form of a job, a workflow and the forecast do what they say, axe finds nothing, the policy blocks nothing."""
    at = web(pair.wait_healthy()[0])
    tab, said = await open_tab(browser)
    await tab.goto(at)
    await sign_in(tab, pair)
    await make_jobs(tab, at)
    await run_flow(tab, at)
    await go(tab, f"{at}/forecast?days=31")
    await expect(tab.get_by_role("main")).to_contain_text("will be due")
    await sound(tab, "forecast")
    assert said == []
