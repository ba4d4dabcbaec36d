"""Settings that both nodes share."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import settings
from server.storage import settings as rows
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class Value(msgspec.Struct, frozen=True):
    """A value, as text."""

    value: str


class SettingLine(msgspec.Struct, frozen=True):
    """A setting, what it is now, and its bounds."""

    name: str
    value: str
    default: str
    least: int
    most: int
    sentence: str


async def list_settings(call: Call) -> list[SettingLine]:
    """All settings that people may change."""
    return await call.read(_lines)


def _lines(connection: sqlite3.Connection) -> list[SettingLine]:
    lines = []
    for name, known in settings.KNOWN.items():
        value = rows.get(connection, name, str(known.default))
        lines.append(SettingLine(name, value, str(known.default), known.least, known.most, known.sentence))
    return lines


async def put_setting(call: Call) -> Answer:
    """Change one setting."""
    name, value = call.path("name"), call.body.value
    change = settings.put(name, value, call.by, call.now_us)
    return await call.write(change, lambda before: {"name": name, "value": value, "before": before})


ENDPOINTS = (
    Endpoint("GET", "/api/v1/settings", list_settings, "Shared settings", answer=list[SettingLine]),
    Endpoint(
        "PUT",
        "/api/v1/settings/{name}",
        put_setting,
        "Change a shared setting",
        answer=shape(name=str, value=str, before=str | None),
        body=Value,
    ),
)
