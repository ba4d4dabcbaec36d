"""What a person does in a browser on a real pair: sign in, press, say yes, look; and the pictures of it."""

from __future__ import annotations

import os
from pathlib import Path

from playwright.async_api import Browser, Error
from playwright.async_api import Page as Tab

from tests.process.cluster import Node, Pair

SHOTS = os.environ.get("UNDERSTUDY_TEST_SHOTS", "")
"""A directory for screenshots, when somebody wants to look."""

SLOW_MS = 30_000
"""How long a page is waited for. A limit for what hangs, not a promise about speed."""

CROSSED = ("ERR_ABORTED", "interrupted by another navigation")
"""What Playwright says when the page that is open goes elsewhere meanwhile: after a swap it follows by itself."""


def web(node: Node) -> str:
    """Where a browser finds the node."""
    return f"https://{node.host}:{node.port}"


async def open_tab(browser: Browser) -> tuple[Tab, list[str]]:
    """A tab that trusts the cluster's own certificates, and what its pages complain about."""
    context = await browser.new_context(
        ignore_https_errors=True,
        locale="en-GB",
        timezone_id="Europe/Berlin",
        viewport={"width": 1280, "height": 800},
        reduced_motion="reduce",
    )
    tab = await context.new_page()
    said: list[str] = []
    tab.on("console", lambda line: said.append(line.text) if "Content Security Policy" in line.text else None)
    tab.on("pageerror", lambda error: said.append(str(error)))
    return tab, said


async def go(tab: Tab, address: str) -> None:
    """Type an address; again, when the page that is open went on by itself at that very moment."""
    try:
        await tab.goto(address)
    except Error as error:
        if not any(word in error.message for word in CROSSED):
            raise
        await tab.goto(address)


async def sign_in(tab: Tab, pair: Pair) -> None:
    """Fill in the page that is open."""
    await tab.fill("#name", "admin")
    await tab.fill("#password", pair.password)
    async with tab.expect_navigation():
        await tab.locator("main form button").click()


async def ask(tab: Tab, button: str, reason: str = "") -> None:
    """Press a button that asks first, and fill in the reason."""
    await tab.get_by_role("button", name=button, exact=True).click()
    if reason:
        await tab.get_by_role("dialog").get_by_role("textbox").fill(reason)


async def agree(tab: Tab) -> None:
    """Say yes to the dialog that is open."""
    async with tab.expect_navigation():
        await tab.get_by_role("dialog").locator("footer button").first.click()


async def confirm(tab: Tab, button: str, reason: str = "") -> None:
    """Press a button that asks first, and say yes."""
    await ask(tab, button, reason)
    await agree(tab)


async def shoot(tab: Tab, name: str, whole: bool = False) -> None:
    """Keep a picture of the window, or of the whole page, when somebody wants to look."""
    if SHOTS:
        await tab.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=whole)


async def shoot_small(tab: Tab, name: str) -> None:
    """The same page as a phone shows it, and dark."""
    if SHOTS:
        await tab.emulate_media(color_scheme="dark")
        await shoot(tab, f"{name}-dark")
        await tab.emulate_media(color_scheme="light")
        await tab.set_viewport_size({"width": 360, "height": 740})
        await shoot(tab, f"{name}-phone", whole=True)
        await tab.set_viewport_size({"width": 1280, "height": 800})
