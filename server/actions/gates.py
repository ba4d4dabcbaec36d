"""Lock and unlock queues, stop and start the scheduler. Permission: gates.change. Maintenance: `actions.maintenance`.

Each change of a gate is one revision, which the fleet sends and agents acknowledge. Saying what is already so
changes nothing: no revision, no audit entry, and the first who said it stays on record.
"""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions.change import Change, Transaction, record, require
from server.core.agent_requests import GateChange
from server.core.gates import QUEUE_LOCKED, SCHEDULER_STOPPED
from server.core.model import Gate, Principal
from server.errors import Conflict, NotFound
from server.storage import agents, gate_changes, gates, settings


class GateSummary(msgspec.Struct, frozen=True):
    """What a change of gates came to. `unacknowledged` agents may still start work: the fleet is telling them."""

    changed: bool
    revision: int
    total: int
    unacknowledged: int


def lock_all(by: Principal, now_us: int, reason: str = "") -> Change[GateSummary]:
    """Lock all agent job queues, those of agents enrolled later included (SKY-2)."""
    return _set(QUEUE_LOCKED, "gates.lock_all", by, now_us, reason)


def unlock_all(by: Principal, now_us: int, reason: str = "") -> Change[GateSummary]:
    """Unlock every queue: the host-wide lock and the locks of single agents. Waiting runs start in order."""
    require(by, "gates.change")

    def change(transaction: Transaction) -> GateSummary:
        connection = transaction.connection
        before = [g for g in gates.every(connection) if g.kind == QUEUE_LOCKED]
        if before:
            gates.remove_kind(connection, QUEUE_LOCKED)
            revision = settings.raise_gate_revision(connection)
            for gate in before:
                _note(connection, gate, revision, False, by.name, now_us, reason)
            record(connection, by, now_us, "gates.unlock_all", "queues", before, "", reason)
        return summarise(connection, bool(before))

    return change


def lock(agent: str, by: Principal, now_us: int, reason: str = "") -> Change[GateSummary]:
    """Lock the queue of one agent, by name. Raises NotFound."""
    return _set(QUEUE_LOCKED, "gates.lock", by, now_us, reason, agent)


def unlock(agent: str, by: Principal, now_us: int, reason: str = "") -> Change[GateSummary]:
    """Unlock the queue of one agent, by name. Conflict while all queues are locked: unlock all instead."""
    return _lift(QUEUE_LOCKED, "gates.unlock", by, now_us, reason, agent)


def stop_scheduler(by: Principal, now_us: int, reason: str = "") -> Change[GateSummary]:
    """Stop the scheduler: due times submit nothing and are recorded as missed (SKY-3)."""
    return _set(SCHEDULER_STOPPED, "gates.stop_scheduler", by, now_us, reason)


def start_scheduler(by: Principal, now_us: int, reason: str = "") -> Change[GateSummary]:
    """Start the scheduler again. What was missed is run, kept or dropped by each job's misfire policy."""
    return _lift(SCHEDULER_STOPPED, "gates.start_scheduler", by, now_us, reason)


def summarise(connection: sqlite3.Connection, changed: bool) -> GateSummary:
    """Count who has not acknowledged the current revision."""
    revision = settings.gate_revision(connection)
    total, behind = agents.count(connection), agents.unacknowledged(connection, revision)
    return GateSummary(changed, revision, total, behind)


def put(connection: sqlite3.Connection, kind: str, agent_id: str, set_by: str, now_us: int, reason: str) -> bool:
    """Set a gate inside the caller's change, in a revision of its own; False when it was set already."""
    if gates.get(connection, kind, agent_id) is not None:
        return False
    gate = Gate(kind=kind, agent_id=agent_id, set_by=set_by, set_at_us=now_us, reason=reason)
    restore(connection, gate, set_by, now_us)
    return True


def restore(connection: sqlite3.Connection, gate: Gate, by: str, now_us: int) -> None:
    """Put `gate` in force as it is, with who set it and when, in a revision of its own."""
    revision = settings.raise_gate_revision(connection)
    gates.put(connection, msgspec.structs.replace(gate, revision=revision))
    _note(connection, gate, revision, True, by, now_us, gate.reason)


def lift(connection: sqlite3.Connection, gate: Gate, by: str, now_us: int, reason: str = "") -> None:
    """Lift a gate inside the caller's change; a stop of the scheduler is remembered until it is accounted for."""
    gates.remove(connection, gate.kind, gate.agent_id)
    revision = settings.raise_gate_revision(connection)
    _note(connection, gate, revision, False, by, now_us, reason)
    if gate.kind == SCHEDULER_STOPPED:
        gates.add_stop(connection, gate, now_us)


def say_again(connection: sqlite3.Connection, now_us: int) -> None:
    """After a loss: every gate in force gets a new revision, which no agent has acknowledged.

    The lost master may have lifted a gate, and have had that acknowledged: until an agent has connected and persisted
    what this office says, nothing that it acknowledged before is counted on. Who set it and when stays.
    """
    standing = gates.every(connection)
    if not standing:
        return
    revision = settings.raise_gate_revision(connection)
    for gate in standing:
        gates.remove(connection, gate.kind, gate.agent_id)
        gates.put(connection, msgspec.structs.replace(gate, revision=revision))
        _note(connection, gate, revision, True, gate.set_by, now_us, gate.reason)


def _note(
    connection: sqlite3.Connection, gate: Gate, revision: int, in_force: bool, by: str, now_us: int, reason: str
) -> None:
    made = GateChange(
        agent_id=gate.agent_id,
        kind=gate.kind,
        revision=revision,
        in_force=in_force,
        changed_by=by,
        changed_at_us=now_us,
        reason=reason,
    )
    gate_changes.add(connection, made)


def _set(kind: str, action: str, by: Principal, now_us: int, reason: str, agent: str = "") -> Change[GateSummary]:
    require(by, "gates.change")

    def change(transaction: Transaction) -> GateSummary:
        connection = transaction.connection
        agent_id = _agent_id(connection, agent)
        changed = put(connection, kind, agent_id, by.name, now_us, reason)
        if changed:
            record(connection, by, now_us, action, agent or "all", "", kind, reason)
        return summarise(connection, changed)

    return change


def _lift(kind: str, action: str, by: Principal, now_us: int, reason: str, agent: str = "") -> Change[GateSummary]:
    require(by, "gates.change")

    def change(transaction: Transaction) -> GateSummary:
        connection = transaction.connection
        agent_id = _agent_id(connection, agent)
        if agent and gates.get(connection, kind) is not None:
            raise Conflict(f"All queues are locked, {agent}'s too. Unlock all queues instead.")
        before = gates.get(connection, kind, agent_id)
        if before is not None:
            lift(connection, before, by.name, now_us, reason)
            record(connection, by, now_us, action, agent or "all", before, "", reason)
        return summarise(connection, before is not None)

    return change


def _agent_id(connection: sqlite3.Connection, name: str) -> str:
    if not name:
        return ""
    agent = agents.by_name(connection, name)
    if agent is None:
        raise NotFound(f"There is no agent {name}. See the list of agents.")
    return agent.id
