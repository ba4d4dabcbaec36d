"""The next attempt of what failed. By the program itself: a follower of the outbox, and for the scheduler.

The attempt is written when the failure is followed, `waiting` until its time; so a status is final when no later
attempt of the run is there (`is_final`): the followers behind this one may rely on it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import partial

import msgspec

from server.actions import runs as run_actions
from server.actions.change import Change, Transaction
from server.actions.quarantine import guarded
from server.core.gates import NO_AGENT
from server.core.groups import CHOOSING
from server.core.happenings import Happening, Kind
from server.core.model import SECOND_US, Gate, Job, Run
from server.core.retry import Retry, decide
from server.core.run_keys import next_attempt_key
from server.core.run_states import ENDED, RunEvent, step
from server.core.special_instances import applied
from server.storage import agents, checkpoints, exceptions, gates, groups, jobs, runs, specifications, workflow_runs

REQUESTED_BY = "retry"


def follow_failure(connection: sqlite3.Connection, happening: Happening, now_us: int) -> None:
    """Write the next attempt of a run that its job's rule repeats, once; from its latest checkpoint, if it has one."""
    if happening.kind != Kind.RUN or happening.status not in ("failed", "killed"):
        return
    run, job = runs.get(connection, happening.subject), jobs.get(connection, happening.source_id)
    if run is None or job is None or job.deleted_at_us is not None:
        return
    if workflow_runs.is_over(connection, run.workflow_run):
        return
    retry = decide(run, job.retry, runs.count_interrupted(connection, run))
    if retry is not None and not runs.has_later_attempt(connection, run):
        attempt_again(connection, job, run, retry, now_us, **checkpoints.latest_of(connection, run))


def attempt_again(
    connection: sqlite3.Connection, job: Job, run: Run, retry: Retry, now_us: int, **more: object
) -> Run | None:
    """Write the attempt that `retry` says, inside the caller's change; None when the job's machine is gone.

    It waits from the end of `run` on, however late that is heard of; an end in the future, of a clock that is wrong,
    counts as now. `more` are further columns of the run.
    """
    agent_id = run_actions.member_of(connection, run) or job.agent_id
    if agents.is_gone(connection, agent_id):
        return None
    ended_us = min(run.ended_at_us if run.ended_at_us is not None else now_us, now_us)
    begin_us = ended_us + retry.delay_us
    values: dict[str, object] = {
        "reason": f"retry at {_clock_text(begin_us)}",
        "requested_by": REQUESTED_BY,
        "attempt": retry.attempt,
        "begin_after_us": begin_us,
        "schedule_id": run.schedule_id,
        "scheduled_for_us": run.scheduled_for_us,
        "event_id": run.event_id,
        "instance": run.instance,
        "group_id": agent_id if groups.is_group(connection, agent_id) else "",
        **more,
    }
    command = _command(connection, job, run)
    key = next_attempt_key(run.key)
    number = runs.insert(connection, key, job.id, agent_id, command, "waiting", now_us, **values)
    return run_actions.find(connection, number)


def begin_due(now_us: int) -> Change[int]:
    """Let attempts whose time has come be treated as any waiting run; returns how many, 0 at the end.

    Gates, holds and groups stop them as they stop others; *skip if running* looks at the runs of now.
    """

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        due = runs.to_begin(connection, now_us)
        in_force = gates.every(connection) if due else []
        for run in due:
            do = partial(_begin, connection, run, in_force, now_us)
            guarded(connection, "begin", run.number, run.job_id, now_us, do)
        return len(due)

    return change


def _begin(connection: sqlite3.Connection, run: Run, in_force: Sequence[Gate], now_us: int) -> None:
    runs.update(connection, run.number, begin_after_us=None)
    job = jobs.get(connection, run.job_id)
    is_one = run_actions.member_of(connection, run) == ""
    if job is not None and job.skip_if_running and is_one and runs.is_job_open(connection, job.id, run):
        state = step(run.state, RunEvent.SKIPPED)
        runs.set_state(connection, run.number, state, now_us, "another run of the job is open")
    elif run.group_id:
        runs.set_state(connection, run.number, step(run.state, RunEvent.GATED), now_us, CHOOSING)
    elif _is_silent(connection, run.agent_id):
        runs.set_state(connection, run.number, step(run.state, RunEvent.GATED), now_us, NO_AGENT)
    else:
        run_actions.let_go(connection, run, job, in_force, now_us)


def is_final(connection: sqlite3.Connection, run: Run) -> bool:
    """Whether the run has ended and no other attempt of it was made."""
    return run.state in ENDED and not runs.has_later_attempt(connection, run)


def _is_silent(connection: sqlite3.Connection, agent_id: str) -> bool:
    agent = agents.get(connection, agent_id)
    return agent is not None and agent.silent_since_us is not None


def _command(connection: sqlite3.Connection, job: Job, run: Run) -> str:
    """What the job says now, or its special instance, or an exception of its occurrence; with its variables."""
    job = applied(job, run.instance)
    if run.schedule_id is not None and run.scheduled_for_us is not None:
        special = exceptions.of_occurrence(connection, run.schedule_id, run.scheduled_for_us)
        if special is not None and special.command is not None:
            job = msgspec.structs.replace(job, command=special.command)
    return specifications.command(connection, job)


def _clock_text(at_us: int) -> str:
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
