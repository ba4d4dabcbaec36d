"""What live.js does: parts are renewed in place, a lost connection is said and recovers, dialogs ask, keys work."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, expect

from server.ports.secure_headers import CONTENT_SECURITY_POLICY
from server.web.pages.standby import StandbyPage
from server.web.render import STATIC, Page, render
from tests.browser.conftest import open_page, serve
from tests.storybook.__main__ import stories
from tests.storybook.fixture import changed

STORIES = {story.name: story.page for story in stories()}


@dataclass
class Stage:
    """A server whose one page the test changes; `tell` sends an event to whoever listens."""

    page: Page
    status: int = 200
    asked: int = 0
    sockets: list[web.WebSocketResponse] = field(default_factory=list)
    posted: list[dict[str, str]] = field(default_factory=list)

    async def show(self, request: web.Request) -> web.Response:
        """The page as it is now."""
        self.asked += 1
        policy = {"Content-Security-Policy": CONTENT_SECURITY_POLICY}
        return web.Response(text=render(self.page), status=self.status, content_type="text/html", headers=policy)

    async def take(self, request: web.Request) -> web.Response:
        """Keep what a form sent."""
        self.posted.append({name: str(value) for name, value in (await request.post()).items()})
        return web.Response(status=303, headers={"Location": "/"})

    async def listen(self, request: web.Request) -> web.WebSocketResponse:
        """The events' socket."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        self.sockets.append(socket)
        async for _ in socket:
            pass
        return socket

    async def tell(self, kind: str) -> None:
        """Say that something of a kind changed."""
        for socket in self.sockets:
            if not socket.closed:
                await socket.send_str(json.dumps({"type": kind, "sequence": 7}))

    def app(self) -> web.Application:
        """A new application with this stage on it."""
        app = web.Application()
        app.router.add_get("/api/v1/events", self.listen)
        app.router.add_static("/static", STATIC)
        app.router.add_get("/{path:.*}", self.show)
        app.router.add_post("/{path:.*}", self.take)
        return app


@pytest_asyncio.fixture(loop_scope="session")
async def stage() -> AsyncIterator[tuple[Stage, str, web.AppRunner]]:
    """A stage with Home on it, its address, and the runner that serves it."""
    found = Stage(STORIES["home-healthy"])
    runner, port = await serve(found.app())
    yield found, f"http://127.0.0.1:{port}", runner
    await runner.cleanup()


On = tuple[Stage, str, web.AppRunner]


async def test_the_number_follows_without_a_reload(browser: Browser, stage: On) -> None:
    """SKY-4: an event renews the number in place; what the person opened stays open, the page is not loaded again."""
    found, address, _ = stage
    page, said = await open_page(browser, "wide")
    await page.goto(address)
    await expect(page.locator("#backlog-number")).to_have_text("0")
    await page.locator(".chart summary").click()
    await page.evaluate("window.same = true")
    found.page = STORIES["home-catching-up"]
    await found.tell("backlog")
    await expect(page.locator("#backlog-number")).to_have_text("1,234")
    await expect(page.locator(".verdict .sign")).to_contain_text("Catching up")
    assert await page.locator(".chart").get_attribute("open") is not None
    assert await page.evaluate("window.same") is True
    assert said == []


async def test_a_lost_connection_is_said_and_recovers(browser: Browser, stage: On) -> None:
    """JS7-5: with the node gone the page says so and since when; it recovers by itself and shows what is true then."""
    found, address, runner = stage
    page, _ = await open_page(browser, "wide")
    await page.goto(address)
    await expect(page.locator("#connection")).to_be_hidden()
    port = int(address.rpartition(":")[2])
    for socket in found.sockets:
        await socket.close()
    await runner.cleanup()
    await expect(page.locator("#connection")).to_contain_text("lost since", timeout=15_000)
    found.page = STORIES["home-lost-alone"]
    again, _ = await serve(found.app(), port)
    try:
        await expect(page.locator("#connection")).to_be_hidden(timeout=20_000)
        await expect(page.locator(".verdict .sign")).to_contain_text("Lost")
    finally:
        await again.cleanup()


async def test_a_page_that_watches_a_swap_follows_it(browser: Browser, stage: On) -> None:
    """BEY-1: when the node that was watched has become the standby, the page goes on to the new master by itself."""
    found, address, _ = stage
    found.page = STORIES["swap-late"]
    page, _ = await open_page(browser, "wide")
    await page.goto(f"{address}/swap")
    there = Stage(STORIES["swap-report"])
    runner, port = await serve(there.app())
    try:
        standby = STORIES["standby-after-swap"]
        assert isinstance(standby, StandbyPage)
        found.page = changed(standby, follow=f"http://127.0.0.1:{port}/swap")
        await found.tell("status")
        await page.wait_for_url(f"http://127.0.0.1:{port}/swap")
        await expect(page.locator("h1")).to_contain_text("Role swap #7")
    finally:
        await runner.cleanup()


async def test_a_page_keeps_what_it_shows_while_the_node_says_not_now(browser: Browser, stage: On) -> None:
    """A 503 in the middle of a swap does not wipe the steps off the screen."""
    found, address, _ = stage
    found.page = STORIES["swap-running"]
    page, _ = await open_page(browser, "wide")
    await page.goto(f"{address}/swap")
    found.page, found.status = STORIES["problem-503"], 503
    before = found.asked
    await found.tell("swap")
    await page.wait_for_function(
        "() => performance.getEntriesByType('resource').some(one => one.responseStatus == 503)"
    )
    assert found.asked > before
    await expect(page.locator("#step-3")).to_contain_text("Lock all queues")
    found.page, found.status = STORIES["swap-late"], 200
    await expect(page.locator("#step-5 .proof")).to_be_visible()


async def test_a_destructive_button_asks_and_takes_a_reason(browser: Browser, stage: On) -> None:
    """SKY-2: nothing is sent before the dialog is answered; it says to how many, and wants a reason. Keyboard only."""
    found, address, _ = stage
    found.page = STORIES["agents-open"]
    page, _ = await open_page(browser, "phone")
    await page.goto(f"{address}/agents")
    await page.get_by_role("button", name="Lock all Agent Job Queues", exact=True).focus()
    await page.keyboard.press("Enter")
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("9 agents")
    await page.keyboard.press("Escape")
    await expect(dialog).to_be_hidden()
    await page.keyboard.press("Enter")
    await dialog.get_by_role("button", name="Lock all").click()
    assert found.posted == []
    await dialog.get_by_role("textbox").fill("drill")
    async with page.expect_navigation():
        await page.keyboard.press("Enter")
    assert found.posted == [{"reason": "drill"}]


async def test_every_action_works_without_scripts(browser: Browser, stage: On) -> None:
    """The same button without JavaScript: the page comes back with the dialog open, and its form does the work."""
    found, address, _ = stage
    found.page = STORIES["agents-open"]
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    await page.goto(f"{address}/agents")
    await page.get_by_role("button", name="Lock all Agent Job Queues", exact=True).first.click()
    await page.wait_for_url("**?confirm=lock-all", wait_until="load")
    found.page = STORIES["agents-confirm"]
    await page.reload()
    await page.get_by_role("textbox", name="Reason").fill("drill")
    await page.locator("dialog[open] footer button:not(.secondary)").click()
    await expect(page.get_by_role("heading", name="Agents", exact=True)).to_be_visible()
    assert found.posted == [{"reason": "drill"}]


async def test_what_was_said_once_is_not_said_after_a_reload(browser: Browser, stage: On) -> None:
    """The word of a notice leaves the address, so that a reload does not claim that it happened again."""
    _, address, _ = stage
    page, _ = await open_page(browser, "wide")
    await page.goto(f"{address}/agents?done=locked&match=dock")
    await page.wait_for_url(f"{address}/agents?match=dock")


async def test_times_are_in_the_zone_of_the_person(browser: Browser, stage: On) -> None:
    """The page is sent in UTC and shown in the browser's zone, with both on hover."""
    found, address, _ = stage
    found.page = STORIES["scheduler-stopped"]
    page, _ = await open_page(browser, "wide")
    await page.goto(f"{address}/scheduler")
    time = page.locator("#scheduler time").first
    await expect(time).to_have_text("25 Oct 2026, 03:59:04")
    assert "02:59:04Z" in (await time.get_attribute("title") or "")
