"""Planned maintenance windows (BEY-10): from when until when, once or by an expression, announced ahead. Pure.

A window begins a maintenance with the policy of `maintenance on` (what runs goes on, what comes waits), which ends by
itself at the window's end (`core.maintenance`). The row holds the next occurrence, or the present one while it is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from server.core import timing
from server.core.maintenance import AGENT, HOST, TENANT
from server.core.model import DAY_US, MINUTE_US, SECOND_US, Row
from server.core.schedule import BadSchedule
from server.core.timing import Timing

PLANNED, OPEN, OVER = "planned", "open", "over"
DURATION_US_MAX = 7 * DAY_US
AHEAD_US_MAX = 3660 * 24 * 3600 * SECOND_US
LEAD_US_MAX = 30 * DAY_US
TITLE_MAX = 200
AFTER_WINDOW = "after planned maintenance"
"""What a run says that waits for the end of a window."""
FITS = 95
"""A run fits when so many of a hundred past runs would have: the percentile of their durations."""


class WindowSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is planned. `start_us` of one that is held once; `expression` and `zone` of one that comes again.

    `scope` is "" for everything, `agent:NAME` or `tenant:NAME`. It is announced from `lead_s` before its start.
    """

    title: str = ""
    scope: str = HOST
    start_us: int | None = None
    expression: str = ""
    zone: str = "UTC"
    duration_s: int = 3600
    lead_s: int = 3600

    def wrong(self, now_us: int) -> dict[str, str]:
        """What is wrong, by field."""
        found = {}
        if len(self.title) > TITLE_MAX or not self.title.isprintable():
            found["title"] = f"A title is one line of at most {TITLE_MAX} characters."
        if self.scope != HOST and not self.scope.startswith((AGENT, TENANT)):
            found["scope"] = "A window is of everything, of one agent or of one tenant."
        if not 60 <= self.duration_s <= DURATION_US_MAX // SECOND_US:
            found["duration_s"] = "A window lasts a minute to seven days."
        if not 0 <= self.lead_s <= LEAD_US_MAX // SECOND_US:
            found["lead_s"] = "It is announced at most 30 days ahead."
        if (self.start_us is None) == (not self.expression):
            found["start_us"] = "Say when it starts, or by which expression it comes again; not both."
        elif self.start_us is not None and self.start_us + self.duration_s * SECOND_US <= now_us:
            found["start_us"] = "It would be over already."
        elif self.start_us is not None and self.start_us > now_us + AHEAD_US_MAX:
            found["start_us"] = "It would start more than ten years from now."
        elif self.expression:
            found |= self._wrong_expression(now_us)
        return found

    def _wrong_expression(self, now_us: int) -> dict[str, str]:
        try:
            if timing.next_instant(Timing(self.expression, self.zone), now_us) is None:
                return {"expression": "It names no time within five years."}
        except BadSchedule as error:
            return {"expression": str(error)}
        return {}


class Window(Row, frozen=True, kw_only=True):
    """A row. `state`: planned (its next occurrence is [start_us, end_us)), open, or over: it does not come again.

    `said` is what became of its last occurrence, in words, `said_at_us` when. Times are UTC.
    """

    id: int
    title: str
    scope: str
    expression: str
    zone: str
    duration_us: int
    lead_us: int
    start_us: int
    end_us: int
    state: str
    created_by: str
    created_at_us: int
    said: str = ""
    said_at_us: int | None = None

    def is_due(self, now_us: int) -> bool:
        """Whether something is to be done with it: it begins, or it is over."""
        return self.deadline_us is not None and self.deadline_us <= now_us

    @property
    def deadline_us(self) -> int | None:
        """When something is to be done with it next."""
        return {PLANNED: self.start_us, OPEN: self.end_us}.get(self.state)

    def is_announced(self, now_us: int) -> bool:
        """Whether people are told of it now: from its lead time on until it begins; then the maintenance is shown."""
        return self.state == PLANNED and self.start_us - self.lead_us <= now_us < self.start_us


def first(spec: WindowSpec, now_us: int) -> tuple[int, int]:
    """The first occurrence of a spec that is not wrong."""
    start_us = spec.start_us
    if start_us is None:
        start_us = timing.next_instant(Timing(spec.expression, spec.zone), now_us)
    assert start_us is not None, "`wrong` names an expression without a next time"
    return start_us, start_us + spec.duration_s * SECOND_US


def following(window: Window, now_us: int) -> tuple[int, int] | None:
    """The next occurrence that begins neither before this one is over nor before now; None: it does not come again."""
    if not window.expression:
        return None
    start_us = timing.next_instant(Timing(window.expression, window.zone), max(window.end_us, now_us) - 1)
    return None if start_us is None else (start_us, start_us + window.duration_us)


def span(window: Window) -> str:
    """From when until when, in UTC: `2026-11-22 22:00 to 23:00 UTC`."""
    start, end = (datetime.fromtimestamp(at // SECOND_US, UTC) for at in (window.start_us, window.end_us))
    last = f"{end:%H:%M}" if start.date() == end.date() else f"{end:%Y-%m-%d %H:%M}"
    return f"{start:%Y-%m-%d %H:%M} to {last} UTC"


def percentile_us(durations_us: Sequence[int]) -> int | None:
    """What `FITS` of a hundred past runs did not exceed; None without any."""
    if not durations_us:
        return None
    return sorted(durations_us)[(len(durations_us) * FITS - 1) // 100]


def fits(window: Window, usual_us: int, begin_us: int) -> bool:
    """Whether a run from `begin_us` that takes `usual_us` ends before the window begins, or begins behind it."""
    return begin_us + usual_us <= window.start_us or begin_us >= window.end_us


def begin_us(windows: Sequence[Window], usual_us: int, now_us: int) -> int:
    """When a run that takes `usual_us` may begin so that it reaches into none of the windows: now, or behind one."""
    at_us = now_us
    for window in sorted(windows, key=lambda window: window.start_us):
        if not fits(window, usual_us, at_us):
            at_us = window.end_us
    return at_us


def in_minutes(length_us: int) -> str:
    """A duration for people, in whole minutes, at least one."""
    hours, minutes = divmod(max(1, round(length_us / MINUTE_US)), 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min"
