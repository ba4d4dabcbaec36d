"""Stop and start the scheduler, lock and unlock queues, and the gates in force."""

from __future__ import annotations

import msgspec

from server.actions import gates, maintenance
from server.actions.gates import GateSummary
from server.core import maintenance as rule
from server.core.model import Gate
from server.errors import Invalid
from server.storage import gates as rows
from server.web.api.endpoint import Answer, Call, Endpoint, Handle


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history and for those who meet the gate."""

    reason: str = ""


class Phase(msgspec.Struct, frozen=True):
    """draining (what falls due waits), suspended (it is missed) or off; and why. `kill`: what runs there is killed."""

    phase: str
    reason: str = ""
    kill: bool = False


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
    """Put one agent into a phase of maintenance, or end it (UIP-10)."""
    scope, body = rule.AGENT + call.path("name"), call.body
    if body.phase == "off":
        return await call.write(maintenance.end(scope, call.by, call.now_us, body.reason), _gates)
    if body.phase not in (rule.Phase.DRAINING, rule.Phase.SUSPENDED):
        raise Invalid("The phase is draining, suspended or off.", field="phase")
    running = rule.Running.KILL if body.kill else rule.Running.FINISH
    wish = rule.Wish(phase=body.phase, policy=rule.Policy(running), force=body.phase == "suspended", reason=body.reason)
    return await call.write(maintenance.start(wish, scope, call.by, call.now_us), _gates)


def _gates(changed: maintenance.Changed) -> GateSummary:
    return changed.gates


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
