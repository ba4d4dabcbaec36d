"""The page of a fork: one with runs and edits, one whose node is away, one that nobody could list."""

from __future__ import annotations

import msgspec

from server.core.forks import ForkEdit, ForkRun
from server.core.model import ServerHistoryEntry
from server.web.forks import RunLine
from server.web.pages.forks import page_from
from server.web.pages.history import HistoryPage
from tests.storybook.fixture import FORKS, HOUR_US, MINUTE_US, NOW_US, SECOND_US, Story, changed, frame

NAME = FORKS[0].name


def run(number: int, **more: object) -> ForkRun:
    """A run that failed on the old master, with output."""
    base = ForkRun(
        fork=NAME,
        number=number,
        key=f"j3.s3.20261024T23{number % 60:02}00Z.a1",
        job="nightly-archive",
        agent_id="dock-1-id",
        agent="dock-1",
        state="failed",
        reason="",
        exit_code=3,
        signal=None,
        submitted_at_us=NOW_US - HOUR_US,
        started_at_us=NOW_US - HOUR_US,
        ended_at_us=NOW_US - HOUR_US + 84 * SECOND_US,
        requested_by="operator",
        output_bytes=2_300_000,
        output_kept=1 << 20,
    )
    return msgspec.structs.replace(base, **more)


def edit(number: int, action: str, what: str, before: str = "", after: str = "", reason: str = "") -> ForkEdit:
    """An entry of the old master's audit history."""
    return ForkEdit(
        fork=NAME,
        id=number,
        at_us=NOW_US - HOUR_US + number * MINUTE_US,
        who="operator",
        address="10.20.0.40",
        action=action,
        object=what,
        before=before,
        after=after,
        reason=reason,
    )


def adopted() -> ServerHistoryEntry:
    """A run of the fork that is on record in Server History."""
    return ServerHistoryEntry(
        id=2,
        run_key="j3.r0c4c0ffee.a1",
        agent_id="dock-1-id",
        job_name="nightly-archive",
        started_at_us=NOW_US - HOUR_US,
        ended_at_us=NOW_US - HOUR_US + 12 * SECOND_US,
        exit_code=3,
        signal=None,
        output=b"the books are closed\n",
        why=f"From the fork {NAME} of south, there failed; adopted by operator: for the auditors",
        recorded_at_us=NOW_US - 20 * MINUTE_US,
        adopted_by="operator",
        from_fork=NAME,
    )


def stories() -> list[Story]:
    """All of them."""
    at = frame("Fork", "/replication")
    runs = [
        RunLine(run(9120, history_id=2), 9131),
        RunLine(
            run(9121, state="starting", exit_code=None, started_at_us=None, ended_at_us=None, output_bytes=0), None
        ),
        RunLine(run(9122, state="succeeded", exit_code=0, output_bytes=812, output_kept=812), None),
    ]
    edits = [
        edit(1, "jobs.update", "nightly-archive", '{"timeout_s":0}', '{"timeout_s":3600}', "it hangs"),
        edit(2, "jobs.create", "month-end-close", "", '{"command":"/opt/close --all"}'),
        edit(3, "gates.lock", "dock-2", "", "queue_locked", "disk replaced"),
    ]
    whole = msgspec.structs.replace(FORKS[0], requests=1000, last=49_210, runs=3, edits=3, path="")
    unknown = msgspec.structs.replace(
        whole,
        contents="unknown",
        runs=0,
        edits=0,
        problem="What it holds is unknown: reading it needs a copy of the database, 5120 MiB, and the disk has no room "
        "for that. Its requests are kept: export them.",
    )
    history = frame("Server History", "/server-history")
    return [
        Story("history-adopted", HistoryPage(history, (adopted(),), {"dock-1-id": "dock-1"})),
        Story("fork", page_from(at, whole, runs, edits)),
        Story("fork-delete", page_from(changed(at, confirm="delete"), whole, runs, edits)),
        Story("fork-unknown", page_from(at, unknown, [], [], reachable=False)),
    ]
