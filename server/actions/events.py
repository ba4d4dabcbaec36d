"""What agents say of monitors, written into rows (SKY-16). Safe to repeat. For the fleet.

An event is found by its monitor and its number. Of the jobs that react, the monitor's agent begins its own and reports
them; the others are submitted here, in the change that records the event.
"""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import reactions
from server.core import agent_wire as wire
from server.core.model import Job, Run, Specification
from server.core.monitors import Event, Monitor, Reaction, StandingMonitor, with_event
from server.core.planning import is_by_master
from server.storage import agents, events, jobs, monitors, specifications, system_messages


def fired(connection: sqlite3.Connection, agent_id: str, body: wire.Fired, now_us: int) -> None:
    """Record an event and submit what is for other agents. Of a monitor that nobody here knows: an alarm."""
    monitor = monitors.get(connection, body.monitor_id)
    if monitor is None or monitor.agent_id != agent_id:
        _tell_unknown(connection, agent_id, body, now_us)
        return
    known = events.by_token(connection, monitor.id, str(body.number))
    if known is not None:
        if known.at_us != body.at_us:
            _tell_unknown(connection, agent_id, body, now_us)
        return
    event = Event(
        id=0,
        monitor_id=monitor.id,
        token=str(body.number),
        number=body.number,
        what=body.what,
        at_us=body.at_us,
        variables=body.variables,
        fired_by="",
        recorded_at_us=now_us,
    )
    event = msgspec.structs.replace(event, id=events.insert(connection, event))
    for job_id in body.elsewhere:
        reactions.submit(connection, monitor, event, job_id, now_us)
    for job_id, cause in body.suppressed:
        job = jobs.get(connection, job_id)
        if job is not None:
            reactions.suppress(connection, monitor, event, job, cause)


def problem(connection: sqlite3.Connection, agent_id: str, body: wire.MonitorProblem, now_us: int) -> None:
    """Show what a monitor cannot watch, and tell people when it begins."""
    monitor = monitors.get(connection, body.monitor_id)
    if monitor is None or monitor.agent_id != agent_id or monitor.problem == body.text:
        return
    monitors.update(connection, monitor.id, problem=body.text)
    if body.text:
        system_messages.insert(connection, "alarm", f"Monitor {monitor.name}: {body.text}", now_us)


def standing(connection: sqlite3.Connection, monitor: Monitor) -> wire.FromNode:
    """The monitor's present version as its agent is told it."""
    if not monitor.is_live:
        return wire.ReleaseMonitor(monitor.id, monitor.version)
    reacting = monitors.jobs_of(connection, monitor.id)
    given = StandingMonitor(
        monitor.id,
        monitor.version,
        monitor.name,
        monitor.kind,
        monitor.settings,
        tuple(
            Reaction(specifications.of_job(connection, job, job.agent_id), job.held)
            for job in reacting
            if _is_own(job, monitor)
        ),
        tuple((job.id, job.name) for job in reacting if not _is_own(job, monitor)),
    )
    return wire.GiveMonitor(given, events.next_number(connection, monitor.id))


def _is_own(job: Job, monitor: Monitor) -> bool:
    """Whether the monitor's agent begins the job by itself; what needs the whole picture the master submits."""
    return job.agent_id == monitor.agent_id and not is_by_master(job, False)


def compare(
    connection: sqlite3.Connection, agent_id: str, held: dict[int, int], restored: bool
) -> tuple[tuple[int, int], ...]:
    """Monitors that the agent does not hold as they are here are given again; returns those that it shall not hold."""
    live = {monitor.id for monitor in monitors.of_agent(connection, agent_id)}
    for monitor in monitors.of_agent(connection, agent_id):
        if restored or monitor.acknowledged_version != held.get(monitor.id, 0):
            monitors.update(connection, monitor.id, acknowledged_version=0)
    return tuple((monitor_id, version) for monitor_id, version in held.items() if monitor_id not in live)


def of_run(connection: sqlite3.Connection, run: Run, specification: Specification) -> Specification:
    """The specification with the variables of the run's event, if it has one."""
    event = events.get(connection, run.event_id) if run.event_id is not None else None
    return specification if event is None else with_event(specification, event.variables)


def _tell_unknown(connection: sqlite3.Connection, agent_id: str, body: wire.Fired, now_us: int) -> None:
    agent = agents.get(connection, agent_id)
    name = agent.name if agent is not None else agent_id[:8]
    text = (
        f"{name} reported event {body.number} of the monitor {body.monitor}, which this office does not know as such: "
        "it was lost in a failover, or the machine came back from a snapshot. Its own runs are on record; nothing was "
        f"submitted for other agents. Variables: {', '.join(f'{k}={v}' for k, v in body.variables.items())[:500]}"
    )
    system_messages.insert(connection, "alarm", text, now_us)
