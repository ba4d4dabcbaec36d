"""Turns page objects into HTML: one jinja environment, its filters, and the addresses of static files.

A page is a frozen dataclass with a class variable `template`; a template sees it as `page` and its frame as
`frame`. Undefined names are errors and everything is escaped. No template reads a clock: `frame.now_us` is
the page's instant.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path
from typing import ClassVar, Protocol

import jinja2
from markupsafe import Markup

from server.core.markdown_subset import to_html
from server.web import states
from server.web.frame import Frame

TEMPLATES = Path(__file__).resolve().parents[2] / "templates"
STATIC = Path(__file__).resolve().parent / "static"

BADGES = {
    "as_run": states.RUNS,
    "as_step": states.STEPS,
    "as_swap": states.SWAPS,
    "as_severity": states.SEVERITIES,
    "as_workflow": states.WORKFLOWS,
    "as_slot": states.SLOTS,
    "as_authority": states.AUTHORITIES,
}
"""Filters that turn a row's state into its badge."""


class Page(Protocol):
    """What can be rendered."""

    template: ClassVar[str]

    @property
    def frame(self) -> Frame:
        """What surrounds every page."""


def render(page: Page) -> str:
    """The page as HTML. Raises `jinja2.UndefinedError` when a template asks for what its page does not have."""
    return environment().get_template(page.template).render(page=page, frame=page.frame)


@cache
def environment() -> jinja2.Environment:
    """The one environment; templates are read once per process."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.globals["static"] = static_address
    made.filters.update(
        age=age, ago=ago, bytes=size, count=count, instant=instant, iso=iso, plural=plural, seconds=seconds, clock=clock
    )
    made.filters["markdown"] = lambda text: Markup(to_html(text))  # nothing but its own tags comes out
    for name, table in BADGES.items():
        made.filters[name] = partial(states.badge, table)
    return made


@cache
def static_address(name: str) -> str:
    """The address of a static file with the start of its SHA-256, so that it can be cached for ever."""
    return f"/static/{name}?v={hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]}"


def count(number: int) -> str:
    """A whole number with thousands separators."""
    return f"{number:,}"


def plural(number: int, one: str, many: str = "") -> str:
    """`1 run`, `3 runs`, `1,234 runs`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def size(number: float) -> str:
    """Bytes in the largest unit that keeps the number readable: `17 B`, `1.2 MB`."""
    units = ("B", "kB", "MB", "GB")
    for unit in units:
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


@dataclass(frozen=True, slots=True)
class _Unit:
    seconds: int
    word: str


_UNITS = (_Unit(86400, "d"), _Unit(3600, "h"), _Unit(60, "min"), _Unit(1, "s"))


def seconds(value: float) -> str:
    """A duration in its two largest units: `0.4 s`, `12 s`, `3 min 5 s`, `2 d 4 h`."""
    if 0 < abs(value) < 0.05:
        return "under 0.1 s"
    if value < 0:
        return "-" + seconds(-value)
    if value < 10 and round(value, 1) != int(value):
        return f"{value:.1f} s"
    left = round(value)
    for place, unit in enumerate(_UNITS):
        if left >= unit.seconds:
            first, rest = divmod(left, unit.seconds)
            below = _UNITS[place + 1] if place + 1 < len(_UNITS) else None
            second = rest // below.seconds if below else 0
            return f"{first} {unit.word}" + (f" {second} {below.word}" if below and second else "")
    return "0 s"


def age(at_us: int, now_us: int) -> str:
    """How long before `now_us` it was."""
    return seconds(max(0, now_us - at_us) // 1_000_000)


def ago(at_us: int, now_us: int) -> str:
    """`3 min 5 s ago`, or `in 3 min 5 s` for an instant to come."""
    if at_us > now_us:
        return f"in {seconds((at_us - now_us) // 1_000_000)}"
    return f"{age(at_us, now_us)} ago"


def _aware(at_us: int) -> datetime:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC)


def iso(at_us: int) -> str:
    """RFC 3339 in UTC, for machines and for `<time datetime>`."""
    return _aware(at_us).strftime("%Y-%m-%dT%H:%M:%SZ")


def instant(at_us: int) -> str:
    """Date and time in UTC for people; the browser rewrites it in the zone of its user."""
    return _aware(at_us).strftime("%Y-%m-%d %H:%M:%S UTC")


def clock(at_us: int) -> str:
    """The time of day in UTC."""
    return _aware(at_us).strftime("%H:%M:%S")
