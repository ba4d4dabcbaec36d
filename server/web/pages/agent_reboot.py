"""What an agent does after a reboot of its machine: the part of its page that says so, and its button."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import agents as actions
from server.storage import agents
from server.storage.overview import AgentLine
from server.web.pages import serve


@dataclass(frozen=True, slots=True)
class Reboot:
    """Whether standing orders begin after a reboot before a master has answered, as an administrator decided."""

    template: ClassVar[str] = ""
    buttons: ClassVar[str] = ""
    settings: ClassVar[str] = "partials/_agent_reboot.html"
    alone: bool


def reboot(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> Reboot | None:
    """The part of one agent."""
    agent = agents.get(connection, line.id)
    return Reboot(bool(agent.start_alone_after_reboot)) if agent is not None else None


async def change(request: web.Request) -> web.Response:
    """`POST /agents/{name}/start-alone`: `allowed` is 1 or 0."""
    name, form = request.match_info["name"], await serve.form(request)
    allowed, reason = form.get("allowed") == "1", form.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.set_start_alone(name, allowed, by, now_us, reason))
    return serve.back(f"/agents/{name}", "agent-reboot")


ROUTES = (serve.post("/agents/{name}/start-alone", change),)
