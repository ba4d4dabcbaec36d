"""Jobs from the files of other schedulers (SKY-21). Permission: jobs.change.

The report has one entry for each line or event. One that is there already is reported as `exists`, so that importing
twice changes nothing, and what cannot be taken is refused alone: nothing is refused as a whole.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

import msgspec

from server.actions import agents
from server.actions import groups as group_actions
from server.actions import jobs as job_actions
from server.actions.change import Change, Transaction, require
from server.actions.jobs import JobSpec, When
from server.core import anacrontab, cronicle, crontab
from server.core.foreign_jobs import ForeignJob, Line, job_name
from server.core.model import Principal
from server.errors import Conflict, Invalid, NotFound
from server.storage import jobs

FORMS: dict[str, Callable[[str], list[Line]]] = {
    "user": lambda text: crontab.parse(text, False),
    "system": lambda text: crontab.parse(text, True),
    "anacron": anacrontab.parse,
    "cronicle": cronicle.parse,
}
"""What a file can be: a user's crontab, /etc/crontab and /etc/cron.d, an anacrontab, an export of Cronicle."""
HELD = "it was switched off where it came from"


class Place(msgspec.Struct, frozen=True, kw_only=True):
    """Where jobs run, by name: an agent or a group. `targets` are other places for what the file calls by these names.

    A target is an agent's name, or a group's after `group `.
    """

    agent: str = ""
    group: str = ""
    targets: dict[str, str] = {}

    def of(self, target: str) -> tuple[str, str]:
        """(agent, group) for a target of the file; ("", "") when nothing is said of it."""
        named = self.targets.get(target, "")
        if named.startswith("group "):
            return "", named.removeprefix("group ")
        return (named, "") if named else (self.agent, self.group)


class Imported(msgspec.Struct, frozen=True):
    """One line of the report of an import: outcome is job | environment | comment | refused | exists."""

    line: int
    text: str
    outcome: str
    reason: str = ""
    job: str = ""


def import_file(
    text: str, form: str, place: Place, zone: str, by: Principal, now_us: int, prefix: str = "cron"
) -> Change[list[Imported]]:
    """Make jobs of a file; a name is made of `prefix` and the command or title.

    Raises NotFound for a place that is not there, Invalid for a form that is not known.
    """
    require(by, "jobs.change")
    if form not in FORMS:
        raise Invalid(f"{form!r} is no kind of file that is read. Choose one of {', '.join(FORMS)}.", field="form")

    def change(transaction: Transaction) -> list[Imported]:
        connection = transaction.connection
        _check(connection, place)
        report = []
        for line in FORMS[form](text):
            made = _import_line(connection, line, place, zone, prefix, by, now_us)
            if made.outcome == "job" and line.job is not None and line.job.held:
                job_actions.hold(made.job, by, now_us, HELD)(transaction)
            report.append(made)
        return report

    return change


def _check(connection: sqlite3.Connection, place: Place) -> None:
    """Every place that is named is there, before anything is made."""
    for agent, group in [(place.agent, place.group), *(place.of(target) for target in place.targets)]:
        if agent:
            agents.find(connection, agent)
        if group:
            group_actions.find(connection, group)


def _import_line(
    connection: sqlite3.Connection, line: Line, place: Place, zone: str, prefix: str, by: Principal, now_us: int
) -> Imported:
    if line.job is None:
        return Imported(line.number, line.text, line.kind, line.reason)
    agent, group = place.of(line.job.target)
    if not agent and not group:
        reason = f"nothing says where {line.job.target!r} is: give --target {line.job.target}=AGENT, or --agent"
        return Imported(line.number, line.text, "refused", reason)
    name = job_name(prefix, line)
    if jobs.by_name(connection, name) is not None:
        return Imported(line.number, line.text, "exists", f"there is a job {name} already", name)
    spec = specification(line.job, name, agent, group, zone, f"Imported, line {line.number}")
    try:
        job_actions.validate(spec)
        job_actions.insert(connection, spec, by, now_us)
    except (Invalid, Conflict, NotFound) as error:
        return Imported(line.number, line.text, "refused", str(error))
    return Imported(line.number, line.text, "job", line.reason, name)


def specification(job: ForeignJob, name: str, agent: str, group: str, zone: str, description: str) -> JobSpec:
    """The job as people here say it; `zone` is that of its times unless it has one of its own."""
    return JobSpec(
        name=name,
        command=job.command,
        agent=agent,
        group=group,
        schedules=[When(expression, job.zone or zone, jitter_s=job.jitter_s) for expression in job.schedules],
        environment=dict(job.environment),
        run_as=job.user,
        standard_input=job.standard_input,
        description=job.description or description,
        misfire_policy=job.misfire_policy,
        misfire_grace_s=job.misfire_grace_s,
        timeout_s=job.timeout_s,
        retry=job.retry,
        exit_rules=job.exit_rules,
        skip_if_running=job.skip_if_running,
    )
