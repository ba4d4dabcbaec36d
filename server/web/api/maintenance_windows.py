"""Planned maintenance windows: list, add, remove (BEY-10)."""

from __future__ import annotations

from server.actions import maintenance_windows as actions
from server.core.maintenance_windows import Window, WindowSpec
from server.storage import maintenance_windows as rows
from server.web.api.endpoint import Answer, Call, Endpoint


class WindowAdd(WindowSpec, frozen=True, kw_only=True):
    """What is planned, and why."""

    reason: str = ""


async def list_windows(call: Call) -> list[Window]:
    """Those that are coming, the next first; then the last that are over."""
    return await call.read(rows.page)


async def add_window(call: Call) -> Answer:
    """Plan one: once from `start_us`, or again and again by an expression."""
    values = {name: getattr(call.body, name) for name in WindowSpec.__struct_fields__}
    return await call.write(actions.add(WindowSpec(**values), call.by, call.now_us, call.body.reason), status=201)


async def remove_window(call: Call) -> Answer:
    """Plan it no longer; a maintenance that it has begun goes on."""
    return await call.write(actions.remove(call.number("id"), call.by, call.now_us, call.query("reason")))


_W = "/api/v1/maintenance/windows"
ENDPOINTS = (
    Endpoint("GET", _W, list_windows, "Planned maintenance windows", answer=list[Window]),
    Endpoint("POST", _W, add_window, "Plan a maintenance window", body=WindowAdd, answer=Window, status=201),
    Endpoint("DELETE", _W + "/{id}", remove_window, "Plan a window no longer", answer=Window, query=("reason",)),
)
