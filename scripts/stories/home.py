"""Home in its states."""

from __future__ import annotations

from dataclasses import replace

from replication.core.types import Status
from scripts.stories.fixture import (
    DAY_US,
    HEALTHY_FLOW,
    HOUR_US,
    LOCKED,
    MINUTE_US,
    NAMES,
    NOW_US,
    QUIET_FLOW,
    SECOND_US,
    STOPPED,
    WEB,
    Story,
    catching_up,
    frame,
    lost,
    status,
)
from server.web.pages.home import HomePage, LastSwap, NextLine, RunLine
from server.web.pages.pair import Flow, page_pair
from server.web.pages.states import RUNS

RUNNING = (
    RunLine(9121, "nightly-archive", 3, "dock-1", RUNS["running"], "", NOW_US - 84 * SECOND_US,
            NOW_US - 85 * SECOND_US, NOW_US - 84 * SECOND_US),
    RunLine(9124, "integrity-check", 5, "dock-2", RUNS["running"], "", NOW_US - 11 * SECOND_US,
            NOW_US - 12 * SECOND_US, NOW_US - 11 * SECOND_US),
)
FAILED = (
    RunLine(9088, "fetch-tariffs", 8, "dock-2", RUNS["failed"], "", NOW_US - 5 * HOUR_US, NOW_US - 5 * HOUR_US,
            NOW_US - 5 * HOUR_US - 40 * SECOND_US, NOW_US - 5 * HOUR_US, 22),
)
WAITING = (
    RunLine(9126, "invoice-export", 11, "dock-1", RUNS["waiting"], "queue locked", NOW_US - 3 * MINUTE_US,
            None, None, None, None, "maria"),
)
NEXT = (
    NextLine("disk-usage", 1, "dock-1", NOW_US + 36 * SECOND_US, "Europe/Berlin", "*/5 * * * *"),
    NextLine("checksum-documents", 2, "dock-2", NOW_US + 6 * MINUTE_US, "Europe/Berlin", "10 * * * *"),
    NextLine("nightly-archive", 3, "dock-1", NOW_US + 23 * HOUR_US, "Europe/Berlin", "30 1 * * *"),
)
SWAPPED = LastSwap(6, NOW_US - 17 * DAY_US, "Done, north took over from south", NOW_US + 44 * DAY_US)


def _home(found: Status, flow: Flow, **more: object) -> HomePage:
    base = HomePage(
        frame("Home", "/", waiting_for=found.waiting_for),
        page_pair(found, flow, NAMES, NOW_US, WEB),
        RUNNING, 2, FAILED, 1, (), 0, NEXT, 0, 12, 12, 14, SWAPPED,
    )
    return replace(base, **more)  # type: ignore[arg-type]  # field names are checked by dataclasses.replace


def stories() -> list[Story]:
    """Home, from all well to nothing yet."""
    stopped = frame("Home", "/", gates=(STOPPED, LOCKED))
    return [
        Story("home-healthy", _home(status(), HEALTHY_FLOW)),
        Story("home-catching-up", _home(*catching_up())),
        Story("home-lost-alone", _home(*lost(True))),
        Story("home-lost-waiting", _home(*lost(False), agents_active=9)),
        Story("home-gates", _home(status(), QUIET_FLOW, frame=stopped, waiting=WAITING, waiting_count=1, missed_count=3,
                                  swap_running=True, last_swap=replace(SWAPPED, due_us=NOW_US - 4 * DAY_US))),
        Story("home-copying", _home(status(**_copying()), QUIET_FLOW)),
        Story("home-empty", _empty()),
    ]


def _copying() -> dict[str, object]:
    found, _ = catching_up(0)
    return {"in_sync": False, "peers": found.peers, "copy": 0.42, "backlog": None, "backlog_age_s": None}


def _empty() -> HomePage:
    alone = status(peers=(), in_sync=False, backlog=None, backlog_age_s=None, backlog_proof="")
    return _home(
        alone, Flow(), running=(), running_count=0, failed=(), failed_count=0, upcoming=(), agents_active=0,
        agents_total=0, jobs_total=0, last_swap=None,
    )
