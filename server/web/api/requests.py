"""What agents have not acknowledged, and taking it back (JS7-6)."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import agents, requests
from server.core.agent_requests import Request, why_it_waits
from server.core.model import Agent
from server.ports.numbers import Whole
from server.site import Site
from server.storage import requests as rows
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class RequestView(msgspec.Struct, frozen=True):
    """One request. `what` goes on from "It shall …"; `waits` says why; `unreachable_since_us` as this node saw it."""

    agent: str
    kind: str
    what: str
    since_us: int | None
    by: str
    reason: str
    run: int | None
    waits: str
    unreachable_since_us: int | None
    can_withdraw: bool


class Requests(msgspec.Struct, frozen=True):
    """Requests by agent, the oldest first. `more_after`: ask again with it as `after`; "" at the end."""

    requests: list[RequestView]
    more_after: str


class Withdrawal(msgspec.Struct, frozen=True):
    """What is taken back: lock, drain, maintain, cancel or kill; the last two with the number of the run."""

    kind: str
    run: Whole | None = None
    reason: str = ""


def views(site: Site, agent: Agent, found: list[Request]) -> list[RequestView]:
    """The requests of one agent, with what this node knows of its connection."""
    connected = bool(site.agent_connected(agent.id))
    silent = None if connected else agent.silent_since_us or site.agent_silent_since_us(agent.id)
    quarantined = agent.quarantine_reason if agent.quarantined_at_us is not None else ""
    waits = why_it_waits(connected, quarantined, silent, agent.ticket)
    return [
        RequestView(
            agent=agent.name,
            kind=one.kind,
            what=one.what,
            since_us=one.since_us,
            by=one.by,
            reason=one.reason,
            run=one.run,
            waits=waits,
            unreachable_since_us=silent,
            can_withdraw=one.can_withdraw,
        )
        for one in found
    ]


async def list_requests(call: Call) -> Requests:
    """Of the agent `agent`, or of all by name above `after`; `limit` counts agents."""
    name, after, limit = call.query("agent"), call.query("after"), call.limit()

    def query(connection: sqlite3.Connection) -> tuple[list[tuple[Agent, list[Request]]], str]:
        if not name:
            return rows.page(connection, after, limit)
        agent = agents.find(connection, name)
        return [(agent, rows.of_agent(connection, agent))], ""

    found, more_after = await call.read(query)
    return Requests([view for agent, asked in found for view in views(call.site, agent, asked)], more_after)


async def withdraw(call: Call) -> Answer:
    """Take back one request."""
    name, body = call.path("name"), call.body
    change = requests.withdraw(name, body.kind, body.run, call.by, call.now_us, body.reason)
    return await call.write(change, lambda _: {"agent": name, "kind": body.kind, "run": body.run, "withdrawn": True})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/agents/requests",
        list_requests,
        "What agents have not acknowledged",
        answer=Requests,
        query=("agent", "after", "limit"),
    ),
    Endpoint(
        "POST",
        "/api/v1/agents/{name}/requests/withdraw",
        withdraw,
        "Take a request back",
        answer=shape(agent=str, kind=str, run=int | None, withdrawn=bool),
        body=Withdrawal,
    ),
)
