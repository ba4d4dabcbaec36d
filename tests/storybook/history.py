"""Server History: the list, and entries that can be adopted, were adopted, or have no end yet."""

from __future__ import annotations

import msgspec

from server.core.model import ServerHistoryEntry
from server.web.pages.history import EntryPage, HistoryPage
from tests.storybook.fixture import FORKS, HOUR_US, MINUTE_US, NOW_US, SECOND_US, Story, frame

ENTRY = ServerHistoryEntry(
    id=7,
    run_key="j3.s3.20261024T233000Z.a1",
    agent_id="dock-1-id",
    job_name="nightly-archive",
    started_at_us=NOW_US - HOUR_US,
    ended_at_us=NOW_US - HOUR_US + 84 * SECOND_US,
    exit_code=0,
    signal=None,
    output=b"packed 1,204 documents\nremoved 31 that are older than 30 days\n",
    why="no job here has this run",
    recorded_at_us=NOW_US - 50 * MINUTE_US,
    state="succeeded",
    command="tar --zstd -cf archive.tar.zst /srv/documents",
)
AGENTS = {"dock-1-id": "dock-1", "dock-2-id": "dock-2"}


def entry(number: int, **more: object) -> ServerHistoryEntry:
    """A completion that no run explains."""
    return msgspec.structs.replace(ENTRY, id=number, recorded_at_us=NOW_US - (60 - number) * MINUTE_US, **more)


def stories() -> list[Story]:
    """All of them."""
    nothing: dict[str, object] = {"started_at_us": None, "exit_code": None, "output": b"", "state": ""}
    killed = entry(6, agent_id="dock-2-id", exit_code=None, signal=15, state="killed", output=b"x" * 4096)
    adopted = entry(5, adopted_run=ENTRY.run_key, adopted_by="operator", exit_code=3, state="failed")
    running = entry(4, ended_at_us=None, job_name="", **nothing)
    forked = entry(3, from_fork=FORKS[0].name, why=f"From the fork {FORKS[0].name} of south, there succeeded")
    all_of_them = (ENTRY, killed, adopted, running, forked)
    whole = frame("Server History", "/server-history")
    one = frame("Server History, entry 7", "/server-history")
    asked = frame("Server History, entry 7", "/server-history", confirm="adopt")
    return [
        Story("history", HistoryPage(whole, all_of_them, AGENTS, open_count=4)),
        Story("history-empty", HistoryPage(whole, (), {})),
        Story("history-entry", EntryPage(one, ENTRY, "dock-1", "nightly-archive", None)),
        Story("history-adopt", EntryPage(asked, ENTRY, "dock-1", "", None)),
        Story("history-entry-adopted", EntryPage(one, adopted, "dock-1", "nightly-archive", 9301)),
        Story("history-running", EntryPage(one, running, "dock-2", "", None)),
    ]
