"""Event monitors: what an agent watches, and which jobs react (SKY-16). Permission: jobs.change; firing: runs.start.

A monitor is never moved: on another agent it is another row that has the name, because numbers of events belong to the
agent that gave them. What its agent is to hold is its `version`; the fleet brings it.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

import msgspec

from server.actions import agents, jobs, reactions
from server.actions.change import Change, Transaction, record, require
from server.core.model import Principal, Run
from server.core.monitors import (
    MANUAL,
    Event,
    Monitor,
    Settings,
    variables_of,
    wrong_settings,
    wrong_variables,
)
from server.errors import Conflict, Invalid, NotFound
from server.storage import events, monitors, runs

JOBS_MAX = 50
AGENT_MONITORS_MAX = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_REQUEST_ID = re.compile(r"[0-9A-Za-z-]{1,64}\Z")


class MonitorSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say about a monitor. `agent` and `jobs` are names."""

    name: str
    agent: str
    kind: str
    settings: Settings = Settings()
    jobs: list[str] = []
    enabled: bool = True
    description: str = ""


class Fired(msgspec.Struct, frozen=True):
    """An event that was fired here, and the runs that it submitted."""

    event: Event
    runs: list[Run]


def create(spec: MonitorSpec, by: Principal, now_us: int) -> Change[Monitor]:
    """Add a monitor. Raises Invalid naming the fields, NotFound for agent or job, Conflict for the name."""
    require(by, "jobs.change")
    validate(spec)

    def change(transaction: Transaction) -> Monitor:
        connection = transaction.connection
        if monitors.by_name(connection, spec.name) is not None:
            raise Conflict(f"There is a monitor {spec.name} already. Choose another name.")
        made = _insert(connection, spec, now_us)
        record(connection, by, now_us, "monitors.create", spec.name, "", spec)
        return made

    return change


def update(name: str, spec: MonitorSpec, by: Principal, now_us: int, version: int | None = None) -> Change[Monitor]:
    """Give a monitor these properties; the name stays. With another agent or kind it begins anew there.

    Conflict when `version` is given and the monitor was changed since it was read.
    """
    require(by, "jobs.change")
    validate(spec)
    if spec.name != name:
        raise Invalid("A monitor keeps its name. Create another one and delete this one.", field="name")

    def change(transaction: Transaction) -> Monitor:
        connection = transaction.connection
        found = find(connection, name)
        if version is not None and version != found.version:
            raise Conflict(f"{name} was changed by somebody else meanwhile. Read it again and repeat the change.")
        agent = agents.find(connection, spec.agent)
        record(connection, by, now_us, "monitors.update", name, found, spec)
        if (agent.id, spec.kind) != (found.agent_id, found.kind):
            _retire(connection, found, now_us)
            return _insert(connection, spec, now_us)
        monitors.set_jobs(connection, found.id, _job_ids(connection, spec))
        monitors.update(
            connection,
            found.id,
            settings=spec.settings,
            enabled=int(spec.enabled),
            description=spec.description,
            version=found.version + 1,
            updated_at_us=now_us,
        )
        return find(connection, name)

    return change


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a monitor: its agent watches it no more. Its events and their runs stay, the name becomes free."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found = find(connection, name)
        _retire(connection, found, now_us)
        record(connection, by, now_us, "monitors.delete", name, found, "", reason)

    return change


def enable(name: str, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Watch again; what happened meanwhile is not told. False when it was enabled already."""
    return _enable(name, True, by, now_us, reason)


def disable(name: str, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Watch no more until enabled. False when it was disabled already."""
    return _enable(name, False, by, now_us, reason)


def fire(name: str, variables: Mapping[str, str], request_id: str, by: Principal, now_us: int) -> Change[Fired]:
    """Fire a manual event here and submit a run of each job that reacts. `request_id` makes it one event, once."""
    require(by, "runs.start")
    wrong = wrong_variables(variables)
    if wrong:
        said = "; ".join(f"{key}: {text}" for key, text in wrong.items())
        raise Invalid(f"The variables are not right: {said}. Correct them and try again.", fields=wrong)
    if not _REQUEST_ID.match(request_id):
        raise Invalid("The request id must have 1 to 64 letters, digits or hyphens.", field="request_id")

    def change(transaction: Transaction) -> Fired:
        connection = transaction.connection
        monitor = find(connection, name)
        if monitor.kind != MANUAL:
            raise Conflict(f"{name} watches by itself. Only a monitor of the kind manual can be fired.")
        if not monitor.enabled:
            raise Conflict(f"{name} is disabled. Enable it first: `understudy monitor enable {name}`.")
        token = f"r{request_id}"
        event = events.by_token(connection, monitor.id, token)
        if event is None:
            event = _fire(connection, monitor, token, variables, by, now_us)
            record(connection, by, now_us, "monitors.fire", name, "", token)
        return Fired(event, runs.of_event(connection, event.id))

    return change


def find(connection: sqlite3.Connection, name: str) -> Monitor:
    """The monitor of that name that is not deleted; raises NotFound."""
    found = monitors.by_name(connection, name)
    if found is None:
        raise NotFound(f"There is no monitor {name}. See the list of monitors.")
    return found


def validate(spec: MonitorSpec) -> None:
    """Raise Invalid naming every field that is wrong."""
    wrong = wrong_settings(spec.kind, spec.settings)
    if not _NAME.match(spec.name):
        wrong["name"] = "must begin with a letter or digit and have up to 100 letters, digits, . _ -"
    if len(spec.jobs) > JOBS_MAX:
        wrong["jobs"] = f"at most {JOBS_MAX} jobs react to one monitor"
    if wrong:
        said = "; ".join(f"{name} {text}" for name, text in wrong.items())
        raise Invalid(f"The monitor is not right: {said}. Correct it and try again.", fields=wrong)


def _insert(connection: sqlite3.Connection, spec: MonitorSpec, now_us: int) -> Monitor:
    agent = agents.find(connection, spec.agent)
    if monitors.count_of_agent(connection, agent.id) >= AGENT_MONITORS_MAX:
        raise Conflict(f"{spec.agent} has {AGENT_MONITORS_MAX} monitors already. Delete one, or use a wider pattern.")
    job_ids = _job_ids(connection, spec)
    monitor_id = monitors.insert(
        connection,
        name=spec.name,
        agent_id=agent.id,
        kind=spec.kind,
        settings=spec.settings,
        enabled=int(spec.enabled),
        description=spec.description,
        created_at_us=now_us,
        updated_at_us=now_us,
    )
    monitors.set_jobs(connection, monitor_id, job_ids)
    return find(connection, spec.name)


def _job_ids(connection: sqlite3.Connection, spec: MonitorSpec) -> list[int]:
    return [jobs.find(connection, name).id for name in dict.fromkeys(spec.jobs)]


def _retire(connection: sqlite3.Connection, monitor: Monitor, now_us: int) -> None:
    values = {"name": f"{monitor.name} (deleted {monitor.id})", "version": monitor.version + 1}
    monitors.update(connection, monitor.id, **values, deleted_at_us=now_us, updated_at_us=now_us)


def _enable(name: str, enabled: bool, by: Principal, now_us: int, reason: str) -> Change[bool]:
    require(by, "jobs.change")

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        found = find(connection, name)
        if found.enabled == enabled:
            return False
        values = {"enabled": int(enabled), "version": found.version + 1, "updated_at_us": now_us, "problem": ""}
        monitors.update(connection, found.id, **values)
        action = "monitors.enable" if enabled else "monitors.disable"
        record(connection, by, now_us, action, name, int(found.enabled), int(enabled), reason)
        return True

    return change


def _fire(
    connection: sqlite3.Connection,
    monitor: Monitor,
    token: str,
    variables: Mapping[str, str],
    by: Principal,
    now_us: int,
) -> Event:
    named = variables_of(monitor.name, monitor.kind, MANUAL, token, now_us, variables)
    event = Event(
        id=0,
        monitor_id=monitor.id,
        token=token,
        number=None,
        what=MANUAL,
        at_us=now_us,
        variables=named,
        fired_by=by.name,
        recorded_at_us=now_us,
    )
    event = msgspec.structs.replace(event, id=events.insert(connection, event))
    for job in monitors.jobs_of(connection, monitor.id):
        reactions.submit(connection, monitor, event, job.id, now_us)
    return event
