"""The groups that an agent serves and how many runs they may fill it up to (SMA-6): a part of its page."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import groups as actions
from server.errors import Invalid
from server.ports.numbers import is_number
from server.storage import agents, groups
from server.storage.overview import AgentLine
from server.web.pages import serve


@dataclass(frozen=True, slots=True)
class Deployment:
    """`exists`: there is any group at all. `told`: the agent has persisted what is said here."""

    template: ClassVar[str] = ""
    buttons: ClassVar[str] = ""
    settings: ClassVar[str] = "partials/_agent_groups.html"
    groups: tuple[str, ...]
    exists: bool
    told: bool
    capacity: int


def deployment(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> Deployment | None:
    """The part of one agent; None while there are no groups."""
    agent, every = agents.get(connection, line.id), groups.names(connection)
    if agent is None or not every:
        return None
    serves = tuple(group.name for group in groups.of_agent(connection, line.id))
    return Deployment(serves, bool(every), agent.deployment_kept >= agent.deployment, agent.capacity)


async def set_capacity(request: web.Request) -> web.Response:
    """`POST /agents/{name}/capacity`."""
    name, text = request.match_info["name"], (await serve.form(request)).get("capacity", "")
    if not is_number(text):
        raise Invalid(f"{text or 'Nothing'} is no number of runs. Type 0 for no bound.", field="capacity")
    await serve.write(request, lambda by, now_us: actions.set_capacity(name, int(text), by, now_us))
    return serve.back(f"/agents/{name}", "agent-capacity")


ROUTES = (serve.post("/agents/{name}/capacity", set_capacity),)
