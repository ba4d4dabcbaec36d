"""A real pair in a browser: the banner on both nodes, and the login message once for each text (CRY-4, CRY-5)."""

from __future__ import annotations

import asyncio

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import Page as Tab

from tests.browser.walk import SLOW_MS, go, open_tab, shoot, sign_in, web
from tests.process.cluster import Node, Pair

pytestmark = pytest.mark.timeout(120)


async def say(pair: Pair, master: Node, noun: str, title: str) -> None:
    """Type what sets a text and switches it on."""
    await asyncio.to_thread(pair.type, master, "understudy", noun, "set", "--title", title, "--body", "**Read** this.")
    await asyncio.to_thread(pair.type, master, "understudy", noun, "on")


async def without_script(browser: Browser, tab: Tab, master: Node) -> None:
    """The same person in a browser without JavaScript is led to a page in between, from whichever page."""
    context = await browser.new_context(ignore_https_errors=True, java_script_enabled=False)
    await context.add_cookies([dict(one) for one in await tab.context.cookies()])  # type: ignore[misc]  # as they came
    plain = await context.new_page()
    await plain.goto(f"{web(master)}/scheduler")
    await plain.wait_for_url(f"{web(master)}/login-message?next=/scheduler", timeout=SLOW_MS)
    await expect(plain.get_by_role("button", name="I have read this")).to_be_visible()
    await context.close()


async def test_everybody_is_told_and_each_text_is_dismissed_once(browser: Browser, pair: Pair) -> None:
    """The banner is on every page of both nodes, before sign-in too; the login message stays until it is dismissed."""
    master, standby = pair.wait_healthy()
    tab, said = await open_tab(browser)
    await tab.goto(web(master))
    await expect(tab.locator("h1")).to_have_text("Sign in")
    await say(pair, master, "banner", "Storage is exchanged tonight")
    await say(pair, master, "login-message", "First text")
    try:
        for node in (master, standby):
            await go(tab, web(node))
            await expect(tab.locator("#gates")).to_contain_text("Storage is exchanged tonight", timeout=SLOW_MS)
            await expect(tab.locator("#gates .told-body strong")).to_have_text("Read")
            await shoot(tab, f"messages-banner-{node.name}")
        await go(tab, web(master))
        await sign_in(tab, pair)
        dialog = tab.locator("#login-message-dialog")
        await expect(dialog).to_contain_text("First text", timeout=SLOW_MS)
        for _ in range(3):
            await tab.keyboard.press("Escape")
        await expect(dialog).to_be_visible()
        await shoot(tab, "messages-login")
        await without_script(browser, tab, master)
        await tab.get_by_role("button", name="I have read this").click()
        await expect(tab.locator("h1")).to_be_visible(timeout=SLOW_MS)
        await go(tab, f"{web(master)}/jobs")
        await expect(dialog).to_have_count(0)
        await say(pair, master, "login-message", "Second text")
        await go(tab, f"{web(master)}/jobs")
        await expect(dialog).to_contain_text("Second text", timeout=SLOW_MS)
    finally:
        for noun in ("banner", "login-message"):
            await asyncio.to_thread(pair.type, master, "understudy", noun, "off")
    await go(tab, f"{web(master)}/jobs")
    await expect(dialog).to_have_count(0)
    await expect(tab.locator("#gates .told")).to_have_count(0)
    assert said == []
