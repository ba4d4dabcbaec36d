"""Agent environments and command sets: what jobs share by name. Permission: jobs.change.

A change plans the jobs again that refer to it; what runs keeps what it has.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping

import msgspec

from server.actions import agents, variables
from server.actions.change import Change, Transaction, record, require
from server.core.command_sets import CommandSet, wrong_commands
from server.core.environments import Environment, Place, wrong_variables
from server.core.model import Principal
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents as agent_rows
from server.storage import environments, jobs
from server.storage import variables as variable_rows

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")


class EnvironmentSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say of an environment. `agents`: what differs on single agents, by their names."""

    name: str
    description: str = ""
    run_as: str = ""
    working_directory: str = ""
    variables: dict[str, str] = {}
    agents: dict[str, Place] = {}


class EnvironmentView(EnvironmentSpec, frozen=True, kw_only=True):
    """An environment as it is shown. `used_by`: names of jobs."""

    updated_at_us: int
    updated_by: str
    used_by: list[str]


class CommandSetSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say of a command set."""

    name: str
    description: str = ""
    before: list[str] = []
    after: list[str] = []


class CommandSetView(CommandSetSpec, frozen=True, kw_only=True):
    """A command set as it is shown. `used_by`: names of jobs."""

    updated_at_us: int
    updated_by: str
    used_by: list[str]


def put(spec: EnvironmentSpec, by: Principal, now_us: int) -> Change[EnvironmentView]:
    """Make an environment, or replace the one of that name. Raises Invalid naming the fields, NotFound for an agent."""
    require(by, "jobs.change")
    wrong = _wrong_name(spec.name)
    for field, found in [
        ("variables", spec.variables),
        *(("agents", place.variables) for place in spec.agents.values()),
    ]:
        if said := wrong_variables(found):
            wrong[field] = said
    _refuse(wrong)

    def change(transaction: Transaction) -> EnvironmentView:
        connection = transaction.connection
        before = environments.by_name(connection, spec.name)
        base = Place(run_as=spec.run_as, working_directory=spec.working_directory, variables=spec.variables)
        own = {agents.find(connection, name).id: place for name, place in spec.agents.items()}
        values: dict[str, object] = {"description": spec.description, "base": base, "agents": own}
        row_id = environments.put(connection, "environments", spec.name, now_us, by.name, **values)
        made = find(connection, spec.name)
        variables.check_texts(connection, None, made.clear(), made.values(), "variables")
        variables.note_uses(connection, "environment", row_id, made.clear().values(), made.values())
        jobs.touch(
            connection, [job_id for job_id, _ in environments.jobs_of(connection, "environment_id", row_id)], now_us
        )
        record(connection, by, now_us, "environments.put", spec.name, before or "", made)
        return view(connection, made)

    return change


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete an environment; Conflict naming the jobs that use it."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found = find(connection, name)
        _refuse_used(connection, "environment_id", found.id, f"The environment {name}")
        environments.delete(connection, "environments", found.id)
        variable_rows.set_uses(connection, "environment", found.id, {})
        record(connection, by, now_us, "environments.delete", name, found, "", reason)

    return change


def put_set(spec: CommandSetSpec, by: Principal, now_us: int) -> Change[CommandSetView]:
    """Make a command set, or replace the one of that name. Raises Invalid naming the fields."""
    require(by, "jobs.change")
    _refuse(_wrong_name(spec.name) | wrong_commands(spec.before, spec.after))

    def change(transaction: Transaction) -> CommandSetView:
        connection = transaction.connection
        before = environments.set_by_name(connection, spec.name)
        texts = {"before": "\n".join(spec.before), "after": "\n".join(spec.after)}
        variables.check_texts(connection, None, texts, ())
        values: dict[str, object] = {"description": spec.description, "before": spec.before, "after": spec.after}
        row_id = environments.put(connection, "command_sets", spec.name, now_us, by.name, **values)
        variables.note_uses(connection, "command_set", row_id, texts.values(), ())
        jobs.touch(
            connection, [job_id for job_id, _ in environments.jobs_of(connection, "command_set_id", row_id)], now_us
        )
        made = find_set(connection, spec.name)
        record(connection, by, now_us, "command_sets.put", spec.name, before or "", made)
        return view_set(connection, made)

    return change


def delete_set(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a command set; Conflict naming the jobs that use it."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found = find_set(connection, name)
        _refuse_used(connection, "command_set_id", found.id, f"The command set {name}")
        environments.delete(connection, "command_sets", found.id)
        variable_rows.set_uses(connection, "command_set", found.id, {})
        record(connection, by, now_us, "command_sets.delete", name, found, "", reason)

    return change


def find(connection: sqlite3.Connection, name: str) -> Environment:
    """The environment of that name; raises NotFound."""
    found = environments.by_name(connection, name)
    if found is None:
        raise NotFound(f"There is no environment {name}. `understudy environment list` shows them.")
    return found


def find_set(connection: sqlite3.Connection, name: str) -> CommandSet:
    """The command set of that name; raises NotFound."""
    found = environments.set_by_name(connection, name)
    if found is None:
        raise NotFound(f"There is no command set {name}. `understudy command-set list` shows them.")
    return found


def view(connection: sqlite3.Connection, found: Environment) -> EnvironmentView:
    """The environment as it is shown."""
    own = {}
    for agent_id, place in found.agents.items():
        agent = agent_rows.get(connection, agent_id)
        own[agent.name if agent is not None else agent_id] = place
    return EnvironmentView(
        name=found.name,
        description=found.description,
        run_as=found.base.run_as,
        working_directory=found.base.working_directory,
        variables=found.base.variables,
        agents=own,
        updated_at_us=found.updated_at_us,
        updated_by=found.updated_by,
        used_by=[name for _, name in environments.jobs_of(connection, "environment_id", found.id)],
    )


def view_set(connection: sqlite3.Connection, found: CommandSet) -> CommandSetView:
    """The command set as it is shown."""
    return CommandSetView(
        name=found.name,
        description=found.description,
        before=found.before,
        after=found.after,
        updated_at_us=found.updated_at_us,
        updated_by=found.updated_by,
        used_by=[name for _, name in environments.jobs_of(connection, "command_set_id", found.id)],
    )


def _wrong_name(name: str) -> dict[str, str]:
    if _NAME.match(name):
        return {}
    return {"name": "must begin with a letter or digit and have up to 63 letters, digits, . _ -"}


def _refuse(wrong: Mapping[str, str]) -> None:
    if wrong:
        said = "; ".join(f"{name} {text}" for name, text in wrong.items())
        raise Invalid(f"It is not right: {said}.", fields=wrong)


def _refuse_used(connection: sqlite3.Connection, column: str, row_id: int, what: str) -> None:
    users = [name for _, name in environments.jobs_of(connection, column, row_id)]
    if users:
        raise Conflict(f"{what} is used by {', '.join(users)}. Change these jobs first.")
