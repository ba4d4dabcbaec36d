"""Take back what an agent has not acknowledged (JS7-6). Permissions: those of what is taken back.

A lock is taken back by unlocking, a drain by its end; the wish to end a run only while it was not given to the agent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.actions import checkpoints, drains, gates, maintenance
from server.actions import runs as run_actions
from server.actions.change import Change, Transaction, record, require
from server.core.agent_requests import CANCEL, DRAIN, KILL, LOCK, MAINTAIN, SUSPEND, WITHDRAWABLE
from server.core.maintenance import AGENT
from server.core.model import Principal, Run
from server.core.run_states import ENDED
from server.errors import Conflict, Invalid
from server.storage import runs


def withdraw(agent: str, kind: str, run: int | None, by: Principal, now_us: int, reason: str = "") -> Change[object]:
    """Take back one request to `agent`, by its kind, and by the number of its run for one to end a run."""
    if kind == LOCK:
        return gates.unlock(agent, by, now_us, reason)
    if kind == DRAIN:
        return drains.undrain(agent, by, now_us, reason)
    if kind == MAINTAIN:
        return maintenance.end(AGENT + agent, by, now_us, reason)
    if kind in (CANCEL, KILL, SUSPEND):
        if run is None:
            raise Invalid("Which run? Give its number.", field="run")
        act = checkpoints.withdraw_suspend if kind == SUSPEND else withdraw_stop
        return act(run, by, now_us, reason)
    raise Invalid(f"What can be withdrawn is {', '.join(WITHDRAWABLE)}.", field="kind")


def withdraw_stop(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Let a run go on that was to be ended. Conflict when it has ended, or when its agent may have been told."""
    require(by, "runs.stop")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        run = run_actions.find(connection, number)
        if run.state in ENDED:
            raise Conflict(f"Run {number} is {run.state} already. Nothing is left to withdraw.")
        if run.cancel_requested_at_us is None:
            raise Conflict(f"Nobody wants run {number} ended. Nothing is left to withdraw.")
        if run.stop_sent_at_us is not None:
            raise Conflict(f"Its agent was told already and may have ended run {number}. Wait for its report.")
        runs.update(connection, number, cancel_requested_by="", cancel_requested_at_us=None, cancel_kill=0)
        asked = {"by": run.cancel_requested_by, "kill": run.cancel_kill}
        record(connection, by, now_us, "runs.withdraw_stop", run.key, asked, "", reason)
        return run_actions.find(connection, number)

    return change


def mark_stops_sent(numbers: Iterable[int], now_us: int) -> Change[list[Run]]:
    """The agent is about to be told to end these runs: from now on that cannot be withdrawn. Returns those to tell."""

    def change(transaction: Transaction) -> list[Run]:
        connection = transaction.connection
        return [run for number in numbers if (run := _mark(connection, number, now_us)) is not None]

    return change


def _mark(connection: sqlite3.Connection, number: int, now_us: int) -> Run | None:
    run = runs.get(connection, number)
    if run is None or run.cancel_requested_at_us is None or run.state in ENDED:
        return None
    if run.stop_sent_at_us is None:
        runs.update(connection, number, stop_sent_at_us=now_us)
    return run
