"""Stop and start the scheduler, lock and unlock queues, and the gates in force."""

from __future__ import annotations

import msgspec

from server.actions import gates
from server.actions.gates import GateSummary
from server.core.gates import MAINTENANCE, SUSPENDED
from server.core.model import Gate
from server.errors import Invalid
from server.storage import gates as rows
from server.web.api.endpoint import Answer, Call, Endpoint, Handle


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history and for those who meet the gate."""

    reason: str = ""


class Phase(msgspec.Struct, frozen=True):
    """draining (what falls due waits), suspended (it is missed) or off; and why."""

    phase: str
    reason: str = ""


async def start(call: Call) -> Answer:
    """Start the scheduler."""
    return await call.write(gates.start_scheduler(call.by, call.now_us, call.body.reason))


async def stop(call: Call) -> Answer:
    """Stop the scheduler."""
    return await call.write(gates.stop_scheduler(call.by, call.now_us, call.body.reason))


async def lock_all(call: Call) -> Answer:
    """Lock all agent job queues."""
    return await call.write(gates.lock_all(call.by, call.now_us, call.body.reason))


async def unlock_all(call: Call) -> Answer:
    """Unlock all agent job queues."""
    return await call.write(gates.unlock_all(call.by, call.now_us, call.body.reason))


async def lock(call: Call) -> Answer:
    """Lock one agent's queue."""
    return await call.write(gates.lock(call.path("name"), call.by, call.now_us, call.body.reason))


async def unlock(call: Call) -> Answer:
    """Unlock one agent's queue."""
    return await call.write(gates.unlock(call.path("name"), call.by, call.now_us, call.body.reason))


async def maintain(call: Call) -> Answer:
    """Put one agent into a phase of maintenance, or end it."""
    name, body = call.path("name"), call.body
    if body.phase == "off":
        return await call.write(gates.end_maintenance(name, call.by, call.now_us, body.reason))
    phase = {"draining": MAINTENANCE, "suspended": SUSPENDED}.get(body.phase)
    if phase is None:
        raise Invalid("The phase is draining, suspended or off.", field="phase")
    return await call.write(gates.maintain(phase, name, call.by, call.now_us, body.reason))


async def list_gates(call: Call) -> list[Gate]:
    """Every gate in force."""
    return await call.read(rows.every)


def _post(path: str, handle: Handle, summary: str) -> Endpoint:
    return Endpoint("POST", path, handle, summary, body=Reason, answer=GateSummary)


ENDPOINTS = (
    _post("/api/v1/scheduler/start", start, "Start the scheduler"),
    _post("/api/v1/scheduler/stop", stop, "Stop the scheduler"),
    _post("/api/v1/agents/lock", lock_all, "Lock all agent job queues"),
    _post("/api/v1/agents/unlock", unlock_all, "Unlock all agent job queues"),
    _post("/api/v1/agents/{name}/lock", lock, "Lock the queue of one agent"),
    _post("/api/v1/agents/{name}/unlock", unlock, "Unlock the queue of one agent"),
    Endpoint(
        "POST",
        "/api/v1/agents/{name}/maintenance",
        maintain,
        "Maintenance of one agent",
        body=Phase,
        answer=GateSummary,
    ),
    Endpoint("GET", "/api/v1/gates", list_gates, "Gates in force", answer=list[Gate]),
)
