"""What a takeover that may have lost something owes to silent agents (`core.debts`). By the program itself.

Each function writes inside the caller's change.
"""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime

from server.actions import gates
from server.actions.lost_orders import let_go
from server.core.debts import HELD_US, OWED, WITHHELD_US, Debt, is_of_before, owes
from server.core.model import Order, Run
from server.core.run_states import RunEvent, allows, step
from server.core.silence import LEASE_SLACK_US
from server.storage import debts, events, orders, runs, schedules, system_messages


def incur(connection: sqlite3.Connection, now_us: int) -> int:
    """A master's last writes may be lost: every agent owes an answer from now on, and is told the gates in force again.

    Returns how many agents.
    """
    gates.say_again(connection, now_us)
    return debts.incur(connection, now_us)


def settle(connection: sqlite3.Connection, agent_id: str, now_us: int) -> None:
    """The agent has shown what it holds and given back what is not its own.

    With the last debt what was withheld goes on: the scheduler looks at the runs (`actions.withheld_runs`), orders are
    made anew from now on; what of these fell due meanwhile stays unknown until a person decides.
    """
    if debts.remove(connection, agent_id):
        _let_orders_go(connection, now_us)


def bury(connection: sqlite3.Connection, agent_id: str, now_us: int) -> None:
    """Its machine is dead: it is waited for no more, and what it may have run is remembered until that is decided."""
    if debts.die(connection, agent_id, now_us):
        _let_orders_go(connection, now_us)


def _let_orders_go(connection: sqlite3.Connection, now_us: int) -> None:
    if not debts.is_open(connection):
        for order in debts.withheld_orders(connection):
            let_go(connection, order, now_us)


def must_wait(connection: sqlite3.Connection, debt: Debt | None, run: Run) -> bool:
    """A query: may a silent agent have received this run? `debt`: the latest one of other agents.

    Also when it was made after the loss, if the lost master may have made the same.
    """
    if debt is None:
        return False
    if owes(debt, run, debts.first_submitted_us(connection, run)) or _may_be_its_own(connection, debt, run):
        return True
    if is_of_before(run, debts.first_id(connection)):
        return True
    event = events.get(connection, run.event_id) if run.event_id is not None and run.group_id else None
    return event is not None and event.at_us <= debt.since_us


def _may_be_its_own(connection: sqlite3.Connection, debt: Debt, run: Run) -> bool:
    """Whether a silent agent may begin this occurrence by itself: an order that was the master's own may be its."""
    schedule = schedules.get(connection, run.schedule_id) if run.schedule_id is not None else None
    until_us = debt.held_until_us + LEASE_SLACK_US
    if schedule is None or run.scheduled_for_us is None or run.scheduled_for_us > until_us:
        return False
    return debts.may_be_elsewhere(connection, schedule, run.agent_id)


def withhold_run(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    """It is given to nobody until each agent that owes an answer has answered; inside the caller's change."""
    event = RunEvent.NEVER_STARTED if allows(run.state, RunEvent.NEVER_STARTED) else RunEvent.GATED
    values: dict[str, object] = {"begin_after_us": WITHHELD_US, "dispatched_epoch": None, "holds": "{}"}
    values |= {"agent_id": run.group_id} if run.group_id else {}
    runs.set_state(connection, run.number, step(run.state, event), now_us, OWED, **values)


def withhold(connection: sqlite3.Connection, agent_id: str, order: Order) -> bool:
    """The agent lacks an order that it should have: a lost master may have moved it to a silent one.

    True when it is given to nobody for now.
    """
    debt = debts.latest(connection, agent_id)
    if debt is None or order.valid_from_us > debt.since_us:
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
