"""Every page in a real browser: axe is silent, the policy blocks nothing, nothing is cut or small, nobody is asked."""

from __future__ import annotations

import asyncio
import os
import re
from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, Page

from server.web.render import render
from tests.browser.conftest import open_page
from tests.storybook.__main__ import stories
from tests.storybook.fixture import Story

STORIES = stories()
PARTS = 2
TABS = 2
"""Tabs that are open at the same time: as many as a small machine has cores."""

SHOTS = os.environ.get("UNDERSTUDY_TEST_SHOTS", "")
"""A directory for screenshots, when somebody wants to look."""
AXE = Axe()


async def findings(page: Page, rules: list[str] | None = None) -> list[str]:
    """What axe finds in the page, by all its rules or the named ones."""
    only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
    options = {"resultTypes": ["violations"], **only}
    results = await page.evaluate("options => axe.run(document, options)", options)
    return [f"axe {one['id']}: {one['nodes'][0]['html'][:160]}" for one in results["violations"]]


async def overflow(page: Page) -> list[str]:
    """How far the page is too wide for its window."""
    pixels = await page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
    return [f"{pixels} px too wide"] if pixels > 0 else []


SMALL_TARGETS = """() => [...document.querySelectorAll(
        "button, [role=button], summary, .side a, .tabs a, select, input:not([type=checkbox], [type=hidden])")]
    .filter((one) => one.checkVisibility() && one.getBoundingClientRect().height < 40)
    .map((one) => `${Math.round(one.getBoundingClientRect().height)} px: ${one.outerHTML.slice(0, 120)}`)"""


async def small_targets(page: Page) -> list[str]:
    """What is pressed, and too low for a finger."""
    found: list[str] = await page.evaluate(SMALL_TARGETS)
    return found


FIRST = {story.page.template: story.name for story in reversed(STORIES)}
LAST = {story.page.template: story.name for story in STORIES}
SECTION = re.compile(r'<section[^>]* id="([^"]+)"')


def with_every_section(chosen: set[str]) -> set[str]:
    """Those chosen, and of each section that none of them has the first story that has it."""
    sections = {story.name: set(SECTION.findall(render(story.page))) for story in STORIES}
    seen = {section for name in chosen for section in sections[name]}
    for name, found in sections.items():
        if found - seen:
            chosen, seen = chosen | {name}, seen | found
    return chosen


LOOKED_THROUGH = with_every_section({*FIRST.values(), *LAST.values()})
"""The stories that axe looks at: of each template the first, where all is well, and the last, which is in trouble; and
as many as show each section of a page once."""


async def visit(page: Page, story: Story) -> list[str]:
    """Look at one page as a desk sees it, then dark, then as a phone does: what colour and width can change."""
    wrong = [f"wide: {line}" for line in await overflow(page)]
    if story.name in LOOKED_THROUGH:
        await page.evaluate(AXE.axe_script)
        wrong += [f"wide: {line}" for line in await findings(page)]
    await shoot(page, story, "wide")
    is_last = LAST[story.page.template] == story.name
    if is_last or SHOTS:
        await page.emulate_media(color_scheme="dark", reduced_motion="reduce")
        wrong += [f"dark: {line}" for line in await findings(page, ["color-contrast"])] if is_last else []
        await shoot(page, story, "dark")
        await page.emulate_media(color_scheme="light", reduced_motion="reduce")
    await page.set_viewport_size({"width": 360, "height": 740})
    wrong += [f"phone: {line}" for line in [*await overflow(page), *await small_targets(page)]]
    await shoot(page, story, "phone")
    await page.set_viewport_size({"width": 1280, "height": 800})
    return wrong


async def shoot(page: Page, story: Story, mode: str) -> None:
    """Keep a picture, when somebody wants to look."""
    if SHOTS:
        await page.screenshot(path=Path(SHOTS) / f"{story.name}-{mode}.png", full_page=True)


async def tour(browser: Browser, storybook: str, stories: list[Story]) -> list[str]:
    """Visit pages one after the other in a tab of their own; what is wrong with them."""
    page, found = await open_page(browser, "wide")
    await page.emulate_media(reduced_motion="reduce")
    wrong: list[str] = []
    for story in stories:
        await page.goto(f"{storybook}/{story.name}.html")
        seen = await visit(page, story)
        wrong += [f"{story.name}: {line}" for line in [*seen, *found]]
        found.clear()
    return wrong


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", range(PARTS))
async def test_every_page_is_sound(browser: Browser, storybook: str, part: int) -> None:
    """No axe finding, no console message, no request to another host, no sideways scrolling; light, dark, 360 px."""
    mine = STORIES[part::PARTS]
    wrong = await asyncio.gather(*(tour(browser, storybook, mine[tab::TABS]) for tab in range(TABS)))
    assert [line for lines in wrong for line in lines] == []


async def test_a_page_that_breaks_the_rules_is_caught(browser: Browser, storybook: str) -> None:
    """The checks see an inline style that the policy blocks, a picture without text, and a page that is too wide."""
    page, found = await open_page(browser, "phone")
    await page.goto(f"{storybook}/{STORIES[0].name}.html")
    await page.evaluate(
        "document.querySelector('main').innerHTML ="
        ' \'<img src="data:,"><p style="color:red">x</p><canvas width=900></canvas><input class="low">\';'
        "document.querySelector('.low').style.cssText = 'height: 30px; min-height: 0'"
    )
    await page.evaluate(AXE.axe_script)
    wrong = " ".join([*await findings(page), *await overflow(page), *await small_targets(page), *found])
    assert "30 px: <input" in wrong
    assert "image-alt" in wrong
    assert "px too wide" in wrong
    assert "Content Security Policy" in wrong
