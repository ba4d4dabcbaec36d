"""Start, cancel, kill and repeat runs. Permissions: runs.start, runs.stop.

What agents report is in `actions.reports`.

A submission looks at the gates in its own change: it is `starting` when nothing stops it, else `waiting` with
the reason. A run at its agent (`dispatched_epoch` is set) is not ended here: the request is a row that the
fleet delivers.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from functools import partial
from typing import Any

import msgspec

from server.actions import job_workflows, special_instances, window_fit
from server.actions.change import Change, Transaction, record, require
from server.actions.jobs import find as find_job
from server.actions.quarantine import guarded
from server.actions.run_jobs import with_jobs
from server.core.confidential import NO_SECRETS
from server.core.gates import NO_AGENT, reason
from server.core.groups import CHOOSING, Policy
from server.core.limits import TURN, WAITS
from server.core.maintenance_windows import AFTER_WINDOW
from server.core.model import Gate, Job, Principal, Run
from server.core.prerequisites import UNMET_US
from server.core.run_keys import is_own_request, next_attempt_key, occurrence_key, parse_key, request_key
from server.core.run_states import ENDED, RunEvent, step
from server.core.silence import why_not_again
from server.core.special_instances import applied
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, exceptions, gates, groups, jobs, runs, schedules, specifications

_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}\Z")


def run_now(
    job: str, request_id: str, by: Principal, now_us: int, instance: str = "", after_window: bool = False
) -> Change[Run]:
    """Submit a run on request. `request_id` (1 to 64 letters, digits, hyphens) makes its key: twice is one run.

    For a group with the policy `all` it is one for each member; the first one is returned. `instance`: a special
    instance of the job; NotFound for one that it has not. `after_window`: when it would reach into a planned
    maintenance it waits for the end of that.
    """
    require(by, "runs.start")
    if not _REQUEST_ID.match(request_id):
        raise Invalid("The request id must have 1 to 64 letters, digits or hyphens.", field="request_id")
    if is_own_request(request_id):
        raise Invalid("The program makes request ids like this itself. Put another word before it.", field="request_id")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        found = find_job(connection, job)
        special_instances.find(found, instance)
        members = _asked(connection, found)
        later: dict[str, Any] = {}
        if after_window and (at_us := window_fit.begin_us(connection, found, now_us)) > now_us:
            later = {"begin_after_us": at_us}
        made = [_request(connection, found, request_id, member, by, now_us, instance, later) for member in members]
        if any(is_new for _, is_new in made):
            record(connection, by, now_us, "runs.run_now", job, "", made[0][0].key)
        return made[0][0]

    return change


def _asked(connection: sqlite3.Connection, job: Job) -> list[str]:
    """The members that are each asked for a run; [""] for one run wherever the job runs."""
    group = groups.get(connection, job.agent_id)
    if group is None or group.policy != Policy.ALL:
        return [""]
    found = [member.agent_id for member in groups.members(connection, group.id)]
    if not found:
        raise Conflict(
            f"The group {group.name} has no members. Deploy it first: `understudy group set {group.name} …`."
        )
    return found


def _request(
    connection: sqlite3.Connection,
    job: Job,
    request_id: str,
    member: str,
    by: Principal,
    now_us: int,
    instance: str,
    later: dict[str, Any],
) -> tuple[Run, bool]:
    key = request_key(job.id, request_id, member=member)
    known = runs.by_key(connection, key)
    if known is not None:
        return known, False
    return submit(connection, job, key, by.name, now_us, member=member, instance=instance, **later), True


def submit(
    connection: sqlite3.Connection,
    job: Job,
    key: str,
    requested_by: str,
    now_us: int,
    member: str = "",
    continues: bool = False,
    awaits: str = "",
    instance: str = "",
    command: str | None = None,
    **more: object,
) -> Run:
    """Insert a run inside the caller's change: starting, waiting with its reason, or skipped.

    A run of a group waits in its pool until the fleet has chosen a member. `member`: the one that it is for.
    `continues`: it goes on with a run that is open still, or was, and is not skipped for that. `awaits`: the
    prerequisites that it waits for, whatever else is in the way (`actions.prerequisite_runs`). `instance`: the special
    instance that it is. `command`: instead of what that, or the job, says.
    """
    agent_id = member or job.agent_id
    refuse_dead(connection, job, agent_id)
    why = _why_waits(connection, gates.for_agent(connection, agent_id), agent_id, job)
    if groups.is_group(connection, agent_id):
        why = why or CHOOSING
        more = {**more, "group_id": agent_id}
    if awaits:
        why, more = awaits, {**more, "begin_after_us": UNMET_US}
    elif job.limits.is_set or groups.is_bounded(connection, job.agent_id):
        why = why or TURN
    if not awaits and more.get("begin_after_us") is not None:
        why = AFTER_WINDOW
    state = "waiting" if why else "starting"
    if job.skip_if_running and not member and not continues and runs.is_job_open(connection, job.id):
        state, why = "skipped", "another run of the job is open"
        more = {**more, "ended_at_us": now_us, "begin_after_us": None}
    special = applied(job, instance)
    special = special if command is None else msgspec.structs.replace(special, command=command)
    number = runs.insert(
        connection,
        key,
        job.id,
        agent_id,
        specifications.command(connection, special),
        state,
        now_us,
        reason=why or "",
        requested_by=requested_by,
        instance=instance,
        **more,
    )
    return find(connection, number)


def _why_waits(connection: sqlite3.Connection, in_force: Sequence[Gate], agent_id: str, job: Job | None) -> str | None:
    """Why a submission waits, or None. A silent agent is asked once it is back: `agent_is_back`."""
    why = reason(in_force, agent_id, job) or job_workflows.why_waits(connection, job)
    if why is None and (agent := agents.get(connection, agent_id)) is not None and agent.silent_since_us is not None:
        return NO_AGENT
    return why


def refuse_dead(connection: sqlite3.Connection, job: Job, agent_id: str) -> None:
    """Conflict when the job is bound to a machine that was declared dead or replaced."""
    if agents.is_gone(connection, agent_id):
        raise Conflict(
            f"{job.name} runs on a machine that was declared dead or replaced. Give it to another agent first: "
            f"understudy job update {job.name} --agent OTHER"
        )


def submit_occurrence(
    connection: sqlite3.Connection,
    job: Job,
    schedule_id: int,
    at_us: int,
    requested_by: str,
    now_us: int,
    awaits: str = "",
) -> Run:
    """Submit the run of an occurrence that did not start in time; the run that it has already when there is
    one.
    """
    key = occurrence_key(job.id, schedule_id, at_us)
    known = runs.by_key(connection, key)
    if known is not None:
        return known
    special = exceptions.of_occurrence(connection, schedule_id, at_us)
    schedule = schedules.get(connection, schedule_id)
    member = schedule.member_id if schedule is not None else ""
    values: dict[str, Any] = {"schedule_id": schedule_id, "scheduled_for_us": at_us, "awaits": awaits}
    values |= {"command": special.command if special is not None else None}
    values |= {"instance": special_instances.of_occurrence(connection, job, schedule, at_us)}
    return submit(connection, job, key, requested_by, now_us, member, **values)


def submit_waiting(now_us: int, after: int = 0, limit: int = 200) -> Change[tuple[int, int | None]]:
    """Look at waiting runs in order of submission: those that no gate stops become `starting`, others say why.

    Returns (how many start, the number to go on after, or None at the end). For the scheduler.
    """

    def change(transaction: Transaction) -> tuple[int, int | None]:
        connection = transaction.connection
        page = runs.waiting(connection, after, limit)
        in_force = gates.every(connection)
        known: dict[int, Job | None] = {}
        started: list[int] = []
        for run in page:
            if run.reason == NO_AGENT:
                continue
            do = partial(_look_at, connection, run, known, in_force, now_us, started)
            guarded(connection, "begin", run.number, run.job_id, now_us, do)
        return len(started), page[-1].number if len(page) == limit else None

    return change


def _look_at(
    connection: sqlite3.Connection,
    run: Run,
    known: dict[int, Job | None],
    in_force: Sequence[Gate],
    now_us: int,
    started: list[int],
) -> None:
    if run.job_id not in known:
        known[run.job_id] = jobs.get(connection, run.job_id)
    if let_go(connection, run, known[run.job_id], in_force, now_us):
        started.append(run.number)


def let_go(connection: sqlite3.Connection, run: Run, job: Job | None, in_force: Sequence[Gate], now_us: int) -> bool:
    """Look at one waiting run of a single agent inside the caller's change; True when it is `starting` now."""
    why = _why_waits(connection, in_force, run.agent_id, job)
    if why is None and run.limited:
        why = run.reason if run.reason.startswith(WAITS) else TURN
    if job is None or job.deleted_at_us is not None:
        runs.set_state(connection, run.number, step(run.state, RunEvent.CANCELLED), now_us, "job deleted")
    elif why is None:
        runs.set_state(connection, run.number, step(run.state, RunEvent.SUBMITTED), now_us)
        return True
    elif why != run.reason:
        runs.set_state(connection, run.number, step(run.state, RunEvent.GATED), now_us, why)
    return False


def agent_is_back(agent_id: str, now_us: int) -> Change[int]:
    """The agent is reconciled: its runs that waited for it are looked at again, in order. For the fleet."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        in_force = gates.for_agent(connection, agent_id)
        page = [r for why in (NO_AGENT, NO_SECRETS) for r in runs.waiting_for_agent(connection, agent_id, why)]
        for run, job in with_jobs(connection, page, now_us):
            why = reason(in_force, agent_id, job) or (TURN if run.limited else None)
            event = RunEvent.GATED if why else RunEvent.SUBMITTED
            runs.set_state(connection, run.number, step(run.state, event), now_us, why or "")
        return len(page)

    return change


def cancel(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """End a run: at once while it waits here, else by its agent (SIGTERM first). Again is the same."""
    return _stop(number, False, by, now_us, reason)


def kill(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Kill a run's processes at once, by its agent."""
    return _stop(number, True, by, now_us, reason)


def rerun(number: int, by: Principal, now_us: int, reason: str = "") -> Change[Run]:
    """Submit the next attempt of an ended run. Conflict while any attempt is open.

    An unknown one may be repeated when its machine was declared dead, or has given it up (`actions.silence`).
    """
    require(by, "runs.start")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        run = find(connection, number)
        if run.workflow_run is not None:
            raise Conflict(
                f"Run {number} is a step of a workflow. Let that go on: understudy workflow resume {run.workflow_run}"
            )
        job = jobs.get(connection, run.job_id)
        if job is None or job.deleted_at_us is not None:
            raise Conflict(f"The job of run {number} was deleted. Create it again first.")
        newest = runs.attempts(connection, run.key)[-1]
        last = find(connection, newest.number)
        if last.state == "unknown":
            why_not = why_not_again(last, agents.get(connection, last.agent_id), job.name)
            if why_not:
                raise Conflict(why_not)
        elif last.state not in ENDED:
            raise Conflict(f"Run {last.number} of it is {last.state}. Wait until it has ended, or cancel it.")
        made = again(connection, job, last, by.name, now_us)
        record(connection, by, now_us, "runs.rerun", job.name, newest.key, made.key, reason)
        return made

    return change


def again(connection: sqlite3.Connection, job: Job, last: Run, requested_by: str, now_us: int) -> Run:
    """Submit the attempt after `last`, the latest of its occurrence or request, inside the caller's change."""
    values: dict[str, Any] = {"schedule_id": last.schedule_id, "scheduled_for_us": last.scheduled_for_us}
    values |= {"instance": last.instance}
    member, key = member_of(connection, last), next_attempt_key(last.key)
    return submit(
        connection, job, key, requested_by, now_us, member, attempt=last.attempt + 1, event_id=last.event_id, **values
    )


def member_of(connection: sqlite3.Connection, run: Run) -> str:
    """The member that the run was for, by its key or its schedule; "" for any."""
    named = parse_key(run.key)
    schedule = schedules.get(connection, named.schedule_id) if named.schedule_id is not None else None
    return named.member or (schedule.member_id if schedule is not None else "")


def find(connection: sqlite3.Connection, number: int) -> Run:
    """The run with that number; raises NotFound."""
    run = runs.get(connection, number)
    if run is None:
        raise NotFound(f"There is no run {number}. See the list of runs.")
    return run


def _stop(number: int, kill: bool, by: Principal, now_us: int, why: str) -> Change[Run]:
    require(by, "runs.stop")

    def change(transaction: Transaction) -> Run:
        connection = transaction.connection
        run = find(connection, number)
        asked = run.cancel_requested_at_us is not None and (run.cancel_kill or not kill)
        if run.state in ENDED or asked:
            return run
        request_stop(connection, run, kill, by.name, now_us)
        record(connection, by, now_us, "runs.kill" if kill else "runs.cancel", run.key, run.state, "", why)
        return find(connection, number)

    return change


def request_stop(connection: sqlite3.Connection, run: Run, kill: bool, by: str, now_us: int) -> None:
    """End an open run inside the caller's change: at once while it waits here, else its agent is told.

    Of a suspended one that is to go on as another attempt it is that attempt, which settles it (`actions.checkpoints`).
    """
    asked = {"cancel_requested_by": by, "cancel_requested_at_us": now_us, "cancel_kill": int(kill)}
    if run.state == "resuming":
        last = find(connection, runs.attempts(connection, run.key)[-1].number)
        if last.number != run.number and last.state not in ENDED:
            request_stop(connection, last, kill, by, now_us)
            return
    is_here = run.dispatched_epoch is None and run.state in ("waiting", "starting")
    if is_here or run.state in ("suspended", "resuming"):
        state = step(run.state, RunEvent.CANCELLED)
        runs.set_state(connection, run.number, state, now_us, f"cancelled by {by}", **asked)
    else:
        runs.update(connection, run.number, **asked)
