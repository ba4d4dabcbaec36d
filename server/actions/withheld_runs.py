"""Runs that were withheld while an agent owed an answer after a loss (`actions.debts`). By the program itself.

Once nobody owes anything they go on, a page in each change. One that a dead machine may have run is `unknown` of that
machine, and a person's to decide. An instant that was withheld until it was late is missed, and the misfire policy
decides, as it does of what fell due without a master.
"""

from __future__ import annotations

import sqlite3
from functools import partial

from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded
from server.core.debts import LATE, DeadDebt, could_move
from server.core.instants import LATE_US
from server.core.model import Run
from server.core.run_states import RunEvent, step
from server.storage import agents, debts, missed, runs

PAGE = 200


def has_work(connection: sqlite3.Connection) -> bool:
    """A query: would `let_go` do something?"""
    return (debts.has_withheld_runs(connection) or bool(debts.dead(connection))) and not debts.is_open(connection)


def let_go(now_us: int) -> Change[int]:
    """Look at the oldest withheld runs, when nobody owes an answer any more; returns how many there were."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        if debts.is_open(connection):
            return 0
        page, dead = debts.withheld_runs(connection, PAGE), debts.dead(connection)
        loss_us = debts.loss_us(connection)
        for run in page:
            do = partial(_let_go, connection, run, dead, loss_us, now_us)
            guarded(connection, "begin", run.number, run.job_id, now_us, do)
        if len(page) < PAGE:
            debts.forget_dead(connection)
        return len(page)

    return change


def _let_go(connection: sqlite3.Connection, run: Run, dead: list[DeadDebt], loss_us: int, now_us: int) -> None:
    at_us = run.scheduled_for_us
    by = next((debt for debt in dead if could_move(run) and (at_us or 0) <= debt.dead_at_us), None)
    if by is not None:
        agent = agents.get(connection, by.agent_id)
        why = f"{agent.name if agent is not None else by.agent_id[:8]} may have run it before it was declared dead"
        values = {"agent_id": by.agent_id, "begin_after_us": None}
        runs.set_state(connection, run.number, step(run.state, RunEvent.LOST), now_us, why, **values)
    elif run.schedule_id is not None and at_us is not None and loss_us < at_us < now_us - LATE_US and run.attempt == 1:
        runs.set_state(connection, run.number, step(run.state, RunEvent.MISSED), now_us, LATE, begin_after_us=None)
        missed.record(connection, run.job_id, run.schedule_id, at_us, LATE, now_us, beside_run=True)
    else:
        runs.update(connection, run.number, begin_after_us=now_us)  # a waiting run like any other: `retries.begin_due`
