"""Three nodes, in a browser and typed: an observer is shown with its lag, takes the seat, and then office by a swap."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from tests.browser.walk import SLOW_MS, confirm, go, open_tab, shoot, sign_in, web
from tests.process.cluster import Node, Pair, running_pair


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Pair]:
    """A pair with its standby in sync, and a third node that follows."""
    with running_pair(tmp_path) as pair:
        master, _ = pair.wait_healthy()
        west = pair.add_node("west")
        west.program.start()
        pair.wait("the empty node to wait", lambda: (west.data / "understudy.sock").exists())
        pair.enrol_standby(west, master)
        pair.wait("the observer to follow", lambda: part(pair, master, "west") == "observer" and is_streaming(west))
        yield pair


def is_streaming(node: Node) -> bool:
    """The node is a standby that has applied everything its master told it of."""
    return bool(node.status().get("role") == "standby" and node.status().get("state") in ("SYNCING", "IN_SYNC"))


def part(pair: Pair, master: Node, name: str) -> str:
    """What `understudy node list` says that a node is."""
    lines = pair.type(master, "understudy", "node", "list").splitlines()
    return next((line.split("  ")[-1].strip() for line in lines if line.startswith(name)), "")


async def test_an_observer_takes_the_seat_and_then_office(browser: Browser, three: Pair) -> None:
    """The page shows the observer; one button gives it the seat; a swap makes it master; what was written is there."""
    master = three.node("master") if len(three.nodes) == 2 else three.nodes["north"]
    api = master.api
    job = {"name": "kept", "command": "true", "agent": "alpha"}
    api.post("/api/v1/jobs", job)
    tab, said = await open_tab(browser)
    await tab.goto(web(master))
    await sign_in(tab, three)
    await tab.goto(f"{web(master)}/replication")
    row = tab.locator("#observers tbody tr")
    await expect(row).to_have_count(1, timeout=SLOW_MS)
    await expect(row).to_contain_text("west")
    await shoot(tab, "observer-shown", whole=True)
    await confirm(tab, "Give it the seat")
    await expect(tab.locator("main")).to_contain_text("That node has the seat", timeout=SLOW_MS)
    await expect(row).to_contain_text("south", timeout=SLOW_MS)
    await shoot(tab, "observer-has-the-seat", whole=True)
    assert part(three, master, "west") == "standby (has the seat)"
    assert part(three, master, "south") == "observer"
    await asyncio.to_thread(three.wait, "the seat to be in sync", lambda: master.status().get("in_sync"))
    await asyncio.to_thread(three.type, master, "understudy", "swap", "--yes")
    west = three.nodes["west"]
    await asyncio.to_thread(three.wait, "west in office", west.is_master)
    assert [found["name"] for found in west.api.get("/api/v1/jobs")] == ["kept"]
    await go(tab, web(west))
    await shoot(tab, "observer-in-office", whole=True)
    assert said == []
