"""What people say about a calendar, and what of it is wrong. Pure."""

from __future__ import annotations

import re

import msgspec

from server.core.calendar_days import wrong_rules

KINDS = ("free", "list")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class CalendarSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about a calendar.

    kind: `free` marks free days, the others are working days; `list` marks the days on it. days: lines with the rules
    of what is marked (core.calendar_days); without: of what is never marked, such as a Saturday that is worked on.
    country and subdivision, as `DE` and `BY`: its public holidays are marked too, as far as they are known.
    """

    name: str
    kind: str = "free"
    description: str = ""
    country: str = ""
    subdivision: str = ""
    days: list[str] = []
    without: list[str] = []


def wrong(spec: CalendarSpec) -> dict[str, str]:
    """What is not right, by field; empty when all is. Whether the country is known is not decided here."""
    found: dict[str, str] = {}
    if not NAME.match(spec.name):
        found["name"] = "must begin with a letter or digit and have up to 63 letters, digits, . _ -"
    if spec.kind not in KINDS:
        found["kind"] = f"must be one of {', '.join(KINDS)}"
    if spec.subdivision and not spec.country:
        found["subdivision"] = "needs a country"
    for field in ("days", "without"):
        if text := wrong_rules(getattr(spec, field)):
            found[field] = text
    if not spec.days and not spec.country and "days" not in found:
        found["days"] = "must name days to mark, such as `Saturday`, unless there is a country"
    return found
