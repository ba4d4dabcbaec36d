"""Variables and who names them. Permission: jobs.change.

A value is written by whoever may change jobs; that of a secret is sealed before it is in a row, and nobody is told it
but the agents whose jobs need it. A change plans the jobs again that name the variable; what runs keeps what it has.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Mapping

import msgspec

from server.actions.change import Change, Transaction, record, require
from server.core.model import Job, Principal
from server.core.variables import (
    HOST,
    Variable,
    job_scope,
    references,
    wrong_references,
    wrong_variable,
)
from server.errors import Conflict, Invalid, NotFound
from server.storage import environments, jobs, sealed, variables

Seal = Callable[[str, str], tuple[bytes, bytes]]
"""(name of the row, value) to (nonce, ciphertext)."""


class VariableSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What people say of a variable. `job`: of this job alone. Without `value` the one that it has stays."""

    name: str
    value: str | None = None
    secret: bool = False
    description: str = ""
    job: str = ""


class VariableView(msgspec.Struct, frozen=True, kw_only=True):
    """A variable as shown. `value` is None for a secret. `used_by`: jobs, `environment NAME`, `command set NAME`."""

    name: str
    job: str
    value: str | None
    secret: bool
    description: str
    updated_at_us: int
    updated_by: str
    used_by: list[str]


def put(spec: VariableSpec, seal: Seal, by: Principal, now_us: int) -> Change[VariableView]:
    """Make a variable, or give the one of that name and job another value.

    Raises Invalid naming the fields, NotFound for the job, Conflict when it becomes a secret and is named where people
    see it.
    """
    require(by, "jobs.change")
    wrong = wrong_variable(spec.name, "1234" if spec.value is None else spec.value, spec.secret)
    if wrong:
        raise _invalid(wrong)

    def change(transaction: Transaction) -> VariableView:
        connection = transaction.connection
        scope, job = _scope(connection, spec.job)
        before = variables.get(connection, scope, spec.name)
        if spec.value is None and (before is None or before.secret != spec.secret):
            raise _invalid(
                {"value": "is missing: a new variable needs one, and one that becomes a secret or is none any more"}
            )
        if spec.secret:
            _check_hidden(connection, scope, job, spec.name)
        values: dict[str, object] = {"secret": int(spec.secret), "description": spec.description}
        place = variables.place(connection, scope, spec.name)
        if spec.value is not None:
            values["value"] = "" if spec.secret else spec.value
            if spec.secret:
                sealed.put(connection, place, *seal(place, spec.value))
            else:
                sealed.remove(connection, place)
        variables.put(connection, scope, spec.name, now_us, by.name, **values)
        _plan_again(connection, spec.name, job, now_us)
        made = find(connection, spec.name, spec.job)
        record(connection, by, now_us, "variables.put", _said(spec.name, spec.job), _audit(before), _audit(made))
        return view(connection, made)

    return change


def delete(name: str, job: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Take a variable away. Conflict, saying by whom, while something names it and nothing else has its name."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        variable = find(connection, name, job)
        _, owner = _scope(connection, job)
        users = _used_by(connection, variable)
        stands_in = variables.get(connection, HOST, name) if owner is not None else None
        if users and stands_in is None:
            raise Conflict(f"{_said(name, job)} is named by {', '.join(users)}. Change them first.")
        variables.delete(connection, variable)
        _plan_again(connection, name, owner, now_us)
        record(connection, by, now_us, "variables.delete", _said(name, job), _audit(variable), "", reason)

    return change


def find(connection: sqlite3.Connection, name: str, job: str = "") -> Variable:
    """The variable of all jobs, or of one; raises NotFound."""
    scope, _ = _scope(connection, job)
    variable = variables.get(connection, scope, name)
    if variable is None:
        raise NotFound(f"There is no variable {_said(name, job)}. `understudy variable list` shows them.")
    return variable


def scope_of(connection: sqlite3.Connection, job: str) -> str:
    """The scope of a job's own variables, "" without a job; raises NotFound."""
    return _scope(connection, job)[0]


def view(connection: sqlite3.Connection, variable: Variable) -> VariableView:
    """The variable as it is shown: never the value of a secret."""
    owner = _owner(connection, variable)
    return VariableView(
        name=variable.name,
        job=owner.name if owner is not None else "",
        value=None if variable.secret else variable.value,
        secret=variable.secret,
        description=variable.description,
        updated_at_us=variable.updated_at_us,
        updated_by=variable.updated_by,
        used_by=_used_by(connection, variable),
    )


def check_texts(
    connection: sqlite3.Connection,
    job_id: int | None,
    clear: Mapping[str, str],
    environment: Iterable[str],
    where: str = "environment",
) -> None:
    """Raise Invalid naming every field with a reference to what does not exist, or to a secret that would be seen."""
    values = list(environment)
    names = {name for text in (*clear.values(), *values) for name in references(text)}
    known = {name: found.secret for name, found in variables.known(connection, job_id, names).items()}
    wrong = wrong_references(clear, values, known, where)
    if wrong:
        raise _invalid(wrong)


def note_uses(
    connection: sqlite3.Connection, kind: str, owner_id: int, clear: Iterable[str], environment: Iterable[str]
) -> None:
    """Remember what something names, inside the caller's change."""
    seen = {name for text in clear for name in references(text)}
    named = seen | {name for text in environment for name in references(text)}
    variables.set_uses(connection, kind, owner_id, {name: name in seen for name in sorted(named)})


def _scope(connection: sqlite3.Connection, job: str) -> tuple[str, Job | None]:
    if not job:
        return HOST, None
    found = jobs.by_name(connection, job)
    if found is None:
        raise NotFound(f"There is no job {job}. See the list of jobs.")
    return job_scope(found.id), found


def _owner(connection: sqlite3.Connection, variable: Variable) -> Job | None:
    """The job whose own it is."""
    number = variable.scope.removeprefix("job ")
    return jobs.get(connection, int(number)) if variable.scope != HOST else None


def _affected(connection: sqlite3.Connection, name: str, owner: Job | None) -> list[Job]:
    """Jobs that name it and mean this one."""
    found = [jobs.get(connection, job_id) for job_id in variables.jobs_naming(connection, name)]
    named = [job for job in found if job is not None]
    if owner is not None:
        return [job for job in named if job.id == owner.id]
    return [job for job in named if variables.get(connection, job_scope(job.id), name) is None]


def _plan_again(connection: sqlite3.Connection, name: str, owner: Job | None, now_us: int) -> None:
    jobs.touch(connection, [job.id for job in _affected(connection, name, owner)], now_us)


def _used_by(connection: sqlite3.Connection, variable: Variable) -> list[str]:
    owner = _owner(connection, variable)
    found = [job.name for job in _affected(connection, variable.name, owner)]
    if owner is not None:
        return found
    for use in variables.uses(connection, variable.name):
        if use.kind == "environment" and (environment := environments.get(connection, use.owner_id)):
            found.append(f"environment {environment.name}")
        if use.kind == "command_set" and (commands := environments.get_set(connection, use.owner_id)):
            found.append(f"command set {commands.name}")
    return found


def _check_hidden(connection: sqlite3.Connection, scope: str, owner: Job | None, name: str) -> None:
    """A secret may not stand where people see it."""
    mine = {job.id for job in _affected(connection, name, owner)} | ({owner.id} if owner is not None else set())
    shared = {("environment", job.environment_id) for job in _jobs(connection, mine)}
    shared |= {("command_set", job.command_set_id) for job in _jobs(connection, mine)}
    seen = [
        use
        for use in variables.uses(connection, name)
        if use.clear
        and ((use.owner_id in mine) if use.kind == "job" else (not scope or (use.kind, use.owner_id) in shared))
    ]
    if seen:
        raise Conflict(
            f"{name} stands in a command, a directory or another text that people see: {_names(connection, seen)}. A "
            "secret may stand in environment variables only: change them first."
        )


def _jobs(connection: sqlite3.Connection, ids: Iterable[int]) -> list[Job]:
    return [job for job_id in sorted(ids) if (job := jobs.get(connection, job_id)) is not None]


def _names(connection: sqlite3.Connection, uses: Iterable[variables.Use]) -> str:
    said = []
    for use in uses:
        job = jobs.get(connection, use.owner_id) if use.kind == "job" else None
        shared = environments.get(connection, use.owner_id) if use.kind == "environment" else None
        commands = environments.get_set(connection, use.owner_id) if use.kind == "command_set" else None
        named = job or shared or commands
        said.append(f"{use.kind.replace('_', ' ')} {named.name if named is not None else use.owner_id}")
    return ", ".join(said)


def _said(name: str, job: str) -> str:
    return f"{name} of {job}" if job else name


def _audit(variable: Variable | None) -> dict[str, object] | str:
    """What the audit history says of it: of a secret that it is one."""
    if variable is None:
        return ""
    value = "***" if variable.secret else variable.value
    return {"value": value, "secret": variable.secret, "description": variable.description}


def _invalid(wrong: Mapping[str, str]) -> Invalid:
    said = "; ".join(f"{name} {text}" for name, text in wrong.items())
    return Invalid(f"It is not right: {said}.", fields=wrong)
