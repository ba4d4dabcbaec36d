"""Home in its states."""

from __future__ import annotations

from dataclasses import replace

from replication.core.types import CopyProgress, State, Status
from server.storage.overview import Counts, Upcoming
from server.storage.runs import RunLine
from server.web.pages.home import HomePage, LastSwap
from server.web.pages.pair import Flow, page_pair
from tests.storybook.fixture import (
    COPY,
    COPY_WAITS,
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
    changed,
    frame,
    lost,
    peer,
    run,
    status,
)

RUNNING = (
    run(9121, "nightly-archive", 3, "dock-1", "running", started_s=84),
    run(9124, "integrity-check", 5, "dock-2", "running", started_s=11),
)
FAILED = (run(9088, "fetch-tariffs", 8, "dock-2", "failed", started_s=18_040, ended_s=18_000, exit_code=22),)
WAITING = (run(9126, "invoice-export", 11, "dock-1", "waiting", reason="queue locked", requested_by="operator"),)


def due(job_id: int, job: str, agent: str, in_us: int, cron: str, held: bool = False) -> Upcoming:
    """An instant to come."""
    return Upcoming(
        job_id=job_id, job=job, agent=agent, due_us=NOW_US + in_us, cron=cron, zone="Europe/Berlin", held=held
    )


NEXT = (
    due(1, "disk-usage", "dock-1", 36 * SECOND_US, "*/5 * * * *"),
    due(2, "checksum-documents", "dock-2", 6 * MINUTE_US, "10 * * * *"),
    due(3, "nightly-archive", "dock-1", 23 * HOUR_US, "30 1 * * *"),
)
COUNTS = Counts(running=2, waiting=0, failed=1, missed=0, jobs=14, agents=12)
SWAPPED = LastSwap(6, NOW_US - 17 * DAY_US, "north took over from south", NOW_US + 44 * DAY_US)


DAMAGED = peer(
    proof_at_us=NOW_US - MINUTE_US,
    proof_is_whole=False,
    proof_text="On this disk page 8 of 214 is not what was written. What differs is copied from the master by "
    "itself; the damaged version is kept. Then look again: understudy verify",
)


def _home(found: Status, flow: Flow, **more: object) -> HomePage:
    pair = page_pair(found, flow, NAMES, NOW_US, WEB)
    whole = frame("Home", "/", waiting_for=found.waiting_for)
    return changed(HomePage(whole, pair, COUNTS, RUNNING, FAILED, (), NEXT, 12, SWAPPED), **more)


def _many(prefix: str, state: str) -> tuple[RunLine, ...]:
    return tuple(
        run(
            9200 + n,
            f"{prefix}-{'with-a-very-long-name-' * 4}{n}",
            n,
            f"agent-{'long-' * 8}{n}",
            state,
            started_s=60 * n,
        )
        for n in range(1, 6)
    )


def stories() -> list[Story]:
    """Home, from all well to nothing yet."""
    stopped = frame("Home", "/", gates=(STOPPED, LOCKED))
    overdue = replace(SWAPPED, due_us=NOW_US - 4 * DAY_US)
    waiting = Counts(running=2, waiting=1, failed=1, missed=3, jobs=14, agents=12)
    busy = Counts(running=1204, waiting=88, failed=17, missed=0, jobs=100_000, agents=10_000)
    return [
        Story("home-healthy", _home(status(), HEALTHY_FLOW)),
        Story("home-catching-up", _home(*catching_up())),
        Story("home-lost-alone", _home(*lost(True))),
        Story("home-lost-waiting", _home(*lost(False), agents_active=9)),
        Story(
            "home-gates",
            _home(
                status(),
                QUIET_FLOW,
                frame=stopped,
                waiting=WAITING,
                counts=waiting,
                swap_running=True,
                last_swap=overdue,
            ),
        ),
        Story("home-copying", _home(status(**_copying()), QUIET_FLOW)),
        Story("home-copying-full", _home(status(**_copying(COPY_WAITS)), QUIET_FLOW)),
        Story("home-differs", _home(status(peers=(peer(checksum=1),)), HEALTHY_FLOW)),
        Story(
            "home-long-names",
            _home(
                status(),
                HEALTHY_FLOW,
                counts=busy,
                running=_many("report", "running"),
                failed=_many("import", "failed"),
                waiting=_many("export", "waiting"),
                agents_active=9_998,
            ),
        ),
        Story("home-damaged", _home(status(peers=(DAMAGED,)), HEALTHY_FLOW)),
        Story("home-empty", _empty()),
    ]


def _copying(copy: CopyProgress = COPY) -> dict[str, object]:
    found, _ = catching_up(0)
    peers = tuple(replace(peer, copy=copy, state=State.COPYING) for peer in found.peers)
    return {"in_sync": False, "peers": peers, "backlog": None, "backlog_age_s": None}


def _empty() -> HomePage:
    alone = status(peers=(), in_sync=False, backlog=None, backlog_age_s=None, backlog_proof="")
    none = Counts(running=0, waiting=0, failed=0, missed=0, jobs=0, agents=0)
    return _home(alone, Flow(), counts=none, running=(), failed=(), upcoming=(), agents_active=0, last_swap=None)
