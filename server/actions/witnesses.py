"""The witnesses. Permission: agents.manage. Who has a seat is in `core.witness_seats`, with the rule of two sets."""

from __future__ import annotations

import sqlite3

from server.actions.change import Change, Transaction, record, require
from server.core.model import SYSTEM, Agent, Principal
from server.core.witness_seats import DOUBT, SEAT
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, nodes, settings, system_messages, witnesses


def choose(names: list[str], by: Principal, now_us: int) -> Change[list[str]]:
    """Make these one or three agents the witnesses; returns their names. Again is the same.

    The caller has checked that they are connected and that the standby is in sync. That is no row, so it may be
    untrue by the time this is written; nothing hangs on it then: with a second node ever enrolled the former set stays
    on record until that node has applied this, so no decision misses it, and this is answered only when the standby
    has fsynced it or the former witnesses have recorded that the master writes alone. It keeps a change from being
    begun that cannot end.
    """
    require(by, "agents.manage")
    if len(set(names)) != len(names):
        raise Invalid("An agent can be a witness once only. Name one or three different agents.", field="agents")
    if len(names) not in (1, 3):
        why = (
            "of two, one lost is no majority" if len(names) == 2 else "one serves a small cluster, three survive a loss"
        )
        if len(names) == 4:
            why = "four survive no more losses than three"
        raise Invalid(f"There are one or three witnesses, not {len(names)}: {why}. Name one or three.", field="agents")

    def change(transaction: Transaction) -> list[str]:
        connection = transaction.connection
        chosen = [_fit(connection, name) for name in names]
        _seat(connection, {agent.id for agent in chosen}, sorted(names), by, now_us)
        return sorted(names)

    return change


def _fit(connection: sqlite3.Connection, name: str) -> Agent:
    agent = agents.by_name(connection, name)
    if agent is None:
        raise NotFound(f"There is no agent {name}. See which there are: understudy agent list")
    if agent.quarantined_at_us is not None:
        raise Conflict(
            f"{name} is quarantined, so its word counts for nothing. See why: understudy agent show {name}; "
            "or name another agent."
        )
    return agent


def _seat(connection: sqlite3.Connection, chosen: set[str], names: list[str], by: Principal, now_us: int) -> None:
    before = witnesses.seated(connection)
    present = [agent for agent in before if agent.witness]
    if {agent.id for agent in present if agent.witness == SEAT} == chosen and len(present) == len(chosen):
        return
    is_pending = any(agent.former_witness for agent in before)
    for agent in before:
        former = agent.former_witness if is_pending else agent.witness if nodes.was_pair(connection) else 0
        agents.update(connection, agent.id, witness=0, former_witness=former)
    for agent_id in chosen:
        agents.update(connection, agent_id, witness=SEAT)
    settings.put(connection, witnesses.CHANGE, str(witnesses.number(connection) + 1))
    record(connection, by, now_us, "witnesses.set", "witnesses", [agent.name for agent in present], names)


def drop_former(number: int, now_us: int) -> Change[bool]:
    """End change `number`: the former set is asked no more. False when another change was begun since, or it has ended.

    The caller has seen that the other node applied the change, and that the new witnesses know the present office.
    """

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        former = [agent for agent in witnesses.seated(connection) if agent.former_witness]
        if not former or witnesses.number(connection) != number:
            return False
        for agent in former:
            agents.update(connection, agent.id, former_witness=0)
        names = [agent.name for agent in witnesses.seated(connection) if agent.witness]
        record(connection, SYSTEM, now_us, "witnesses.applied", "witnesses", [agent.name for agent in former], names)
        return True

    return change


def lose(connection: sqlite3.Connection, agent: Agent, why: str, now_us: int) -> None:
    """Inside the change of a caller that has doubts about an agent: it answers no more; its seats stay, empty.

    Said once, also when it is later replaced.
    """
    seats = {name: DOUBT for name in ("witness", "former_witness") if getattr(agent, name) == SEAT}
    if not seats:
        return
    agents.update(connection, agent.id, **seats)
    text = f"Agent {agent.name} is no witness any more: {why}. Choose again: understudy witness set AGENT"
    record(connection, SYSTEM, now_us, "witnesses.lose", agent.name, "", why)
    system_messages.insert(connection, "alarm", text, now_us)
