"""Agents: the list, invitations, what may be done to one. The standby is not among them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from server.actions import agents, drains
from server.actions.change import both
from server.core.gates import DRAINING, QUEUE_LOCKED, REASONS, by_agent, in_the_way, reason, standing, takes_runs
from server.core.model import HOUR_US, Agent, Gate, JoinToken
from server.core.witness_seats import SEAT
from server.storage import agents as rows
from server.storage import drains as drain_rows
from server.storage import gates, groups, settings
from server.trust.enrolment import JoinTokenText
from server.trust.tls import fingerprint, secret_hash
from server.web.api.drains import DrainView, view
from server.web.api.endpoint import Answer, Call, Endpoint, shape


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
    drain_s: int
    on_stop: str
    takes_runs: bool
    waits_for: str
    silent_since_us: int | None
    dead_at_us: int | None


class SpoolView(msgspec.Struct, frozen=True):
    """What an agent holds that no master has acknowledged, as of its last heartbeat. 0 `bytes_max`: it does not say."""

    reports: int
    oldest_report_us: int | None
    spool_bytes: int
    output_bytes: int
    bytes_max: int


class AgentDetail(AgentLine, frozen=True):
    """One agent with the gate that people are told of, its latest drain, and the groups that it serves.

    `deployment`: that as a sentence, and whether the agent has confirmed it; "" while there are no groups. `spool`:
    what it holds on its disk, while it is connected.
    """

    gate: Gate | None = None
    drain: DrainView | None = None
    groups: list[str] = []
    capacity: int = 0
    deployment: str = ""
    spool: SpoolView | None = None


class Invite(msgspec.Struct, frozen=True):
    """The name that the agent will have."""

    name: str


class AgentSettings(msgspec.Struct, frozen=True):
    """What an administrator decides about an agent, and why; null leaves a setting as it is."""

    start_alone_after_reboot: bool | None = None
    reason: str = ""
    drain_s: int | None = None
    on_stop: str | None = None


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history."""

    reason: str = ""


class Replace(msgspec.Struct, frozen=True):
    """Why, and whether the old machine is dead for certain: its orders are free at once then."""

    reason: str = ""
    machine_is_dead: bool = False


async def list_agents(call: Call) -> list[AgentLine]:
    """Agents by name, above `after`."""
    after, match, limit = call.query("after"), call.query("match"), call.limit()

    def query(connection: Any) -> list[AgentLine]:
        revision = settings.gate_revision(connection)
        in_force, leaving = by_agent(gates.every(connection)), drain_rows.stopping(connection)
        everywhere = in_force.get("", [])
        found = rows.page(connection, after, limit, match)
        return [_line(call, a, everywhere + in_force.get(a.id, []), leaving, revision) for a in found]

    return await call.read(query)


async def show_agent(call: Call) -> AgentDetail:
    """One agent."""
    name = call.path("name")

    def query(connection: Any) -> AgentDetail:
        agent = agents.find(connection, name)
        in_force, leaving = gates.for_agent(connection, agent.id), drain_rows.stopping(connection)
        line = _line(call, agent, in_force, leaving, settings.gate_revision(connection))
        drained = [view(row, name) for row in drain_rows.latest(connection, agent.id)]
        gate = in_the_way(in_force, agent.id)
        serves = [group.name for group in groups.of_agent(connection, agent.id)]
        return AgentDetail(
            **msgspec.structs.asdict(line),
            gate=gate,
            drain=drained[0] if drained else None,
            groups=serves,
            capacity=agent.capacity,
            deployment=_deployment(agent, serves) if groups.names(connection) else "",
            spool=_spool(call, agent.id),
        )

    return await call.read(query)


def _deployment(agent: Agent, serves: list[str]) -> str:
    """Where an agent serves, for people (SMA-6)."""
    said = f"serves {', '.join(serves)}" if serves else "not deployed: it serves no group and starts nothing of one"
    return said if agent.deployment_kept >= agent.deployment else f"{said}; the agent has not confirmed it yet"


def _spool(call: Call, agent_id: str) -> SpoolView | None:
    fleet = call.site.office.fleet if call.site.office is not None else None
    link = fleet.contact(agent_id) if fleet is not None else None
    if link is None:
        return None
    beat = link.heartbeat
    return SpoolView(
        link.reports, beat.oldest_report_us or None, beat.spool_bytes, beat.output_bytes, beat.spool_bytes_max
    )


def _line(call: Call, agent: Agent, in_force: list[Gate], leaving: set[str], revision: int) -> AgentLine:
    connected = call.site.agent_connected(agent.id)
    state = "quarantined" if agent.quarantined_at_us is not None else "active" if connected else "unreachable"
    wanted = QUEUE_LOCKED in standing(in_force, agent.id)
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
        drain_s=agent.drain_s,
        on_stop=agent.on_stop,
        takes_runs=takes_runs(in_force, agent.id, leaving),
        waits_for=reason(in_force, agent.id) or (REASONS[DRAINING] if agent.id in leaving else ""),
        silent_since_us=agent.silent_since_us,
        dead_at_us=agent.dead_at_us,
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
        agents.replace(name, row, call.by, call.now_us, call.body.reason, call.body.machine_is_dead),
        _invited,
        201,
        secret=text,
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
    name, body = call.path("name"), call.body
    change = drains.configure(name, body.drain_s, body.on_stop, call.by, call.now_us, body.reason)
    if body.start_alone_after_reboot is not None:
        allow = agents.set_start_alone(name, body.start_alone_after_reboot, call.by, call.now_us, body.reason)
        change = both(allow, change)
    return await call.write(change, _settings)


def _settings(agent: Agent) -> dict[str, Any]:
    return {
        "name": agent.name,
        "start_alone_after_reboot": bool(agent.start_alone_after_reboot),
        "drain_s": agent.drain_s,
        "on_stop": agent.on_stop,
    }


ENDPOINTS = (
    Endpoint("GET", "/api/v1/agents", list_agents, "Agents", answer=list[AgentLine], query=("after", "limit", "match")),
    Endpoint(
        "POST",
        "/api/v1/agents",
        invite,
        "Invite an agent: a join token",
        answer=shape(name=str, expires_at_us=int, token=str),
        body=Invite,
        status=201,
    ),
    Endpoint("GET", "/api/v1/agents/{name}", show_agent, "One agent", answer=AgentDetail),
    Endpoint(
        "PUT",
        "/api/v1/agents/{name}",
        put_settings,
        "Change an agent's settings",
        answer=shape(name=str, start_alone_after_reboot=bool, drain_s=int | None, on_stop=str),
        body=AgentSettings,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/agents/{name}",
        remove,
        "Remove an agent",
        answer=shape(name=str, removed=bool),
        query=("reason",),
    ),
    Endpoint(
        "POST",
        "/api/v1/agents/{name}/replace",
        replace,
        "Replace a machine",
        answer=shape(name=str, expires_at_us=int, token=str),
        body=Replace,
        status=201,
    ),
    Endpoint(
        "POST",
        "/api/v1/agents/{name}/accept-restored",
        accept_restored,
        "End a quarantine",
        answer=shape(name=str, accepted=bool),
        body=Reason,
    ),
)
