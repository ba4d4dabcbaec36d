"""Exceptions of single occurrences of a job: listed, made, taken back."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from server.actions import exceptions, jobs
from server.actions.exceptions import ExceptionSpec
from server.ports.numbers import NUMBER_MAX
from server.storage import agents, orders
from server.storage import exceptions as rows
from server.storage.exceptions import ExceptionLine, ExceptionRow
from server.web.api.endpoint import Answer, Call, Endpoint, number


class ExceptionBody(msgspec.Struct, frozen=True, kw_only=True):
    """See `server.actions.exceptions.ExceptionSpec`; and why, for the audit history."""

    instant_us: int
    skip: bool = False
    move_to_us: int | None = None
    command: str | None = None
    environment: dict[str, str] | None = None
    schedule_id: int | None = None
    reason: str = ""


class Made(msgspec.Struct, frozen=True):
    """The exception. Until `agent` has its order's new version it goes by the one that it has, until `known_until_us`.

    `agent_connected`: it hears of it at once. `known_until_us` is None when it has no version yet.
    """

    exception: ExceptionRow
    agent: str
    agent_connected: bool
    known_until_us: int | None


async def list_exceptions(call: Call) -> list[ExceptionLine]:
    """Exceptions of a job by instant: those to come and of the last day, or with `all=1` all that there were."""
    name, since_us = call.path("name"), 0 if call.query("all") == "1" else call.now_us - 86_400_000_000
    return await call.read(lambda connection: rows.lines(connection, jobs.find(connection, name).id, since_us))


async def put_exception(call: Call) -> Answer:
    """Skip, move or change one occurrence."""
    name, body = call.path("name"), call.body
    spec = ExceptionSpec(
        instant_us=body.instant_us,
        skip=body.skip,
        move_to_us=body.move_to_us,
        command=body.command,
        environment=body.environment,
        schedule_id=body.schedule_id,
    )
    change = exceptions.put(name, spec, call.by, call.now_us, body.reason)
    return await call.write(lambda t: _made(call, t.connection, change(t)), status=201)


def _made(call: Call, connection: sqlite3.Connection, made: ExceptionRow) -> Made:
    held = [o for o in orders.of_job(connection, made.job_id) if o.schedule_id == made.schedule_id]
    agent = agents.get(connection, held[0].agent_id) if held else None
    known = [line for line in orders.lines_of_job(connection, made.job_id) if line.schedule_id == made.schedule_id]
    until_us = max((line.acknowledged_until_us for line in known), default=0) or None
    connected = agent is not None and bool(call.site.agent_connected(agent.id))
    return Made(made, agent.name if agent is not None else "", connected, until_us)


async def remove_exception(call: Call) -> Answer:
    """Take an exception back: the occurrence is due at its own instant again."""
    name, schedule = call.path("name"), call.query_number("schedule_id", 0, 0, NUMBER_MAX) or None
    instant_us = call.query_number("instant_us", 0, 0, NUMBER_MAX)
    change: Any = exceptions.remove(name, instant_us, call.by, call.now_us, schedule, call.query("reason"))
    return await call.write(change)


_PATH = "/api/v1/jobs/{name}/exceptions"
ENDPOINTS = (
    Endpoint("GET", _PATH, list_exceptions, "Its exceptions", answer=list[ExceptionLine], query=("all",)),
    Endpoint(
        "POST", _PATH, put_exception, "Skip, move or change one occurrence", body=ExceptionBody, answer=Made, status=201
    ),
    Endpoint(
        "DELETE",
        _PATH,
        remove_exception,
        "Take an exception back",
        answer=ExceptionRow,
        query=(number("instant_us"), number("schedule_id"), "reason"),
    ),
)
