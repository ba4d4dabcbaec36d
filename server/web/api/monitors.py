"""Event monitors, the events that fired, and firing one (SKY-16)."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

import msgspec

from server.actions import monitors
from server.actions.monitors import Fired, MonitorSpec
from server.core.monitors import Monitor
from server.ports.numbers import NUMBER_MAX
from server.site import Site
from server.storage import agents, events
from server.storage import monitors as rows
from server.storage.events import EventLine
from server.storage.monitors import MonitorLine
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape


class MonitorView(msgspec.Struct, frozen=True):
    """A monitor as it is. `held_version` is what its agent has acknowledged; `agent_knows` is false when the connected
    agent is of a release without monitors, null while it is not connected. `problem`: what it cannot watch.
    """

    id: int
    spec: MonitorSpec
    version: int
    held_version: int
    agent_knows: bool | None
    problem: str
    created_at_us: int
    updated_at_us: int


class MonitorUpdate(msgspec.Struct, frozen=True):
    """New properties; with `version` it is refused when the monitor was changed meanwhile."""

    spec: MonitorSpec
    version: int | None = None


class Enabled(msgspec.Struct, frozen=True):
    """Whether a monitor watches, and why."""

    enabled: bool
    reason: str = ""


class Variables(msgspec.Struct, frozen=True):
    """What reaches the jobs as `UNDERSTUDY_EVENT_<NAME>`."""

    variables: dict[str, str] = {}


class FiredRun(msgspec.Struct, frozen=True):
    """A run that an event submitted. `reason` says why it waits."""

    run: int
    key: str
    state: str
    reason: str


class FiredEvent(msgspec.Struct, frozen=True):
    """A manual event that is durable, with its runs."""

    event: int
    token: str
    runs: list[FiredRun]


async def list_monitors(call: Call) -> list[MonitorLine]:
    """Monitors by name, above `after`; `match` is a part of the name."""
    after, match, limit = call.query("after"), call.query("match"), call.limit()
    return await call.read(lambda connection: rows.lines(connection, after, limit, match))


async def create_monitor(call: Call) -> Answer:
    """Add a monitor: its agent watches as soon as it has acknowledged it."""
    return await call.write(monitors.create(call.body, call.by, call.now_us), _made, 201)


async def show_monitor(call: Call) -> MonitorView:
    """One monitor."""
    name = call.path("name")
    return await call.read(lambda connection: view(connection, call.site, monitors.find(connection, name)))


async def update_monitor(call: Call) -> Answer:
    """Change a monitor. With another agent or kind it begins anew."""
    change = monitors.update(call.path("name"), call.body.spec, call.by, call.now_us, call.body.version)
    return await call.write(change, _made)


async def delete_monitor(call: Call) -> Answer:
    """Delete a monitor; its events stay."""
    name = call.path("name")
    change = monitors.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def enable_monitor(call: Call) -> Answer:
    """Enable or disable a monitor. What happens while it is disabled is not told later."""
    name, body = call.path("name"), call.body
    make = monitors.enable if body.enabled else monitors.disable
    change = make(name, call.by, call.now_us, body.reason)
    return await call.write(change, lambda changed: {"name": name, "enabled": body.enabled, "changed": changed})


async def fire_event(call: Call) -> Answer:
    """Fire a manual event. The event comes from the Idempotency-Key: twice is one event."""
    request_id = hashlib.sha256(f"{call.by.name}\n{call.key}".encode()).hexdigest()[:32]
    change = monitors.fire(call.path("name"), call.body.variables, request_id, call.by, call.now_us)
    return await call.write(change, _fired, 202)


async def list_events(call: Call) -> list[EventLine]:
    """Events that fired, newest first, below id `after`; of one monitor by name."""
    after = call.query_number("after", 0, 0, NUMBER_MAX) or None
    monitor, limit = call.query("monitor"), call.limit()

    def query(connection: sqlite3.Connection) -> list[EventLine]:
        return events.page(connection, monitors.find(connection, monitor).id if monitor else None, after, limit)

    return await call.read(query)


def view(connection: sqlite3.Connection, site: Site, monitor: Monitor) -> MonitorView:
    """A monitor for people and programs."""
    agent = agents.get(connection, monitor.agent_id)
    spec = MonitorSpec(
        name=monitor.name,
        agent=agent.name if agent is not None else monitor.agent_id,
        kind=monitor.kind,
        settings=monitor.settings,
        jobs=[job.name for job in rows.jobs_of(connection, monitor.id)],
        enabled=monitor.enabled,
        description=monitor.description,
    )
    knows = agent_knows(site, monitor.agent_id)
    held, problem = monitor.acknowledged_version, monitor.problem
    made, changed = monitor.created_at_us, monitor.updated_at_us
    return MonitorView(monitor.id, spec, monitor.version, held, knows, problem, made, changed)


def agent_knows(site: Site, agent_id: str) -> bool | None:
    """Whether the agent's release knows monitors; None while it is not connected."""
    link = site.office.fleet.contact(agent_id) if site.office is not None else None
    return None if link is None else link.hello.protocol >= 2


def _made(monitor: Monitor) -> dict[str, Any]:
    return {"id": monitor.id, "name": monitor.name, "version": monitor.version}


def _fired(fired: Fired) -> FiredEvent:
    runs = [FiredRun(run.number, run.key, run.state, run.reason) for run in fired.runs]
    return FiredEvent(fired.event.id, fired.event.token, runs)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/monitors",
        list_monitors,
        "Event monitors by name",
        answer=list[MonitorLine],
        query=("after", "limit", "match"),
    ),
    Endpoint(
        "POST",
        "/api/v1/monitors",
        create_monitor,
        "Add an event monitor",
        answer=shape(id=int, name=str, version=int),
        body=MonitorSpec,
        status=201,
    ),
    Endpoint("GET", "/api/v1/monitors/{name}", show_monitor, "One event monitor", answer=MonitorView),
    Endpoint(
        "PUT",
        "/api/v1/monitors/{name}",
        update_monitor,
        "Change an event monitor",
        answer=shape(id=int, name=str, version=int),
        body=MonitorUpdate,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/monitors/{name}",
        delete_monitor,
        "Delete an event monitor",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
    Endpoint(
        "PUT",
        "/api/v1/monitors/{name}/enabled",
        enable_monitor,
        "Enable or disable a monitor",
        answer=shape(name=str, enabled=bool, changed=bool),
        body=Enabled,
    ),
    Endpoint(
        "POST",
        "/api/v1/monitors/{name}/fire",
        fire_event,
        "Fire a manual event",
        body=Variables,
        answer=FiredEvent,
        status=202,
    ),
    Endpoint(
        "GET",
        "/api/v1/events/history",
        list_events,
        "Events that fired, newest first",
        answer=list[EventLine],
        query=("monitor", AFTER, "limit"),
    ),
)
