"""Checkpoints of runs, suspend and resume (SMA-1 to SMA-3). Permissions: runs.start, runs.stop.

What agents report of it is written here too, for `actions.reports`. A run that goes on is the next attempt of the same
key: the one before has certainly ended, or an operator has said so (docs/decisions/0110). `follow` is the follower of
the outbox that lets it go on by itself.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

from server.actions import runs as run_actions
from server.actions import step_results
from server.actions.change import Change, Transaction, record, require
from server.core import agent_wire as wire
from server.core.checkpoints import WATCHER, Way, go_on
from server.core.happenings import Happening, Kind
from server.core.model import Job, Principal, Run
from server.core.run_keys import next_attempt_key
from server.core.run_states import ENDED, RunEvent, RunState, step
from server.core.silence import why_not_again
from server.errors import Conflict, UnderstudyError
from server.storage import agents, checkpoints, happenings, jobs, runs, workflow_runs
from server.storage.checkpoints import Checkpoint

BY_ITSELF = "resume"
"""Who asked for an attempt that nobody asked for."""


def suspend(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Stop a run at its next checkpoint; one that saves none any more comes to its end. Again is the same.

    Conflict unless it runs.
    """
    require(by, "runs.stop")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        run = run_actions.find(connection, number)
        if run.state in (RunState.SUSPENDING, RunState.SUSPENDED):
            return run
        if run.state != RunState.RUNNING:
            raise Conflict(f"Run {number} is {run.state}: only a run that runs can be suspended.")
        begun = workflow_runs.by_key(connection, run.key)
        if begun is not None:
            raise Conflict(f"Its workflow is what can be suspended: understudy workflow suspend {begun.id}")
        asked = {"suspend_requested_by": by.name, "suspend_requested_at_us": now_us, "suspend_sent_at_us": None}
        state = step(run.state, RunEvent.SUSPEND_ASKED)
        runs.set_state(connection, number, state, now_us, f"asked by {by.name}", **asked)
        happenings.watch(connection, Kind.RUN, run.job_id, WATCHER)
        record(connection, by, now_us, "runs.suspend", run.key, run.state, state, reason)
        return run_actions.find(connection, number)

    return change


def withdraw_suspend(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Let a run go on that was to be suspended. Conflict when its agent may have been told."""
    require(by, "runs.stop")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        run = run_actions.find(connection, number)
        if run.suspend_requested_at_us is None or run.state in ENDED or run.state == RunState.SUSPENDED:
            raise Conflict(f"Nobody wants run {number} suspended: it is {run.state}. Nothing is left to withdraw.")
        if run.suspend_sent_at_us is not None:
            raise Conflict(
                f"Its agent was told already. When run {number} is suspended: understudy run resume {number}"
            )
        asked = {"suspend_requested_by": "", "suspend_requested_at_us": None}
        if run.state == RunState.SUSPENDING:
            runs.set_state(connection, number, step(run.state, RunEvent.RESUME_ASKED), now_us, "", **asked)
        else:
            runs.update(connection, number, **asked)
        record(connection, by, now_us, "runs.withdraw_suspend", run.key, run.suspend_requested_by, "", reason)
        return run_actions.find(connection, number)

    return change


def mark_suspends_sent(numbers: Iterable[int], now_us: int) -> Change[list[Run]]:
    """The agent is about to be told: from now on that cannot be withdrawn. Returns those to tell. For the fleet."""

    def change(transaction: Transaction) -> list[Run]:
        told = []
        for number in numbers:
            run = runs.get(transaction.connection, number)
            if run is not None and run.state == RunState.SUSPENDING:
                if run.suspend_sent_at_us is None:
                    runs.update(transaction.connection, number, suspend_sent_at_us=now_us)
                told.append(run)
        return told

    return change


def resume(
    number: int, by: Principal, now_us: int, checkpoint: int | None = None, back: int = 0, reason: str = ""
) -> Change[Run]:
    """Go on with a run from its latest checkpoint, from number `checkpoint`, or from the one `back` steps before.

    For suspended runs, and for those that ended in any other way than succeeded; for an unknown one when its agent
    certainly runs it no more. Returns the new attempt. Conflict when that may not be, or there is no such checkpoint.
    """
    require(by, "runs.start")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        asked = run_actions.find(connection, number)
        last = run_actions.find(connection, runs.attempts(connection, asked.key)[-1].number)
        job = jobs.get(connection, last.job_id)
        if job is None or job.deleted_at_us is not None:
            raise Conflict(f"The job of run {number} was deleted. Create it again first.")
        _check_over(connection, last, job)
        step_results.refuse_settled(connection, last)
        chosen = _choose(checkpoints.chain(connection, last), last, checkpoint, back)
        again = _continue(connection, last, job, chosen, by.name, now_us)
        record(connection, by, now_us, "runs.resume", last.key, f"checkpoint {chosen.number}", again.key, reason)
        return again

    return change


def dismiss(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Decide that nobody goes on with an interrupted run: it asks for no decision any more. Again is the same."""
    require(by, "runs.stop")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        run = run_actions.find(connection, number)
        if run.state != RunState.INTERRUPTED:
            raise Conflict(f"Run {number} is {run.state}: no decision is asked for.")
        if not run.dismissed_by:
            runs.update(connection, number, dismissed_by=by.name)
            record(connection, by, now_us, "runs.dismiss", run.key, run.reason, "dismissed", reason)
        return run_actions.find(connection, number)

    return change


def needs_decision(connection: sqlite3.Connection, run: Run) -> bool:
    """A query: whether it was interrupted and nothing goes on with it."""
    if run.state != RunState.INTERRUPTED or run.dismissed_by or run.workflow_run is not None:
        return False
    return not runs.has_later_attempt(connection, run)


# What agents report, inside the caller's change.


def kept(connection: sqlite3.Connection, run: Run, body: wire.Checkpointed, at_us: int, now_us: int) -> None:
    """An agent's run saved its state; told twice it changes nothing."""
    job = jobs.get(connection, run.job_id)
    number, data, sha256 = body.number, body.data, body.sha256
    if job is None or not checkpoints.add(connection, run.number, number, data, sha256, at_us, now_us):
        return
    happenings.watch(connection, Kind.RUN, run.job_id, WATCHER)
    if run.state == RunState.SUCCEEDED:
        checkpoints.let_go(connection, run)
    else:
        checkpoints.prune(connection, run, job.checkpoints.keep)


def said(connection: sqlite3.Connection, agent_id: str, message: wire.Progress) -> None:
    """The last word of a run that the agent has."""
    run = runs.by_key(connection, message.key)
    if run is not None and run.agent_id == agent_id and run.state not in ENDED:
        checkpoints.say(connection, run.number, message.percent, message.text, message.at_us)
        runs.update(connection, run.number)


def suspended_values(connection: sqlite3.Connection, run: Run, body: wire.Ended) -> tuple[str, dict[str, object]]:
    """Of a run that stopped at a checkpoint: the reason, and columns of its row. Nothing of it is at its agent."""
    latest = checkpoints.chain(connection, run)
    at = f"at checkpoint {latest[0].number}" if latest else "at a checkpoint"
    by = f", asked by {run.suspend_requested_by}" if run.suspend_requested_by else ", by itself"
    return f"{at}{by}", {"suspended_at_us": body.ended_at_us, "dispatched_epoch": None}


def resume_of(connection: sqlite3.Connection, run: Run) -> tuple[wire.Resume | None, bool]:
    """What an attempt goes on from, and whether that is here as it should be."""
    if run.resumed_run is None or run.resumed_checkpoint is None:
        return None, True
    data = checkpoints.data(connection, run.resumed_run, run.resumed_checkpoint)
    return (wire.Resume(run.resumed_checkpoint, data), True) if data is not None else (None, False)


# What follows by itself.


def follow(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
    """A follower of the outbox: interrupted runs go on, those that made way for another attempt are settled."""
    run = runs.get(connection, happening.subject) if happening.kind == Kind.RUN else None
    if run is None:
        return
    _settle_former(connection, run, now_us)
    if run.state == RunState.SUCCEEDED:
        checkpoints.let_go(connection, run)
    if run.state in (RunState.INTERRUPTED, RunState.UNKNOWN, RunState.RESUMING):
        _go_on(connection, run, now_us)


def _go_on(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    """Make the next attempt, or say what a person has to decide. Not for what somebody wanted ended."""
    job = jobs.get(connection, run.job_id)
    if job is None or job.deleted_at_us is not None or runs.has_later_attempt(connection, run):
        return
    if (
        run.cancel_requested_at_us is not None
        or run.dismissed_by
        or workflow_runs.is_over(connection, run.workflow_run)
    ):
        return
    if run.state == RunState.UNKNOWN and why_not_again(run, agents.get(connection, run.agent_id), job.name):
        return
    found = checkpoints.chain(connection, run)
    latest = next((one for one in found if one.held), None)
    was_to_stop = run.suspend_requested_at_us is not None and run.state != RunState.RESUMING
    tries = checkpoints.tries(connection, latest.run, latest.number) if latest else run.attempt
    if run.state == RunState.RESUMING:
        tries = 0
    way, why = go_on(job.checkpoints, latest is not None, tries, was_to_stop)
    if way is Way.DECISION and run.workflow_run is not None:
        return  # its workflow says what becomes of it
    if way is not Way.DECISION:
        try:
            _continue(connection, run, job, latest, BY_ITSELF, now_us)
            return
        except UnderstudyError as error:
            why = str(error)
    if why not in run.reason:
        runs.update(connection, run.number, reason=f"{run.reason}; decide how it goes on: {why}")


def _continue(
    connection: sqlite3.Connection, run: Run, job: Job, checkpoint: Checkpoint | None, by: str, now_us: int
) -> Run:
    """Submit the next attempt, from a checkpoint or from the beginning; a suspended one makes way for it."""
    member = run_actions.member_of(connection, run)
    more: dict[str, Any] = {
        "attempt": run.attempt + 1,
        "schedule_id": run.schedule_id,
        "scheduled_for_us": run.scheduled_for_us,
        "event_id": run.event_id,
        "instance": run.instance,
    }
    if checkpoint is not None:
        more |= {"resumed_run": checkpoint.run, "resumed_checkpoint": checkpoint.number}
    key = next_attempt_key(run.key)
    if run.state == RunState.SUSPENDED:
        runs.set_state(connection, run.number, step(run.state, RunEvent.RESUME_ASKED), now_us, f"asked by {by}")
    again = run_actions.submit(connection, job, key, by, now_us, member, continues=True, **more)
    happenings.watch(connection, Kind.RUN, job.id, WATCHER)
    return again


def _settle_former(connection: sqlite3.Connection, run: Run, now_us: int) -> None:
    """The suspended attempt that made way for this one ends as soon as this one begins, or is suspended again."""
    former = runs.by_key(connection, _former_key(run)) if run.attempt > 1 else None
    if former is None or former.state != RunState.RESUMING:
        return
    if run.started_at_us is not None:
        state, why = step(former.state, RunEvent.INTERRUPTED), f"it went on as run {run.number}"
    elif run.state == RunState.CANCELLED:
        state, why = (
            step(former.state, RunEvent.CANCELLED),
            f"run {run.number}, as which it was to go on, was cancelled",
        )
    elif run.state in ENDED:
        state, why = step(former.state, RunEvent.SUSPENDED), f"run {run.number} did not begin"
    else:
        return
    runs.set_state(connection, former.number, state, now_us, why)


def _former_key(run: Run) -> str:
    return f"{run.key.rpartition('.a')[0]}.a{run.attempt - 1}"


def _check_over(connection: sqlite3.Connection, last: Run, job: Job) -> None:
    if last.state == RunState.UNKNOWN:
        why_not = why_not_again(last, agents.get(connection, last.agent_id), job.name)
        if why_not:
            raise Conflict(why_not)
    elif last.state == RunState.SUCCEEDED:
        raise Conflict(f"Run {last.number} succeeded. To do it all again: understudy run rerun {last.number}")
    elif last.state == RunState.SUSPENDING:
        raise Conflict(f"Run {last.number} still runs. Wait until it is suspended, or withdraw that.")
    elif last.state not in ENDED and last.state != RunState.SUSPENDED:
        raise Conflict(f"Run {last.number} of it is {last.state}. Nothing is to be resumed.")


def _choose(found: list[Checkpoint], last: Run, number: int | None, back: int) -> Checkpoint:
    held = [one for one in found if one.held]
    known = ", ".join(str(one.number) for one in held) or "none"
    if number is not None:
        held = [one for one in held if one.number == number][:1]
    if len(held) <= back or back < 0:
        raise Conflict(
            f"Run {last.number} has no such checkpoint (it has {known}). "
            f"To begin anew: understudy run rerun {last.number}"
        )
    return held[back]
