"""Gates that an agent obeys and this office never heard of: set by one that lost its last writes. For the fleet."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.actions import gates as gate_actions
from server.actions import maintenance
from server.actions.change import record
from server.core import agent_wire as wire
from server.core.agent_requests import kinds_at
from server.core.gates import DRAINING, REASONS, SCHEDULER_STOPPED, SWAP, for_protocol, plain
from server.core.model import SYSTEM, Agent
from server.core.tenancy import tenant_of
from server.storage import drains, gate_changes, gates, settings, system_messages

WHY = "adopted from an agent: the office that set it lost its last writes"
_ALWAYS_EVERYWHERE = (SCHEDULER_STOPPED, SWAP)


def adopt_gates(connection: sqlite3.Connection, agent: Agent, held: wire.GateSet, protocol: int, now_us: int) -> None:
    """Put in force what a returning agent holds and the rows never had, inside the caller's change.

    What the rows had at that revision and have lifted since is not adopted. The agent is then told a higher revision
    than it knows, so that it persists and acknowledges anew.
    """
    if held.revision <= agent.gates_acknowledged:
        return
    changes = gate_changes.of_agent(connection, agent.id, held.revision)
    known = for_protocol(kinds_at(changes, held.revision), protocol)
    for kind in held.kinds:
        if kind not in known and plain(kind) in REASONS and kind != SWAP:
            _adopt(connection, agent, kind, held, now_us)
    if set(held.kinds) != set(known) or held.revision > settings.gate_revision(connection):
        revision = max(settings.gate_revision(connection), held.revision) + 1
        settings.put(connection, settings.GATE_REVISION, str(revision))


def _adopt(connection: sqlite3.Connection, agent: Agent, kind: str, held: wire.GateSet, now_us: int) -> None:
    everywhere = kind in held.everywhere or kind in _ALWAYS_EVERYWHERE
    agent_id = "" if everywhere else agent.id
    set_at_us = held.drain_at_us if kind == DRAINING and held.drain_at_us else now_us
    if kind in _in_force(connection, agent.id):
        return
    gate_actions.put(connection, kind, agent_id, SYSTEM.name, set_at_us, WHY)
    if kind == DRAINING:
        drains.ask(connection, agent.id, set_at_us, SYSTEM.name, WHY, held.drain_s)
    maintenance.adopt(connection, kind, agent_id, agent.name, now_us, WHY)
    name = tenant_of(kind) or ("all" if everywhere else agent.name)
    record(connection, SYSTEM, now_us, "gates.adopt", name, "", kind, WHY)
    text = (
        f"{REASONS[plain(kind)].capitalize()} ({name}) was adopted from the agent {agent.name}: the office that set it "
        "lost its last writes. Lift it when it is not wanted any more."
    )
    system_messages.insert(connection, "warning", text, now_us)


def _in_force(connection: sqlite3.Connection, agent_id: str) -> Sequence[str]:
    return [gate.kind for gate in gates.for_agent(connection, agent_id)]
