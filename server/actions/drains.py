"""Drain an agent, end that, and say what a stop of its program does (SMA-4). Permissions: gates.change, agents.manage.

What the agent reports of a drain is written here too, for `actions.reports`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.actions import gates as gate_actions
from server.actions.change import Change, Transaction, record, require
from server.core import agent_wire as wire
from server.core.agent_drain import CUT_CAUSE, HAND_OVER_CAUSE, ON_STOP
from server.core.agent_requests import SETTINGS, GateChange
from server.core.drain_words import count, is_clean, summary
from server.core.gates import DRAINING, for_protocol
from server.core.model import Agent, Principal
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, drains, gate_changes, gates, settings, system_messages
from server.storage.drains import DrainRow

DRAIN_S_MAX = 7 * 86400
CAUSES = {
    CUT_CAUSE: "it ran at the limit of a drain of its agent and was ended",
    HAND_OVER_CAUSE: "it was ended at its checkpoint, because its agent was drained",
}
"""Why a run is interrupted that a drain has ended."""


def drain(name: str, time_s: int | None, by: Principal, now_us: int, reason: str = "") -> Change[DrainRow]:
    """Let an agent take no new runs; what runs may go on for `time_s`, None for as long as the agent's setting says.

    Again is the same while it stands. Raises NotFound; Invalid above the agent's setting.
    """
    require(by, "gates.change")

    def change(transaction: Transaction) -> DrainRow:
        connection = transaction.connection
        agent = _find(connection, name)
        limit_s = agent.drain_s if time_s is None else time_s
        if not 0 <= limit_s <= agent.drain_s:
            hint = f"understudy agent set {name} --drain-time S"
            raise Invalid(
                f"The drain of {name} may take 0 to {agent.drain_s} s. To allow more: {hint}.", field="time_s"
            )
        if gate_actions.put(connection, DRAINING, agent.id, by.name, now_us, reason):
            drains.ask(connection, agent.id, now_us, by.name, reason, limit_s)
            record(connection, by, now_us, "drains.drain", name, "", f"{limit_s} s", reason)
        gate = gates.get(connection, DRAINING, agent.id)
        row = drains.get(connection, agent.id, gate.set_at_us, drains.REQUEST) if gate is not None else None
        assert row is not None, "a drain has its gate and its row from one change"
        return row

    return change


def undrain(name: str, by: Principal, now_us: int, reason: str = "") -> Change[DrainRow]:
    """Let a drained agent work again, or call a drain off. What waits starts in order. Conflict without a drain."""
    require(by, "gates.change")

    def change(transaction: Transaction) -> DrainRow:
        connection = transaction.connection
        agent = _find(connection, name)
        gate = gates.get(connection, DRAINING, agent.id)
        if gate is None:
            raise Conflict(f"{name} is not drained. Nothing is to be ended.")
        gate_actions.lift(connection, gate, by.name, now_us, reason)
        drains.withdraw(connection, agent.id, gate.set_at_us, now_us)
        record(connection, by, now_us, "drains.undrain", name, gate, "", reason)
        row = drains.get(connection, agent.id, gate.set_at_us, drains.REQUEST)
        assert row is not None, "a drain has its gate and its row from one change"
        return row

    return change


def configure(
    name: str, drain_s: int | None, on_stop: str | None, by: Principal, now_us: int, reason: str = ""
) -> Change[Agent]:
    """Set how long a drain may take at most, and what SIGTERM means to the agent; None leaves it as it is.

    The agent is told like of a gate, and acknowledges it.
    """
    require(by, "agents.manage")

    def change(transaction: Transaction) -> Agent:
        connection = transaction.connection
        agent = _find(connection, name)
        if drain_s is not None and not 0 <= drain_s <= DRAIN_S_MAX:
            raise Invalid(f"A drain takes 0 to {DRAIN_S_MAX} s.", field="drain_s")
        if on_stop is not None and on_stop not in ON_STOP:
            raise Invalid(f"What a stop does is one of {', '.join(ON_STOP)}.", field="on_stop")
        before = {"drain_s": agent.drain_s, "on_stop": agent.on_stop}
        after = {
            "drain_s": agent.drain_s if drain_s is None else drain_s,
            "on_stop": agent.on_stop if on_stop is None else on_stop,
        }
        if before != after:
            agents.update(connection, agent.id, **after)
            note = GateChange(
                agent_id=agent.id,
                kind=SETTINGS,
                revision=settings.raise_gate_revision(connection),
                in_force=True,
                changed_by=by.name,
                changed_at_us=now_us,
                reason=reason,
            )
            gate_changes.add(connection, note)
            record(connection, by, now_us, "drains.configure", name, before, after, reason)
        return _find(connection, name)

    return change


def gate_set(connection: sqlite3.Connection, agent_id: str, protocol: int) -> wire.GateSet:
    """A query: the gates of an agent as it is told them. An agent of a former protocol gets the gates next to them."""
    return gate_sets(connection, [(agent_id, protocol)])[agent_id]


def gate_sets(connection: sqlite3.Connection, asked: Sequence[tuple[str, int]]) -> dict[str, wire.GateSet]:
    """The same of several agents, each with its protocol: rows that concern all of them are read once."""
    revision, host_wide = settings.gate_revision(connection), gates.host_wide(connection)
    own = gates.own_of(connection, [agent_id for agent_id, _ in asked])
    wishes = agents.stop_wishes(connection, [agent_id for agent_id, _ in asked])
    found = {}
    for agent_id, protocol in asked:
        drain_s, on_stop = wishes[agent_id]
        drain = next((gate for gate in own.get(agent_id, ()) if gate.kind == DRAINING), None)
        row = drains.get(connection, agent_id, drain.set_at_us, drains.REQUEST) if drain is not None else None
        found[agent_id] = wire.GateSet(
            revision,
            for_protocol((gate.kind for gate in [*host_wide, *own.get(agent_id, ())]), protocol),
            row.asked_at_us if row is not None else 0,
            row.limit_s if row is not None else drain_s,
            on_stop,
            for_protocol((gate.kind for gate in host_wide), protocol),
        )
    return found


def begun(connection: sqlite3.Connection, agent_id: str, body: wire.DrainBegun, at_us: int) -> None:
    """The agent takes no new runs; told twice it changes nothing."""
    drains.begin(connection, agent_id, body.asked_at_us, body.origin, body.limit_s, at_us)


def drained(connection: sqlite3.Connection, agent_id: str, body: wire.Drained, at_us: int, now_us: int) -> None:
    """A drain is over; told twice it changes nothing. People are told when a run was ended by it."""
    row = drains.get(connection, agent_id, body.asked_at_us, body.origin)
    if row is None or row.outcomes or (row.ended_at_us is not None and row.state == "drained"):
        return
    withdrawn = body.withdrawn or row.state == "withdrawn"
    drains.end(connection, agent_id, body.asked_at_us, body.origin, at_us, body.outcomes, withdrawn)
    counted = count(body.outcomes)
    if not is_clean(counted):
        agent = agents.get(connection, agent_id)
        name = agent.name if agent is not None else agent_id[:8]
        text = f"The drain of {name} is over: {summary(counted)}. What it cut is interrupted; see its page."
        system_messages.insert(connection, "warning", text, now_us)


def _find(connection: sqlite3.Connection, name: str) -> Agent:
    agent = agents.by_name(connection, name)
    if agent is None:
        raise NotFound(f"There is no agent {name}. See the list of agents.")
    return agent
