"""Drains of agents: ask for one, end it, and what became of each run."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import agents, drains
from server.core.drain_words import count
from server.storage import drains as rows
from server.storage.drains import DrainRow
from server.web.api.endpoint import Answer, Call, Endpoint


class DrainWish(msgspec.Struct, frozen=True):
    """For how many seconds runs may go on, None for as long as the agent's setting says, and why."""

    time_s: int | None = None
    reason: str = ""


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history."""

    reason: str = ""


class RunOutcome(msgspec.Struct, frozen=True):
    """What became of one run: finished, cut, handed over, interrupted, running or not started."""

    key: str
    job: str
    outcome: str


class DrainView(msgspec.Struct, frozen=True):
    """One drain. `origin`: request or stop. `state`: asked, draining, drained or withdrawn. `counts` by outcome."""

    agent: str
    asked_at_us: int
    origin: str
    asked_by: str
    reason: str
    limit_s: int
    state: str
    began_at_us: int | None
    ended_at_us: int | None
    counts: dict[str, int]
    outcomes: list[RunOutcome]
    outcomes_left: int


def view(row: DrainRow, agent: str) -> DrainView:
    """The row with the agent's name."""
    return DrainView(
        agent=agent,
        asked_at_us=row.asked_at_us,
        origin=row.origin,
        asked_by=row.asked_by,
        reason=row.reason,
        limit_s=row.limit_s,
        state=row.state,
        began_at_us=row.began_at_us,
        ended_at_us=row.ended_at_us,
        counts=count(row.outcomes),
        outcomes=[RunOutcome(one.key, one.job_name, one.outcome) for one in row.outcomes],
        outcomes_left=row.outcomes_left,
    )


async def drain(call: Call) -> Answer:
    """Let an agent take no new runs."""
    name = call.path("name")
    change = drains.drain(name, call.body.time_s, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda row: view(row, name))


async def undrain(call: Call) -> Answer:
    """Let a drained agent work again."""
    name = call.path("name")
    change = drains.undrain(name, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda row: view(row, name))


async def list_drains(call: Call) -> list[DrainView]:
    """The latest drains of an agent, the newest first; at most 20 are kept."""
    name, limit = call.path("name"), call.limit()

    def query(connection: sqlite3.Connection) -> list[DrainView]:
        agent = agents.find(connection, name)
        return [view(row, name) for row in rows.latest(connection, agent.id, limit)]

    return await call.read(query)


ENDPOINTS = (
    Endpoint("POST", "/api/v1/agents/{name}/drain", drain, "Drain an agent", body=DrainWish, answer=DrainView),
    Endpoint("POST", "/api/v1/agents/{name}/undrain", undrain, "End a drain", body=Reason, answer=DrainView),
    Endpoint(
        "GET",
        "/api/v1/agents/{name}/drains",
        list_drains,
        "Drains of an agent, newest first",
        answer=list[DrainView],
        query=("limit",),
    ),
)
