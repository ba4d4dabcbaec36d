"""The forecast: a day of a small site, a week of many agents, and nothing at all."""

from __future__ import annotations

from server.core.outlook import DueLine, Outlook, PlaceCounts
from server.web.pages.forecast import STEPS, ForecastPage, rows_of
from tests.storybook.fixture import DAY_US, HOUR_US, MINUTE_US, NOW_US, Story, frame

START_US = NOW_US - NOW_US % HOUR_US - 1


def outlook(days: int, places: list[PlaceCounts], **more: object) -> Outlook:
    """A period from this hour on."""
    lines = [
        DueLine(due_us=NOW_US + n * 7 * MINUTE_US, job_id=n % 3 + 1, job=name, place=place, schedule_id=1,
                moved_from_us=NOW_US - HOUR_US if n == 2 else None)
        for n, (name, place) in enumerate([("poll-stock", "dock-1"), ("nightly-archive", "dock-2"),
                                           ("report-to-the-harbour-office", "group workers")] * 3)
    ]  # fmt: skip
    values = {"lines": lines, "total": sum(place.total for place in places), **more}
    return Outlook(after_us=START_US, until_us=START_US + days * DAY_US, step_us=STEPS[days], places=places, **values)  # type: ignore[arg-type]  # `values` are fields by name


def stories() -> list[Story]:
    """All of them."""
    day = [
        PlaceCounts("dock-1", [12] * 24),
        PlaceCounts("dock-2", [0] * 6 + [1, 40, 3] + [0] * 15),
        PlaceCounts("group workers", [n % 5 for n in range(24)]),
    ]
    week = [PlaceCounts(f"dock-{n}", [(n * k) % 97 for k in range(28)]) for n in range(1, 31)]
    found = [("forecast", 1, outlook(1, day)), ("forecast-week", 7, outlook(7, week, is_cut=True, unreadable=["old"])),
             ("forecast-empty", 1, outlook(1, [], lines=[]))]  # fmt: skip
    return [
        Story(name, ForecastPage(frame("Forecast", "/forecast"), days, made, rows_of(made)))
        for name, days, made in found
    ]
