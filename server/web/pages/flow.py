"""Samples the backlog for the chart of the last ten minutes: in memory only, begun anew with the process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass

from aiohttp import web

from replication.core.types import Status
from server.site import SITE, Site
from server.web.pages.chart import Sample
from server.web.pages.pair import Flow, standby_of

PERIOD_S = 1.0
KEPT = 600
RATE_OVER = 10
MOVING_OVER = 2


@dataclass(frozen=True, slots=True)
class Mark:
    """One sample: the backlog and the standby's durable sequence, None while either is unknown."""

    at_us: int
    requests: int | None
    fsynced: int | None


def mark(status: Status, now_us: int) -> Mark:
    """What a status says about the flow."""
    peer = standby_of(status)
    if peer is None or not peer.connected or status.backlog is None:
        return Mark(now_us, None, None)
    return Mark(now_us, status.backlog.requests, peer.fsynced)


class Sampler:
    """Keeps ten minutes of marks and answers with the flow."""

    def __init__(self) -> None:
        self._marks: deque[Mark] = deque(maxlen=KEPT)

    def add(self, found: Mark) -> None:
        """Keep one more; marks come in order of time."""
        self._marks.append(found)

    def flow(self) -> Flow:
        """The samples, requests per second over ten marks, and whether anything flowed over the last two."""
        marks = list(self._marks)
        samples = tuple(Sample(found.at_us, found.requests) for found in marks)
        rate = _rate(marks[-RATE_OVER - 1 :])
        return Flow(samples, rate, bool(_rate(marks[-MOVING_OVER - 1 :])))


def _rate(marks: list[Mark]) -> float | None:
    known = [found for found in marks if found.fsynced is not None]
    if len(known) < 2 or known[-1].at_us <= known[0].at_us:
        return None
    requests = (known[-1].fsynced or 0) - (known[0].fsynced or 0)
    return requests * 1e6 / (known[-1].at_us - known[0].at_us)


FLOW = web.AppKey("flow", Sampler)


async def sampling(app: web.Application) -> AsyncIterator[None]:
    """A cleanup context: samples while the application runs."""
    task = asyncio.create_task(_sample(app[SITE], app[FLOW]))
    yield
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task


async def _sample(site: Site, sampler: Sampler) -> None:
    while True:
        status = site.status()
        if status is not None and site.in_office:
            sampler.add(mark(status, site.clock.utc_us()))
        await asyncio.sleep(PERIOD_S)
