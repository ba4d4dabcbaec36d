"""A silent agent: the part of its page that says what it may have run, and the button for a machine that is dead."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import silence as actions
from server.core.model import Agent
from server.storage import agents, debts, silence
from server.storage.overview import AgentLine
from server.storage.silence import UnknownLine
from server.web.pages import serve


@dataclass(frozen=True, slots=True)
class Silence:
    """What nobody knows of an agent. `may_declare`: it is silent and was not declared dead yet."""

    template: ClassVar[str] = "partials/_agent_silence.html"
    buttons: ClassVar[str] = ""
    settings: ClassVar[str] = ""
    agent: Agent
    unknown: tuple[UnknownLine, ...]
    runs: int
    owes: bool = False
    """A lost master may have given it something that nobody here knows of."""

    @property
    def occurrences(self) -> int:
        """How many occurrences are unknown, over all its orders."""
        return sum(line.count for line in self.unknown)

    @property
    def may_declare(self) -> bool:
        """Whether the button makes sense."""
        return self.agent.silent_since_us is not None and self.agent.dead_at_us is None


def part(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> Silence | None:
    """The part of one agent; None while it answers and nothing of it is unknown."""
    agent = agents.get(connection, line.id)
    if agent is None:
        return None
    unknown = tuple(silence.unknown(connection, now_us, line.id))
    count = silence.count_unknown_runs(connection, line.id)
    if agent.silent_since_us is None and agent.dead_at_us is None and not unknown and not count:
        return None
    return Silence(agent, unknown, count, debts.of_agent(connection, line.id) is not None)


async def declare_dead(request: web.Request) -> web.Response:
    """`POST /agents/{name}/declare-dead`."""
    name, reason = request.match_info["name"], (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.declare_dead(name, by, now_us, reason))
    return serve.back(f"/agents/{name}", "agent-dead")


async def rerun(request: web.Request) -> web.Response:
    """`POST /unknown/{key}/rerun`: the next attempt of an occurrence that a dead machine may have run."""
    key, reason = request.match_info["key"], (await serve.form(request)).get("reason", "")
    run = await serve.write(request, lambda by, now_us: actions.rerun(key, by, now_us, reason))
    return serve.back(f"/runs/{run.number}")


async def dismiss(request: web.Request) -> web.Response:
    """`POST /unknown/dismiss`: what is unknown of a job at dead machines is let be."""
    fields = await serve.form(request)
    job, reason = fields.get("job", ""), fields.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.dismiss(job, by, now_us, reason))
    return serve.back("/runs?state=unknown", "unknown-dismissed")


ROUTES = (
    serve.post("/agents/{name}/declare-dead", declare_dead),
    serve.post("/unknown/dismiss", dismiss),
    serve.post("/unknown/{key}/rerun", rerun),
)
