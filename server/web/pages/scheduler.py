"""Job Scheduler: does it run, what would start in the next hour, and what was missed (SKY-3, SKY-12)."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import asides
from server.actions import gates as gate_actions
from server.actions import missed as missed_actions
from server.actions.asides import AsideLine
from server.core.gates import SCHEDULER_STOPPED
from server.core.instants import MAY_HAVE_RUN
from server.core.model import HOUR_US, Gate
from server.storage import gates, missed, overview
from server.storage.missed import MissedLine
from server.storage.overview import DueCount, Upcoming
from server.web.frame import Frame
from server.web.pages import serve

MISSED_SHOWN = 100
DUE_SHOWN = 15


Rows = tuple[
    Gate | None,
    tuple[Upcoming, ...],
    tuple[DueCount, ...],
    tuple[MissedLine, ...],
    int,
    dict[str, int],
    str,
    tuple[AsideLine, ...],
]


@dataclass(frozen=True, slots=True)
class SchedulerPage:
    """`stopped` is the gate, or None while the scheduler runs. `missed_count` counts all open ones.

    `upcoming` are the next few of the hour, `due` how often each job is due in it.
    """

    template: ClassVar[str] = "pages/scheduler_show.html"
    frame: Frame
    stopped: Gate | None
    upcoming: tuple[Upcoming, ...]
    due: tuple[DueCount, ...]
    missed: tuple[MissedLine, ...]
    missed_count: int
    causes: Mapping[str, int] = field(default_factory=dict)
    """How many are open, by cause."""
    cause: str = ""
    """The one that is shown, "" for all."""
    asides: tuple[AsideLine, ...] = ()
    """What a defect kept it from doing."""
    may_have_run: str = MAY_HAVE_RUN
    """The cause of rows that are not offered to be run: a lost memory may have begun them."""

    @property
    def due_count(self) -> int:
        """How many runs are due in the hour."""
        return sum(line.count for line in self.due)


def _rows(connection: sqlite3.Connection, now_us: int, cause: str) -> Rows:
    until_us = now_us + HOUR_US
    return (
        gates.get(connection, SCHEDULER_STOPPED),
        tuple(overview.upcoming(connection, now_us, until_us, DUE_SHOWN)),
        tuple(overview.due_counts(connection, now_us, until_us)),
        tuple(missed.page(connection, limit=MISSED_SHOWN, cause=cause)),
        missed.count_open(connection, cause=cause),
        missed.open_causes(connection),
        cause,
        tuple(asides.page(connection)),
    )


async def show(request: web.Request) -> web.Response:
    """`GET /scheduler`; `cause=` shows what was missed for that cause."""
    now_us, cause = serve.site(request).clock.utc_us(), request.query.get("cause", "")
    frame, found = await serve.load(request, "Job Scheduler", lambda connection: _rows(connection, now_us, cause))
    return serve.html(SchedulerPage(frame, *found))


async def stop(request: web.Request) -> web.Response:
    """`POST /scheduler/stop`."""
    reason = (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: gate_actions.stop_scheduler(by, now_us, reason))
    return serve.back("/scheduler", "stopped")


async def start(request: web.Request) -> web.Response:
    """`POST /scheduler/start`."""
    await serve.write(request, gate_actions.start_scheduler)
    return serve.back("/scheduler", "started")


async def run_missed(request: web.Request) -> web.Response:
    """`POST /scheduler/missed/{id}/run`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: missed_actions.run(number, by, now_us))
    return serve.back("/scheduler", "missed-run")


async def dismiss_missed(request: web.Request) -> web.Response:
    """`POST /scheduler/missed/{id}/dismiss`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: missed_actions.dismiss(number, by, now_us))
    return serve.back("/scheduler", "missed-dismissed")


async def run_all_missed(request: web.Request) -> web.Response:
    """`POST /scheduler/missed/run`."""
    which = missed_actions.Which(cause=(await serve.form(request)).get("cause", ""))
    await serve.write(request, lambda by, now_us: missed_actions.run_all(by, now_us, which))
    return serve.back("/scheduler", "missed-run")


async def dismiss_all_missed(request: web.Request) -> web.Response:
    """`POST /scheduler/missed/dismiss`."""
    fields = await serve.form(request)
    reason, which = fields.get("reason", ""), missed_actions.Which(cause=fields.get("cause", ""))
    await serve.write(request, lambda by, now_us: missed_actions.dismiss_all(by, now_us, reason, which))
    return serve.back("/scheduler", "missed-dismissed")


ROUTES = (
    serve.get("/scheduler", show),
    serve.post("/scheduler/stop", stop),
    serve.post("/scheduler/start", start),
    serve.post("/scheduler/missed/run", run_all_missed),
    serve.post("/scheduler/missed/dismiss", dismiss_all_missed),
    serve.post(r"/scheduler/missed/{id:\d+}/run", run_missed),
    serve.post(r"/scheduler/missed/{id:\d+}/dismiss", dismiss_missed),
)
