"""Everything that people have said, as one readable file, and back (SKY-21). Permissions: jobs.change, agents.manage.

Agents, users, runs and gates are not in it: they are of this cluster. Secrets are named without their values.
An import makes what is missing and changes what differs, each entry in a savepoint of its own, all in one change; what
names something that comes later in the file is tried again after that. Importing an export into where it came from
changes nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import msgspec
import yaml

from server.actions import (
    calendars,
    environments,
    groups,
    job_specs,
    jobs,
    monitors,
    notifications,
    variables,
    workflows,
)
from server.actions.change import Change, Transaction, require
from server.actions.environments import CommandSetSpec, EnvironmentSpec
from server.actions.groups import GroupChange, GroupSpec
from server.actions.jobs import JobSpec
from server.actions.monitors import MonitorSpec
from server.actions.variables import Seal, VariableSpec
from server.core.calendar_rules import CalendarSpec
from server.core.model import Principal
from server.core.notifications import NamedList, TrapReceiver, Webhook
from server.core.workflow_writing import dump, plain, write
from server.core.workflows import WorkflowSpec
from server.core.yaml_size import TooLarge, check_size
from server.errors import Invalid, UnderstudyError
from server.storage import agents as agent_rows
from server.storage import calendars as calendar_rows
from server.storage import environments as environment_rows
from server.storage import groups as group_rows
from server.storage import jobs as job_rows
from server.storage import monitors as monitor_rows
from server.storage import notifications as notification_rows
from server.storage import variables as variable_rows
from server.storage import workflows as workflow_rows

VERSION = 1
TEXT_BYTES_MAX = 4 * 1024 * 1024
PAGE = 500
Entry = dict[str, Any]
Make = Callable[[Transaction], object]


class Done(msgspec.Struct, frozen=True):
    """What became of one entry: made | changed | same | refused."""

    noun: str
    name: str
    outcome: str
    reason: str = ""


class Importer(NamedTuple):
    """Who imports, when, with what is made outside of a change."""

    by: Principal
    now_us: int
    seal: Seal
    group_id: Callable[[str], str]


class Noun(NamedTuple):
    """`read` gives all there are, as people say them; `make` the change that brings one about, given what is there."""

    word: str
    read: Callable[[sqlite3.Connection], Iterable[msgspec.Struct]]
    kind: type[msgspec.Struct]
    make: Callable[[Any, bool, Importer], Make]


def _every(page: Callable[[str], list[Any]]) -> Iterable[Any]:
    after = ""
    while found := page(after):
        yield from found
        after = found[-1].name
        if len(found) < PAGE:
            return


def _calendars(connection: sqlite3.Connection) -> Iterable[CalendarSpec]:
    for line in _every(lambda after: calendar_rows.lines(connection, after, PAGE)):
        yield calendars.spec_of(calendars.find(connection, line.name))


def _environments(connection: sqlite3.Connection) -> Iterable[EnvironmentSpec]:
    for found in _every(lambda after: environment_rows.page(connection, after, PAGE)):
        yield msgspec.convert(msgspec.to_builtins(environments.view(connection, found)), EnvironmentSpec)


def _command_sets(connection: sqlite3.Connection) -> Iterable[CommandSetSpec]:
    for found in _every(lambda after: environment_rows.page_of_sets(connection, after, PAGE)):
        yield msgspec.convert(msgspec.to_builtins(environments.view_set(connection, found)), CommandSetSpec)


def _variables(connection: sqlite3.Connection) -> Iterable[VariableSpec]:
    after = 0
    while found := variable_rows.page(connection, None, after, PAGE):
        for row in found:
            seen = variables.view(connection, row)
            yield VariableSpec(
                name=seen.name, value=seen.value, secret=seen.secret, description=seen.description, job=seen.job
            )
        after = found[-1].id


def _lists(connection: sqlite3.Connection) -> Iterable[NamedList]:
    for found in _every(lambda after: notification_rows.page(connection, after, PAGE)):
        yield NamedList(
            name=found.name,
            emails=found.emails,
            webhooks=[Webhook(url=url) for url in found.webhooks],
            traps=[TrapReceiver(address=address) for address in found.traps],
            alarms=found.alarms,
            description=found.description,
        )


def _groups(connection: sqlite3.Connection) -> Iterable[GroupSpec]:
    for name in group_rows.names(connection):
        group = groups.find(connection, name)
        members = [
            f"{member.agent}:{member.capacity}" if member.capacity else member.agent
            for member in group_rows.member_lines(connection, group.id)
        ]
        values = {"policy": group.policy, "description": group.description}
        yield GroupSpec(name=name, agents=members, runs_at_once=group.runs_at_once, **values)


def _workflows(connection: sqlite3.Connection) -> Iterable[msgspec.Struct]:
    for line in _every(lambda after: workflow_rows.lines(connection, after, PAGE)):
        found = workflows.find(connection, line.name)
        yield workflows.version_of(connection, line.name, found.version).spec


def _jobs(connection: sqlite3.Connection) -> Iterable[JobSpec]:
    for job in _every(lambda after: job_rows.page(connection, after, PAGE)):
        yield job_specs.of_job(connection, job)


def _monitors(connection: sqlite3.Connection) -> Iterable[MonitorSpec]:
    for line in _every(lambda after: monitor_rows.lines(connection, after, PAGE)):
        found = monitors.find(connection, line.name)
        yield MonitorSpec(
            name=found.name,
            agent=_agent(connection, found.agent_id),
            kind=found.kind,
            settings=found.settings,
            jobs=[job.name for job in monitor_rows.jobs_of(connection, found.id)],
            enabled=found.enabled,
            description=found.description,
        )


def _agent(connection: sqlite3.Connection, agent_id: str) -> str:
    agent = agent_rows.get(connection, agent_id)
    return agent.name if agent is not None else agent_id


def _calendar(spec: CalendarSpec, is_there: bool, of: Importer) -> Make:
    if is_there:
        return calendars.update(spec.name, spec, of.by, of.now_us)
    return calendars.create(spec, of.by, of.now_us)


def _group(spec: GroupSpec, is_there: bool, of: Importer) -> Make:
    if is_there:
        wanted = GroupChange(
            agents=spec.agents, policy=spec.policy, description=spec.description, runs_at_once=spec.runs_at_once
        )
        return groups.update(spec.name, wanted, of.by, of.now_us)
    return groups.create(spec, of.group_id(spec.name), of.by, of.now_us)


def _workflow(spec: WorkflowSpec, is_there: bool, of: Importer) -> Make:
    written = write(spec)
    if is_there:
        return workflows.update(spec.name, written, of.by, of.now_us)
    return workflows.create(written, of.by, of.now_us)


def _list(spec: NamedList, is_there: bool, of: Importer) -> Make:
    return notifications.put_list(spec.name, spec, of.seal, of.by, of.now_us)


def _job(spec: JobSpec, is_there: bool, of: Importer) -> Make:
    return jobs.update(spec.name, spec, of.by, of.now_us) if is_there else jobs.create(spec, of.by, of.now_us)


def _monitor(spec: MonitorSpec, is_there: bool, of: Importer) -> Make:
    if is_there:
        return monitors.update(spec.name, spec, of.by, of.now_us)
    return monitors.create(spec, of.by, of.now_us)


NOUNS = (
    Noun("calendars", _calendars, CalendarSpec, _calendar),
    Noun("environments", _environments, EnvironmentSpec, lambda spec, _, of: environments.put(spec, of.by, of.now_us)),
    Noun(
        "command_sets", _command_sets, CommandSetSpec, lambda spec, _, of: environments.put_set(spec, of.by, of.now_us)
    ),
    Noun("variables", _variables, VariableSpec, lambda spec, _, of: variables.put(spec, of.seal, of.by, of.now_us)),
    Noun("notification_lists", _lists, NamedList, _list),
    Noun("groups", _groups, GroupSpec, _group),
    Noun("workflows", _workflows, WorkflowSpec, _workflow),
    Noun("jobs", _jobs, JobSpec, _job),
    Noun("monitors", _monitors, MonitorSpec, _monitor),
)
"""In the order of the file; what needs something below it is tried again."""


def export(connection: sqlite3.Connection) -> str:
    """A query: everything as YAML, at one sequence. A secret has no value."""
    said: dict[str, Any] = {"understudy": VERSION}
    for noun in NOUNS:
        found = [plain(spec) for spec in noun.read(connection)]
        if found:
            said[noun.word] = found
    return dump(said)


def read(text: str) -> list[tuple[Noun, msgspec.Struct]]:
    """The entries of a file, in its order; raises Invalid naming the entry that is wrong. Call it in a thread."""
    if len(text) > TEXT_BYTES_MAX:
        raise Invalid(f"The file is longer than {TEXT_BYTES_MAX} characters. Import it in parts.")
    try:
        check_size(text)
        found = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except TooLarge as error:
        raise Invalid(str(error)) from error
    except (yaml.YAMLError, RecursionError) as error:
        raise Invalid(f"The file is no YAML: {' '.join(str(error).split())}.") from error
    if not isinstance(found, dict) or found.get("understudy") != VERSION:
        raise Invalid(f"The file is no export: it does not begin with `understudy: {VERSION}`.")
    unknown = sorted(set(map(str, found)) - {"understudy", *(noun.word for noun in NOUNS)})
    if unknown:
        raise Invalid(f"The file names {', '.join(unknown)}, which this release does not know.")
    entries = []
    for noun in NOUNS:
        listed = found.get(noun.word) or []
        if not isinstance(listed, list):
            raise Invalid(f"{noun.word} is no list of entries.")
        for number, said in enumerate(listed, start=1):
            try:
                entries.append((noun, _spec(noun, said)))
            except (msgspec.ValidationError, Invalid) as error:
                raise Invalid(f"Entry {number} of {noun.word} is not right: {error}") from error
    return entries


def _spec(noun: Noun, said: Any) -> msgspec.Struct:
    """An entry as what it says; short forms of a workflow are those of its own reader."""
    if noun.kind is WorkflowSpec:
        return workflows.read(dump(said)).spec
    if noun.kind is JobSpec and isinstance(said, dict) and isinstance(said.get("retry"), int):
        said = {**said, "retry": {"attempts_max": said["retry"]}}
    return msgspec.convert(said, noun.kind)


def import_all(entries: list[tuple[Noun, msgspec.Struct]], of: Importer, is_trial: bool = False) -> Change[list[Done]]:
    """Bring about what the entries say; returns what became of each. Nothing that is not named is taken away.

    `is_trial`: the report alone, nothing is changed.
    """
    require(of.by, "jobs.change")
    require(of.by, "agents.manage")

    def change(transaction: Transaction) -> list[Done]:
        connection = transaction.connection
        connection.execute("SAVEPOINT import_all")
        report = _import(transaction, entries, of)
        if is_trial:
            connection.execute("ROLLBACK TO import_all")
        connection.execute("RELEASE import_all")
        return report

    return change


def _import(transaction: Transaction, entries: list[tuple[Noun, msgspec.Struct]], of: Importer) -> list[Done]:
    there = {noun.word: {_key(spec): spec for spec in noun.read(transaction.connection)} for noun in NOUNS}
    done: dict[tuple[str, str], Done] = {}
    left = entries
    while left:
        again = []
        for noun, spec in left:
            key = _key(spec)
            done[noun.word, key] = outcome = _put(transaction, noun, spec, there[noun.word].get(key), of)
            if outcome.outcome == "refused":
                again.append((noun, spec))
        if len(again) == len(left):
            break
        left = again
    return [done[noun.word, _key(spec)] for noun, spec in entries]


def _put(transaction: Transaction, noun: Noun, spec: Any, present: Any, of: Importer) -> Done:
    name = _key(spec)
    if present == spec:
        return Done(noun.word, name, "same")
    connection = transaction.connection
    connection.execute("SAVEPOINT import_one")
    try:
        noun.make(spec, present is not None, of)(transaction)
    except UnderstudyError as error:
        connection.execute("ROLLBACK TO import_one")
        connection.execute("RELEASE import_one")
        return Done(noun.word, name, "refused", str(error))
    connection.execute("RELEASE import_one")
    return Done(noun.word, name, "made" if present is None else "changed")


def _key(spec: Any) -> str:
    """What an entry is called: a variable of a job has the job before its name."""
    job = getattr(spec, "job", "")
    return f"{job}: {spec.name}" if job else str(spec.name)
