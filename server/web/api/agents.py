"""Agents: the list, invitations, what may be done to one. The standby is not among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from server.actions import agents
from server.core.model import HOUR_US, Agent, JoinToken
from server.core.witness_seats import SEAT
from server.enrolment import JoinTokenText
from server.storage import agents as rows
from server.storage import gates, settings
from server.tls import fingerprint, secret_hash
from server.web.api.endpoint import Answer, Call, Endpoint


class AgentLine(msgspec.Struct, frozen=True):
    """An agent with what is known of it now. `connected` is None outside of office."""

    id: str
    name: str
    connected: bool | None
    state: str
    queue: str
    witness: bool
    version: str
    enrolled_at_us: int
    quarantine_reason: str
    start_alone_after_reboot: bool


class Invite(msgspec.Struct, frozen=True):
    """The name that the agent will have."""

    name: str


class AgentSettings(msgspec.Struct, frozen=True):
    """What an administrator decides about an agent, and why."""

    start_alone_after_reboot: bool
    reason: str = ""


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history."""

    reason: str = ""


async def list_agents(call: Call) -> list[AgentLine]:
    """Agents by name, above `after`."""
    after, match, limit = call.query("after"), call.query("match"), call.limit()

    def query(connection: Any) -> list[AgentLine]:
        revision = settings.gate_revision(connection)
        locked = {gate.agent_id for gate in gates.every(connection) if gate.kind == "queue_locked"}
        return [_line(call, agent, locked, revision) for agent in rows.page(connection, after, limit, match)]

    return await call.read(query)


async def show_agent(call: Call) -> AgentLine:
    """One agent."""
    name = call.path("name")

    def query(connection: Any) -> AgentLine:
        agent = agents.find(connection, name)
        locked = {gate.agent_id for gate in gates.for_agent(connection, agent.id) if gate.kind == "queue_locked"}
        return _line(call, agent, locked, settings.gate_revision(connection))

    return await call.read(query)


def _line(call: Call, agent: Agent, locked: set[str], revision: int) -> AgentLine:
    connected = call.site.agent_connected(agent.id)
    state = "quarantined" if agent.quarantined_at_us is not None else "active" if connected else "unreachable"
    wanted = "" in locked or agent.id in locked
    acknowledged = agent.gates_acknowledged >= revision
    queue = ("locked" if wanted else "open") if acknowledged else "not acknowledged"
    return AgentLine(
        id=agent.id,
        name=agent.name,
        connected=connected,
        state=state if connected is not None else "unknown",
        queue=queue,
        witness=agent.witness == SEAT,
        version=agent.version,
        enrolled_at_us=agent.enrolled_at_us,
        quarantine_reason=agent.quarantine_reason,
        start_alone_after_reboot=bool(agent.start_alone_after_reboot),
    )


async def invite(call: Call) -> Answer:
    """Make a join token for one agent; it is in this answer and nowhere else."""
    row, text = await new_join_token(call, call.body.name)
    return await call.write(agents.invite(row, call.by, call.now_us), _invited, 201, secret=text)


async def replace(call: Call) -> Answer:
    """Give an agent's name to a new machine; answers its join token."""
    name = call.path("name")
    row, text = await new_join_token(call, name)
    return await call.write(
        agents.replace(name, row, call.by, call.now_us, call.body.reason), _invited, 201, secret=text
    )


async def new_join_token(call: Call, name: str) -> tuple[JoinToken, Callable[[Any], dict[str, str]]]:
    """The row of a join token for `name`, and what makes its text of the kept answer: the same one for the same key."""
    site = call.site
    hours = int(await call.read(lambda connection: settings.get(connection, "join_token_hours", "24")))
    secret = site.derive_secret("join", call.by.name, call.key)
    token_id = secret_hash(f"join id {secret}")[:16]
    row = JoinToken(
        id=token_id,
        secret_hash=secret_hash(secret),
        name=name,
        created_by=call.by.name,
        created_at_us=call.now_us,
        expires_at_us=call.now_us + hours * HOUR_US,
    )
    roster = await site.refresh_roster()
    addresses = [f"{node.address}:{node.cluster_port}" for node in roster.values()]
    mark = fingerprint(site.authority_pem)

    def text(kept: Any) -> dict[str, str]:
        expires_at_s = int(kept["expires_at_us"]) // 1_000_000
        return {"token": JoinTokenText(addresses, mark, f"{token_id}.{secret}", expires_at_s).encode()}

    return row, text


def _invited(token: JoinToken) -> dict[str, Any]:
    return {"name": token.name, "expires_at_us": token.expires_at_us}


async def remove(call: Call) -> Answer:
    """Remove an agent."""
    name = call.path("name")
    change = agents.remove(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "removed": True})


async def accept_restored(call: Call) -> Answer:
    """End the quarantine of an agent that was restored from a snapshot."""
    name = call.path("name")
    change = agents.accept_restored(name, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda _: {"name": name, "accepted": True})


async def put_settings(call: Call) -> Answer:
    """Change an agent's settings; it holds once the agent has it."""
    name = call.path("name")
    allowed = call.body.start_alone_after_reboot
    change = agents.set_start_alone(name, allowed, call.by, call.now_us, call.body.reason)
    return await call.write(
        change, lambda agent: {"name": name, "start_alone_after_reboot": bool(agent.start_alone_after_reboot)}
    )


ENDPOINTS = (
    Endpoint("GET", "/api/v1/agents", list_agents, "Agents", answer=list[AgentLine], query=("after", "limit", "match")),
    Endpoint("POST", "/api/v1/agents", invite, "Invite an agent: a join token", body=Invite, status=201),
    Endpoint("GET", "/api/v1/agents/{name}", show_agent, "One agent", answer=AgentLine),
    Endpoint("PUT", "/api/v1/agents/{name}", put_settings, "Change an agent's settings", body=AgentSettings),
    Endpoint("DELETE", "/api/v1/agents/{name}", remove, "Remove an agent", query=("reason",)),
    Endpoint("POST", "/api/v1/agents/{name}/replace", replace, "Replace a machine", body=Reason, status=201),
    Endpoint("POST", "/api/v1/agents/{name}/accept-restored", accept_restored, "End a quarantine", body=Reason),
)
