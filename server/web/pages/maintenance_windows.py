"""Planned maintenance windows: what is planned, a form for another, and what became of the last (BEY-10)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from aiohttp import web

from server.actions import maintenance_windows as actions
from server.actions.change import require
from server.core.maintenance import AGENT
from server.core.maintenance_windows import Window, WindowSpec
from server.core.model import SECOND_US
from server.errors import Invalid, UnderstudyError
from server.storage import maintenance_windows
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import require_principal

HERE = "/maintenance/windows"
EMPTY = {
    "title": "", "agent": "", "start": "", "expression": "", "zone": "UTC", "minutes": "60", "lead": "60", "reason": "",
}  # fmt: skip
FIELDS = {"start_us": "start", "duration_s": "minutes", "lead_s": "lead", "scope": "agent"}
"""The form's field for a field of the spec."""


@dataclass(frozen=True, slots=True)
class WindowsPage:
    """The list and the form: `values` as typed, `errors` by field."""

    template: ClassVar[str] = "pages/maintenance_window_list.html"
    frame: Frame
    windows: tuple[Window, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)


def spec_from(values: Mapping[str, str]) -> WindowSpec:
    """What the form says. Raises Invalid for a time or a number that is none."""
    wrong, start_us, numbers = {}, None, {"minutes": 0, "lead": 0}
    for name in numbers:
        if values[name].isdecimal() and len(values[name]) < 8:
            numbers[name] = int(values[name])
        else:
            wrong[name] = f"{values[name] or 'Nothing'} is not a whole number of minutes."
    if values["start"]:
        try:
            at = datetime.fromisoformat(values["start"])
            start_us = int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) * SECOND_US
        except (ValueError, OverflowError):
            wrong["start"] = f"{values['start']} is no time. Write it as 2026-11-22T22:00, in UTC."
    if wrong:
        raise Invalid(" ".join(wrong.values()), fields=wrong)
    return WindowSpec(
        title=values["title"],
        scope=AGENT + values["agent"] if values["agent"] else "",
        start_us=start_us,
        expression=values["expression"],
        zone=values["zone"],
        duration_s=numbers["minutes"] * 60,
        lead_s=numbers["lead"] * 60,
    )


async def _page(request: web.Request) -> WindowsPage:
    require(require_principal(request), "maintenance.read")
    frame, found = await serve.load(request, "Planned maintenance", maintenance_windows.page)
    return WindowsPage(frame, tuple(found))


async def show(request: web.Request) -> web.Response:
    """`GET /maintenance/windows`."""
    return serve.html(await _page(request))


async def add(request: web.Request) -> web.Response:
    """`POST /maintenance/windows`: plans one, or shows the form again with what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    try:
        spec, reason = spec_from(values), values["reason"]
        await serve.write(request, lambda by, now_us: actions.add(spec, by, now_us, reason))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        page = await _page(request)
        errors = {FIELDS.get(name, name): text for name, text in error.fields.items()}
        return serve.html(WindowsPage(page.frame.with_problem(str(error)), page.windows, values, errors), 422)
    return serve.back(HERE, "window-planned")


async def remove(request: web.Request) -> web.Response:
    """`POST /maintenance/windows/{id}/remove`."""
    number, reason = int(request.match_info["id"]), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.remove(number, by, now_us, reason))
    return serve.back(HERE, "window-removed")


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, add),
    serve.post(HERE + r"/{id:\d+}/remove", remove),
)
