"""What agents have not acknowledged (JS7-6): a section of Agents, a part of an agent's page, and taking it back."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import requests as actions
from server.core.agent_requests import Request, why_it_waits
from server.core.model import Agent
from server.errors import Invalid
from server.ports.numbers import is_number
from server.site import Site
from server.storage import agents
from server.storage import requests as rows
from server.storage.overview import AgentLine
from server.web.pages import serve

AGENTS_SHOWN = 50


@dataclass(frozen=True, slots=True)
class Pending:
    """The requests of one agent. `waits` says why, since `unreachable_since_us` where this node saw it go."""

    agent: str
    requests: tuple[Request, ...]
    waits: str
    unreachable_since_us: int | None = None


@dataclass(frozen=True, slots=True)
class PendingList:
    """Of all agents, at most `AGENTS_SHOWN`; `more_after` is not empty when there are more."""

    agents: tuple[Pending, ...]
    more_after: str = ""


@dataclass(frozen=True, slots=True)
class AgentRequests:
    """The part of an agent's page; who is connected says the page."""

    template: ClassVar[str] = "partials/_agent_requests.html"
    buttons: ClassVar[str] = ""
    settings: ClassVar[str] = ""
    line: AgentLine
    requests: tuple[Request, ...]
    silent_since_us: int | None = None

    def pending(self, connected: bool, silent_since_us: int | None) -> Pending:
        """With why it waits. `silent_since_us` is what this node knows before a row says it."""
        line = self.line
        quarantine = line.quarantine_reason if line.quarantined_at_us is not None else ""
        silent = None if connected else self.silent_since_us or silent_since_us
        return Pending(line.name, self.requests, why_it_waits(connected, quarantine, silent, line.ticket), silent)


def requests(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> AgentRequests | None:
    """The part of one agent; nothing when it has acknowledged everything."""
    agent = agents.get(connection, line.id)
    if agent is None:
        return None
    found = rows.of_agent(connection, agent)
    return AgentRequests(line, tuple(found), agent.silent_since_us) if found else None


def read(connection: sqlite3.Connection) -> tuple[list[tuple[Agent, list[Request]]], str]:
    """A query for the section of Agents."""
    return rows.page(connection, "", AGENTS_SHOWN)


def pending_list(site: Site, found: tuple[list[tuple[Agent, list[Request]]], str]) -> PendingList:
    """The section, with what this node knows of the connections."""
    return PendingList(tuple(_pending(site, agent, asked) for agent, asked in found[0]), found[1])


def _pending(site: Site, agent: Agent, asked: list[Request]) -> Pending:
    connected = bool(site.agent_connected(agent.id))
    silent = None if connected else agent.silent_since_us or site.agent_silent_since_us(agent.id)
    quarantine = agent.quarantine_reason if agent.quarantined_at_us is not None else ""
    return Pending(agent.name, tuple(asked), why_it_waits(connected, quarantine, silent, agent.ticket), silent)


async def withdraw(request: web.Request) -> web.Response:
    """`POST /agents/{name}/withdraw`: `kind`, and `run` for one to end a run."""
    name, form = request.match_info["name"], await serve.form(request)
    number = form.get("run", "")
    if number and not is_number(number):
        raise Invalid(f"{number!r} is no number of a run.", field="run")
    run, kind, why = (int(number) if number else None), form.get("kind", ""), form.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.withdraw(name, kind, run, by, now_us, why))
    return serve.back(f"/agents/{name}", "request-withdrawn")


ROUTES = (serve.post("/agents/{name}/withdraw", withdraw),)
