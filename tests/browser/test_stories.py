"""Every page in a real browser: axe finds nothing, the policy blocks nothing, nothing is cut off, nobody else is asked."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from tests.browser.conftest import open_page
from tests.storybook.__main__ import stories
from tests.storybook.fixture import Story

STORIES = stories()
PARTS = 4
SHOTS = os.environ.get("UNDERSTUDY_TEST_SHOTS", "")
"""A directory for screenshots, when somebody wants to look."""
AXE = Axe()
OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


async def complaints(page: Page, rules: list[str] | None = None) -> list[str]:
    """What axe finds, by all its rules or the named ones, and how far the page is too wide."""
    options = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    results = await AXE.run(page, options=options)
    wrong = [f"axe {one['id']}: {one['nodes'][0]['html'][:160]}" for one in results.response["violations"]]
    too_wide = await page.evaluate(OVERFLOW)
    return [*wrong, f"{too_wide} px too wide"] if too_wide > 0 else wrong


async def visit(page: Page, story: Story) -> list[str]:
    """Look at one page as a desk sees it, then dark, then as a phone does: what colour and width can change."""
    wrong = [f"wide: {line}" for line in await complaints(page)]
    await shoot(page, story, "wide")
    await page.emulate_media(color_scheme="dark")
    wrong += [f"dark: {line}" for line in await complaints(page, ["color-contrast"])]
    await shoot(page, story, "dark")
    await page.emulate_media(color_scheme="light")
    await page.set_viewport_size({"width": 360, "height": 740})
    wrong += [f"phone: {line}" for line in await complaints(page, ["color-contrast", "scrollable-region-focusable"])]
    await shoot(page, story, "phone")
    await page.set_viewport_size({"width": 1280, "height": 800})
    return wrong


async def shoot(page: Page, story: Story, mode: str) -> None:
    """Keep a picture, when somebody wants to look."""
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{story.name}-{mode}.png", full_page=True)


@pytest.mark.parametrize("part", range(PARTS))
async def test_every_page_is_sound(browser: Browser, storybook: str, part: int) -> None:
    """No axe finding, no console message, no request to another host, no sideways scrolling; light, dark and 360 px."""
    page, found = await open_page(browser, "wide")
    wrong: list[str] = []
    for story in STORIES[part::PARTS]:
        await page.goto(f"{storybook}/{story.name}.html")
        wrong += [f"{story.name}: {line}" for line in [*await visit(page, story), *found]]
        found.clear()
    assert wrong == []


async def test_a_page_that_breaks_the_rules_is_caught(browser: Browser, storybook: str) -> None:
    """The checks see an inline style that the policy blocks, a picture without text, and a page that is too wide."""
    page, found = await open_page(browser, "phone")
    await page.goto(f"{storybook}/{STORIES[0].name}.html")
    await page.evaluate(
        "document.querySelector('main').innerHTML ="
        ' \'<img src="data:,"><p style="color:red">x</p><canvas width=900></canvas>\''
    )
    wrong = " ".join([*await complaints(page), *found])
    assert "image-alt" in wrong
    assert "px too wide" in wrong
    assert "Content Security Policy" in wrong
