"""Why a job runs when it does, and why a run waits: what rows say, for the command, the API and the pages.

Queries only, nothing is changed. What they cost grows with what the job has, not with what there is. Permission: read.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import msgspec

from server.actions import job_workflows, resources, window_fit
from server.actions import prerequisites as prerequisite_actions
from server.actions.jobs import of_row
from server.core import explanations as say
from server.core import planning
from server.core.asides import sentence as of_aside
from server.core.explanations import Explanation, Place, Why, at
from server.core.forecast import first
from server.core.limits import phrase
from server.core.model import DAY_US, Job, Run, Schedule
from server.core.prerequisites import UNMET_US
from server.core.run_keys import parse_key
from server.core.run_states import ENDED, RunState
from server.core.tenancy import tenant_of
from server.core.when import sentence
from server.storage import (
    agents,
    asides,
    audit,
    calendars,
    events,
    exceptions,
    gates,
    groups,
    jobs,
    limits,
    missed,
    monitors,
    orders,
    prerequisites,
    runs,
    schedules,
    workflow_runs,
    workflows,
)
from server.storage.job_workflows import WORKFLOWS, is_held

NEXT = 3
HOLDERS_MAX = 5


def of_job(connection: sqlite3.Connection, job: Job, now_us: int) -> Explanation:
    """A query: all that decides when, where and by whom a job runs."""
    lines = [
        *_asides(connection, job),
        *_when(connection, job, now_us),
        *_in_the_way(connection, job),
        *window_fit.warn(connection, job, now_us),
        *_needs(connection, job),
    ]
    lines += [*_limits(connection, job), *_where(connection, job), *_starters(connection, job)]
    lines += [say.of_misfire(job), say.of_retry(job.retry), say.of_interruption(job.checkpoints)]
    if count := missed.count_open(connection, job.id):
        command = f"understudy missed list --job {job.name}"
        lines.append(Why(topic="missed", text=f"{count} missed and not decided.", command=command))
    return Explanation(subject=f"job {job.name}", lines=[*lines, _last(connection, job)])


def of_run(connection: sqlite3.Connection, run: Run) -> Explanation:
    """A query: why a run exists, what it is doing, and what would let it go."""
    job = jobs.get(connection, run.job_id)
    name = job.name if job is not None else f"job {run.job_id}"
    lines = list(_origin(connection, run, name))
    said = f" Reason: {run.reason}." if run.reason else ""
    text = say.state_sentence(run.state, run.started_at_us is not None, run.agent_id == WORKFLOWS)
    lines.append(Why(topic=run.state, text=f"{text}{said} Since {at(run.state_since_us)}."))
    if run.state == RunState.WAITING:
        lines += _waits(connection, run, job, name)
    elif run.state == RunState.UNKNOWN:
        agent = _agent_name(connection, run.agent_id)
        text = (
            f"It is settled when {agent} answers. If that machine is gone for good, say so: then it can be run again."
        )
        lines.append(Why(topic="what settles it", text=text, command=f"understudy agent declare-dead {agent}"))
    elif run.state == RunState.SUSPENDED:
        command = f"understudy run resume {run.number}"
        lines.append(Why(topic="what lets it go", text="It goes on when somebody says so.", command=command))
    elif run.state in ENDED and run.exit_code is not None:
        lines.append(Why(topic="end", text=f"Exit code {run.exit_code}."))
    if run.cancel_requested_by and run.state not in ENDED:
        lines.append(Why(topic="stop", text=f"{run.cancel_requested_by} wants it ended; its agent is told."))
    return Explanation(subject=f"run {run.number} of {name}", lines=lines)


def _asides(connection: sqlite3.Connection, job: Job) -> Iterator[Why]:
    for aside in asides.of_job(connection, job.id):
        text = f"{of_aside(aside, job.name)}, because of a defect: {aside.error}. Try it again once that is gone."
        yield Why(topic="put aside", text=text, command=f"understudy scheduler aside retry {aside.id}")


def _when(connection: sqlite3.Connection, job: Job, now_us: int) -> Iterator[Why]:
    found, names = schedules.of_job(connection, job.id), calendars.names(connection)
    if job.deleted_at_us is not None:
        yield Why(topic="when", text=f"It was deleted at {at(job.deleted_at_us)}: it does not run.")
        return
    if not found and not job.prerequisites.is_set:
        text = "It has no schedule: it runs on request, for an event, or as a step of a workflow."
        yield Why(topic="when", text=text, command=f"understudy run now {job.name}")
    for schedule in found:
        said = sentence(of_row(schedule, names))
        yield Why(topic="when", text=f"{said[:1].upper()}{said[1:]}. {_next(connection, schedule, now_us)}")


def _next(connection: sqlite3.Connection, schedule: Schedule, now_us: int) -> str:
    """The next instants, and what people changed of them."""
    special = {one.instant_us: one for one in exceptions.open_of_schedule(connection, schedule.id, now_us)}
    found = first([(schedule.id, schedule.timing)], now_us, now_us + 366 * DAY_US, NEXT)
    if not found:
        return "Nothing is due within a year."
    words = []
    away = {one.instant_us for one in special.values() if one.moved_to_us is not None and one.moved_to_us > now_us}
    for instant_us in sorted({instant_us for instant_us, _ in found} | {one for one in away if one <= now_us}):
        change = special.get(instant_us)
        text = at(instant_us)
        if change is not None and change.skipped:
            text += f" (skipped by {change.created_by}{': ' + change.reason if change.reason else ''})"
        elif change is not None and change.moved_to_us is not None:
            text += f" (moved by {change.created_by} to {at(change.moved_to_us)})"
        words.append(text)
    return f"Next: {', '.join(words)}."


def _in_the_way(connection: sqlite3.Connection, job: Job) -> list[Why]:
    return (_hold(connection, job) if job.held else []) + list(_gates(connection, job.agent_id, tenant_of(job.name)))


def _hold(connection: sqlite3.Connection, job: Job) -> list[Why]:
    entry = audit.latest(connection, "jobs.hold", job.name)
    by = f" by {entry.who} at {at(entry.at_us)}{': ' + entry.reason if entry.reason else ''}" if entry else ""
    text = f"The job is held{by}. What falls due meanwhile is recorded as missed."
    return [Why(topic="in the way", text=text, command=f"understudy job release {job.name}")]


def _gates(connection: sqlite3.Connection, agent_id: str, tenant: str) -> Iterator[Why]:
    for gate in gates.for_agent(connection, agent_id):
        if tenant_of(gate.kind) not in ("", tenant):
            continue
        yield say.of_gate(gate, _agent_name(connection, gate.agent_id) if gate.agent_id else "")


def _needs(connection: sqlite3.Connection, job: Job) -> Iterator[Why]:
    rows = {row.number: row for row in prerequisites.of_job(connection, job.id)}
    for condition in job.prerequisites.conditions():
        row, name = rows.get(condition.number), prerequisite_actions.words_of(connection, condition)
        wanted = f"{name} {' or '.join(condition.statuses)}"
        if row is not None and row.met:
            by = prerequisite_actions.subject_words(connection, row)
            yield Why(topic="after", text=f"Met: {wanted}, since {at(row.since_us)} by {by}.")
        else:
            last = f" Last: {row.status} at {at(row.since_us)}." if row is not None and row.status else ""
            yield Why(topic="after", text=f"Missing: {wanted}.{last}")


def _limits(connection: sqlite3.Connection, job: Job) -> Iterator[Why]:
    if job.limits.priority:
        text = f"Priority {job.limits.priority}: it goes before lower ones that wait equally long."
        yield Why(topic="priority", text=text)
    needs = limits.needs(connection, job)
    holders = limits.holders(connection) if needs else []
    for place, count in needs.items():
        held = [(one, one.holds[place]) for one in holders if place in one.holds]
        names = ", ".join(f"{one.job} #{one.number} ({by})" for one, by in held[:HOLDERS_MAX])
        used = (
            f"{sum(by for _, by in held)} of {limits.capacity(connection, place)} taken{': ' + names if names else ''}"
        )
        text = f"A run takes {count} of {phrase(place)}; {used}."
        kind, _, name = place.partition(" ")
        command = f"understudy group show {name}" if kind == "group" else "understudy resource list"
        yield Why(topic="limits", text=text, command=command)


def _where(connection: sqlite3.Connection, job: Job) -> Iterator[Why]:
    group = groups.get(connection, job.agent_id)
    if job.begins_workflow_id is not None:
        name = job_workflows.name_of(connection, job)
        command = f"understudy workflow release {name}" if is_held(connection, job.begins_workflow_id) else ""
        held = " That is held: nothing of it begins." if command else ""
        text = f"It begins the workflow {name}; the master does.{held}"
        yield Why(topic="where", text=text, command=command)
        return
    if group is None:
        yield Why(
            topic="where", text=f"On {_agent_name(connection, job.agent_id)}{_silence(connection, job.agent_id)}."
        )
        return
    words = []
    for member in groups.members(connection, group.id):
        kinds = [gate.kind.replace("_", " ") for gate in gates.for_agent(connection, member.agent_id) if gate.agent_id]
        said = f" ({', '.join(kinds)})" if kinds else ""
        words.append(f"{_agent_name(connection, member.agent_id)}{_silence(connection, member.agent_id)}{said}")
    yield say.of_policy(group.name, group.policy, "; ".join(words) or "it has no members")


def _silence(connection: sqlite3.Connection, agent_id: str) -> str:
    agent = agents.get(connection, agent_id)
    if agent is None:
        return ""
    if agent.dead_at_us is not None:
        return f", declared dead at {at(agent.dead_at_us)}"
    if agent.quarantined_at_us is not None:
        return f", in quarantine: {agent.quarantine_reason}"
    return f", silent since {at(agent.silent_since_us)}" if agent.silent_since_us is not None else ""


def _starters(connection: sqlite3.Connection, job: Job) -> Iterator[Why]:
    is_group = groups.is_group(connection, job.agent_id)
    if planning.is_by_master(job, is_group):
        reasons = ["it runs in a group"] * is_group + ["it waits for others"] * job.prerequisites.is_set
        reasons += ["it begins a workflow"] * (job.begins_workflow_id is not None)
        why = " and ".join(reasons + ["it has limits"] * bool(limits.needs(connection, job)))
        yield say.of_starter(True, why, "", 0)
        return
    until: dict[str, int] = {}
    for order in orders.lines_of_job(connection, job.id):
        if order.state == "active":
            until[order.agent] = max(until.get(order.agent, 0), order.acknowledged_until_us)
    for agent, until_us in until.items():
        yield say.of_starter(False, "", agent, until_us)


def _last(connection: sqlite3.Connection, job: Job) -> Why:
    newest = runs.page(connection, job_id=job.id, limit=1)
    if not newest:
        return Why(topic="last run", text="It has not run yet.")
    run = newest[0]
    said = f" ({run.reason})" if run.reason else ""
    text = f"Run {run.number} is {run.state}{said} since {at(run.state_since_us)}."
    return Why(topic="last run", text=text, command=f"understudy explain {run.number}")


def _origin(connection: sqlite3.Connection, run: Run, job: str) -> Iterator[Why]:
    """Why it exists: every cause that rows know, the last one first."""
    if run.attempt > 1:
        others = runs.attempts(connection, run.key)
        before = next((one for one in others if one.attempt == run.attempt - 1), None)
        text = f"Attempt {run.attempt}"
        text += f", after attempt {run.attempt - 1} (run {before.number}) was {before.state}" if before else ""
        yield Why(topic="why it exists", text=f"{text}, asked by {run.requested_by or 'its rule'}.")
    if run.resumed_run is not None:
        text = f"It goes on from checkpoint {run.resumed_checkpoint} of run {run.resumed_run}."
        yield Why(topic="why it exists", text=text)
    if run.workflow_run is not None:
        parent = workflow_runs.get(connection, run.workflow_run)
        workflow = workflows.get(connection, parent.workflow_id) if parent is not None else None
        name = f" of {workflow.name}" if workflow is not None else ""
        yield Why(topic="why it exists", text=f"A step of workflow run {run.workflow_run}{name}.")
        return
    named = parse_key(run.key)
    if named.schedule_id is not None and named.scheduled_for_us is not None:
        yield Why(topic="why it exists", text=_occurrence(connection, named.schedule_id, named.scheduled_for_us))
    elif named.monitor_id is not None:
        monitor = monitors.get(connection, named.monitor_id)
        event = events.get(connection, run.event_id) if run.event_id is not None else None
        name = monitor.name if monitor is not None else str(named.monitor_id)
        what = f": {event.what} at {at(event.at_us)}" if event is not None else ""
        yield Why(topic="why it exists", text=f"For an event of the monitor {name}{what}.")
    else:
        text = f"Asked for by {run.requested_by or 'nobody known'} at {at(run.submitted_at_us)}."
        yield Why(topic="why it exists", text=text, command=f"understudy explain {job}")


def _occurrence(connection: sqlite3.Connection, schedule_id: int, at_us: int) -> str:
    schedule = schedules.get(connection, schedule_id)
    said = sentence(of_row(schedule, calendars.names(connection))) if schedule is not None else "a schedule of before"
    text = f"It was due at {at(at_us)} by its schedule: {said}."
    special = exceptions.of_occurrence(connection, schedule_id, at_us)
    if special is not None and special.moved_to_us is not None:
        text += f" {special.created_by} moved it to {at(special.moved_to_us)}."
    gap = missed.of_occurrence(connection, schedule_id, at_us)
    if gap is not None and gap.resolution == "run":
        text += f" It makes up for one that was missed: {gap.cause}; decided by {gap.resolved_by}."
    return text


def _waits(connection: sqlite3.Connection, run: Run, job: Job | None, name: str) -> Iterator[Why]:
    group = groups.get(connection, run.group_id) if run.group_id else None
    is_chosen = run.agent_id != run.group_id
    place = Place(
        run=run.number,
        job=name,
        agent=_agent_name(connection, run.agent_id) if is_chosen else "",
        group=group.name if group is not None else "",
        holders=resources.describe(connection, run),
    )
    found = list(_gates(connection, run.agent_id, tenant_of(name))) + (
        _hold(connection, job) if job is not None and job.held else []
    )
    first_line = say.of_waiting(run.reason, place)
    yield msgspec.structs.replace(first_line, command="") if found else first_line
    yield from found
    if job is not None and run.begin_after_us == UNMET_US:
        yield from _needs(connection, job)


def _agent_name(connection: sqlite3.Connection, agent_id: str) -> str:
    agent = agents.get(connection, agent_id)
    return agent.name if agent is not None else agent_id[:8]
