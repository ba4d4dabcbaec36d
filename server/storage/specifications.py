"""What agents are told of jobs: the only place that makes a `Specification` of rows. See `core.resolution`."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

import msgspec

from server.core import resolution
from server.core.command_sets import CommandSet
from server.core.environments import Environment
from server.core.model import Job, Specification
from server.core.occurrence_exceptions import OccurrenceException
from server.core.resolution import Values
from server.core.variables import references, substituted
from server.storage import environments, variables


def of_job(connection: sqlite3.Connection, job: Job, agent_id: str) -> Specification:
    """What this agent must know to start a run of the job."""
    environment, command_set = _shared(connection, job)
    texts = [job.command, *job.environment.values(), job.run_as, job.working_directory, job.standard_input]
    if environment is not None:
        texts += [*environment.values(), *environment.clear().values()]
    values = _values(connection, job, texts, command_set)
    return resolution.resolve(job, agent_id, environment, command_set, values)


def command(connection: sqlite3.Connection, job: Job) -> str:
    """The command of a run that is submitted now: it keeps it, whatever changes later."""
    _, command_set = _shared(connection, job)
    return resolution.command(job.command, command_set, _values(connection, job, [job.command], command_set))


def environment(connection: sqlite3.Connection, job: Job, given: dict[str, str]) -> dict[str, str]:
    """Environment variables that an exception gives, with the values of plain variables."""
    plain = _values(connection, job, given.values(), None).plain
    return {name: substituted(text, plain) for name, text in given.items()}


def told(connection: sqlite3.Connection, job: Job, one: OccurrenceException) -> OccurrenceException:
    """An exception as an agent is told it: its command is the whole one, its values are those of now."""
    if one.command is not None:
        own = command(connection, msgspec.structs.replace(job, command=one.command))
        one = msgspec.structs.replace(one, command=own)
    if one.environment is not None:
        one = msgspec.structs.replace(one, environment=environment(connection, job, one.environment))
    return one


def _shared(connection: sqlite3.Connection, job: Job) -> tuple[Environment | None, CommandSet | None]:
    found = environments.get(connection, job.environment_id) if job.environment_id is not None else None
    commands = environments.get_set(connection, job.command_set_id) if job.command_set_id is not None else None
    return found, commands


def _values(connection: sqlite3.Connection, job: Job, texts: Iterable[str], command_set: CommandSet | None) -> Values:
    shared = [*command_set.before, *command_set.after] if command_set is not None else []
    names = {name for text in (*texts, *shared) for name in references(text)}
    return variables.values(connection, job.id, names) if names else Values()
