"""Whether an agent takes new runs, and its drains: the part of its page that says so, and its buttons."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import drains as actions
from server.core.drain_words import count, summary
from server.core.gates import DRAINING, MAINTENANCE, SUSPENDED
from server.core.model import Gate
from server.errors import Invalid
from server.storage import agents, drains, gates
from server.storage.drains import DrainRow
from server.storage.overview import AgentLine
from server.web.pages import serve

OUTCOMES_SHOWN = 50


@dataclass(frozen=True, slots=True)
class AgentDrain:
    """`gate` is the drain that was asked for and stands; `latest` the last drain, also one that the machine began.

    `maintenance` is the gate of either phase, of the agent or of all.
    """

    template: ClassVar[str] = "partials/_agent_drain.html"
    buttons: ClassVar[str] = "partials/_agent_drain_buttons.html"
    settings: ClassVar[str] = "partials/_agent_drain_settings.html"
    gate: Gate | None
    latest: DrainRow | None
    maintenance: Gate | None
    drain_s: int
    on_stop: str

    @property
    def is_stopping(self) -> bool:
        """It drains because its program or machine is being stopped."""
        last = self.latest
        return last is not None and last.origin == drains.STOP and last.state in ("asked", "draining")

    @property
    def is_first(self) -> bool:
        """It keeps the agent from taking runs now."""
        return self.gate is not None or self.maintenance is not None or self.is_stopping

    @property
    def minutes(self) -> str:
        """How long a drain may take, as people type it."""
        return f"{self.drain_s / 60:g}"

    @property
    def says(self) -> str:
        """`3 finished, 1 cut`, of the latest."""
        return summary(count(self.latest.outcomes)) if self.latest is not None else ""

    @property
    def outcomes_unseen(self) -> int:
        """How many runs of the latest drain the page leaves out."""
        if self.latest is None:
            return 0
        return max(len(self.latest.outcomes) - OUTCOMES_SHOWN, 0) + self.latest.outcomes_left


def drain(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> AgentDrain | None:
    """The part of one agent."""
    agent = agents.get(connection, line.id)
    if agent is None:
        return None
    in_force = gates.for_agent(connection, line.id)
    latest = drains.latest(connection, line.id)
    return AgentDrain(
        next((gate for gate in in_force if gate.kind == DRAINING), None),
        latest[0] if latest else None,
        next((gate for gate in in_force if gate.kind in (MAINTENANCE, SUSPENDED)), None),
        agent.drain_s,
        agent.on_stop,
    )


async def begin(request: web.Request) -> web.Response:
    """`POST /agents/{name}/drain`: `minutes` may be empty."""
    name, form = request.match_info["name"], await serve.form(request)
    time_s, reason = _seconds(form.get("minutes", "")), form.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.drain(name, time_s, by, now_us, reason))
    return serve.back(f"/agents/{name}", "agent-drain")


async def end(request: web.Request) -> web.Response:
    """`POST /agents/{name}/undrain`."""
    name = request.match_info["name"]
    await serve.write(request, lambda by, now_us: actions.undrain(name, by, now_us))
    return serve.back(f"/agents/{name}", "agent-undrain")


async def set_stop(request: web.Request) -> web.Response:
    """`POST /agents/{name}/on-stop`: what SIGTERM means, and how long a drain may take."""
    name, form = request.match_info["name"], await serve.form(request)
    time_s, on_stop, reason = _seconds(form.get("minutes", "")), form.get("on_stop"), form.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.configure(name, time_s, on_stop, by, now_us, reason))
    return serve.back(f"/agents/{name}", "agent-stop")


def _seconds(minutes: str) -> int | None:
    if not minutes:
        return None
    try:
        return round(float(minutes.replace(",", ".")) * 60)
    except (ValueError, OverflowError):
        raise Invalid(f"{minutes!r} is no number of minutes.", field="minutes") from None


ROUTES = (
    serve.post("/agents/{name}/drain", begin),
    serve.post("/agents/{name}/undrain", end),
    serve.post("/agents/{name}/on-stop", set_stop),
)
