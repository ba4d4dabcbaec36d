"""Debian's Chromium, headless; the storybook and a real pair on ephemeral ports. All three are started once.

Without a browser these tests are skipped.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import web
from playwright.async_api import Browser, Page, async_playwright

from tests.process.cluster import Pair, running_pair
from tests.storybook.__main__ import application

CHROMIUM = Path("/usr/bin/chromium")
HAS_CHROMIUM = CHROMIUM.exists()
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
MODES = {
    "wide": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "light"},
    "phone": {"viewport": {"width": 360, "height": 740}, "color_scheme": "light"},
    "dark": {"viewport": {"width": 1280, "height": 800}, "color_scheme": "dark"},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One event loop for all tests of this folder, because one browser belongs to one loop."""
    for item in items:
        if Path(__file__).parent in item.path.parents and isinstance(item, pytest.Function):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


async def serve(app: web.Application, port: int = 0) -> tuple[web.AppRunner, int]:
    """Serve on loopback; returns the runner, to be cleaned up, and the port."""
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, reuse_address=True).start()
    return runner, int(runner.addresses[0][1])


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def one_browser() -> AsyncIterator[Browser]:
    """A browser that asks nobody but the test's own server."""
    if not HAS_CHROMIUM:
        pytest.skip(f"{CHROMIUM} is missing: apt-get install chromium")
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        await started.close()


@pytest_asyncio.fixture(loop_scope="session")
async def browser(one_browser: Browser) -> AsyncIterator[Browser]:
    """The browser; what a test opened is closed behind it, so that no test sees another's pages or cookies."""
    yield one_browser
    for context in one_browser.contexts:
        await context.close()


@pytest.fixture(scope="session")
def one_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """Master, standby and two agents, started once."""
    with running_pair(tmp_path_factory.mktemp("pair")) as found:
        yield found


@pytest.fixture
def pair(one_pair: Pair) -> Pair:
    """The pair, healthy, with nothing held and no jobs, whoever is master and whatever the test before did."""
    for program in [agent.program for agent in one_pair.agents.values()]:
        program.send(signal.SIGCONT)
    for node in one_pair.nodes.values():
        if not node.program.running:
            node.program.start()
    api = one_pair.wait_healthy()[0].api
    try:
        api.post("/api/v1/scheduler/start")
        api.post("/api/v1/agents/unlock")
        for job in api.get("/api/v1/jobs"):
            api.request("DELETE", f"/api/v1/jobs/{job['name']}")
    finally:
        api.close()
    return one_pair


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def storybook() -> AsyncIterator[str]:
    """The address of the storybook."""
    runner, port = await serve(application())
    yield f"http://127.0.0.1:{port}"
    await runner.cleanup()


async def open_page(browser: Browser, mode: str) -> tuple[Page, list[str]]:
    """A page in a mode, and the list that collects what it complains about or asks of others."""
    context = await browser.new_context(**MODES[mode], timezone_id="Europe/Berlin", locale="en-GB")  # type: ignore[arg-type]  # the keys above
    page = await context.new_page()
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("request", lambda request: None if _own(request.url) else found.append(f"asked {request.url}"))
    return page, found


def _own(url: str) -> bool:
    return url.startswith(("http://127.0.0.1:", "ws://127.0.0.1:", "data:"))
