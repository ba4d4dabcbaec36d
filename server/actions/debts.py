"""What a takeover that may have lost something owes to silent agents (`core.debts`). By the program itself.

Each function writes inside the caller's change.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from server.actions import gates
from server.actions.lost_orders import let_go
from server.core.debts import HELD_US, Debt, owes
from server.core.model import Order, Run
from server.core.run_states import RunEvent, step
from server.storage import debts, orders, runs, system_messages


def incur(connection: sqlite3.Connection, now_us: int) -> int:
    """A master's last writes may be lost: every agent owes an answer from now on, and is told the gates in force again.

    Returns how many agents.
    """
    gates.say_again(connection, now_us)
    return debts.incur(connection, now_us)


def settle(connection: sqlite3.Connection, agent_id: str, now_us: int) -> None:
    """The agent has shown what it holds and given back what is not its own, or its machine is dead.

    With the last debt what was withheld goes on: runs are submitted, orders are made anew from now on; what of these
    fell due meanwhile stays unknown until a person decides.
    """
    if not debts.remove(connection, agent_id) or debts.every(connection):
        return
    for run in debts.withheld_runs(connection):
        runs.set_state(connection, run.number, step(run.state, RunEvent.SUBMITTED), now_us)
    for order in debts.withheld_orders(connection):
        let_go(connection, order, now_us)


def must_wait(connection: sqlite3.Connection, open_debts: list[Debt], run: Run) -> bool:
    """A query: may a silent agent have received this run? `open_debts`: those of other agents."""
    return bool(open_debts) and owes(open_debts, run, debts.first_submitted_us(connection, run))


def withhold(connection: sqlite3.Connection, agent_id: str, order: Order) -> bool:
    """The agent lacks an order that it should have: a lost master may have moved it to a silent one.

    True when it is given to nobody for now.
    """
    if not any(order.valid_from_us <= debt.since_us for debt in debts.every(connection, agent_id)):
        return False
    orders.update(connection, order.id, withheld=1)
    return True


def remind(connection: sqlite3.Connection, agent_id: str, name: str, now_us: int) -> None:
    """An agent that owes an answer is silent: say what that means and what to type."""
    debt = debts.of_agent(connection, agent_id)
    if debt is not None:
        until = datetime.fromtimestamp((debt.since_us + HELD_US) // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M UTC")
        text = (
            f"{name} is silent since a takeover that may have lost something: it may hold orders until {until}. What "
            "it could have received is given to nobody until it answers; what it may have run is listed by key by "
            "`understudy run list --state unknown`. If its machine is dead for certain, type: "
            f"understudy agent declare-dead {name}"
        )
        system_messages.insert(connection, "alarm", text, now_us)
