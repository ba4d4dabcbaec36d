"""What runs when: the next day or week as a picture by place, and as a list."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from aiohttp import web

from server.actions import outlooks
from server.core.model import DAY_US, HOUR_US
from server.core.outlook import Outlook, PlaceCounts
from server.ports.numbers import is_number
from server.storage import forecasts
from server.web.frame import Frame
from server.web.pages import serve

LIMIT = 200
STEPS = {1: HOUR_US, 7: 6 * HOUR_US, 31: DAY_US}
"""Days that can be looked at, with the width of a column."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of a place. `level`: 0 nothing, 1 to 4 by quarters of the busiest cell."""

    at_us: int
    count: int
    level: int


@dataclass(frozen=True, slots=True)
class PlaceRow:
    """A place with its columns."""

    place: str
    total: int
    cells: tuple[Cell, ...]


@dataclass(frozen=True, slots=True)
class ForecastPage:
    """The forecast; `days` is one of STEPS."""

    template: ClassVar[str] = "pages/forecast_show.html"
    frame: Frame
    days: int
    outlook: Outlook
    rows: tuple[PlaceRow, ...]
    choices: tuple[int, ...] = tuple(STEPS)

    @property
    def starts(self) -> tuple[int, ...]:
        """Where each column begins."""
        return tuple(cell.at_us for cell in self.rows[0].cells) if self.rows else ()


def rows_of(found: Outlook) -> tuple[PlaceRow, ...]:
    """The picture: one row for each place, shaded by how busy it is beside the busiest column of all."""
    top = max((count for one in found.places for count in one.counts), default=0)
    return tuple(PlaceRow(one.place, one.total, _cells(found, one, top)) for one in found.places)


def _cells(found: Outlook, one: PlaceCounts, top: int) -> tuple[Cell, ...]:
    return tuple(
        Cell(found.after_us + number * found.step_us, count, -(-4 * count // top) if count > 0 else 0)
        for number, count in enumerate(one.counts)
    )


async def show(request: web.Request) -> web.Response:
    """`GET /forecast?days=`: from the beginning of this hour."""
    text = request.query.get("days", "1")
    days = int(text) if is_number(text) and int(text) in STEPS else 1
    now_us = serve.site(request).clock.utc_us()
    after_us = now_us - now_us % HOUR_US - 1
    until_us = after_us + days * DAY_US
    frame, found = await serve.load(request, "Forecast", lambda c: forecasts.read(c, after_us, until_us))
    made = await asyncio.to_thread(partial(outlooks.make, found, after_us, until_us, STEPS[days], LIMIT))
    return serve.html(ForecastPage(frame, days, made, rows_of(made)))


ROUTES = (serve.get("/forecast", show),)
