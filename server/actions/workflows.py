"""Workflows and their versions. Permission: jobs.change.

A change of a workflow is a new version; a run goes on with the version that it began with. Holding makes no version.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.actions.change import Change, Transaction, record, require
from server.core import workflow_text
from server.core.marked_text import Mistake
from server.core.model import Principal
from server.core.workflow_check import Wrong, check, cycle, meant
from server.core.workflow_text import FORMATS, ordered, placed
from server.core.workflows import Path, Workflow, WorkflowSpec, WorkflowVersion, Written, uses
from server.errors import Conflict, Invalid, NotFound
from server.storage import agents, groups, job_workflows, jobs, tags, workflows

DEPTH_MAX = 10
"""How many workflows may be inside each other."""
SAID_MAX = 20
"""How many mistakes an error says in its sentence; all of them are in `mistakes`."""
NAMES_MAX = 1000
"""How many names are looked at for what was meant."""


class Mistaken(Invalid):
    """A workflow is not right; every mistake has its line, 0 when there is no text."""

    def __init__(self, mistakes: Sequence[Mistake]) -> None:
        self.mistakes = ordered(mistakes)
        fields: dict[str, str] = {}
        for one in self.mistakes:
            where = f"line {one.line}" if one.line else "workflow"
            fields[where] = f"{fields[where]}; {one.text}" if where in fields else one.text
        said = "; ".join(map(str, self.mistakes[:SAID_MAX]))
        more = len(self.mistakes) - SAID_MAX
        rest = f"; and {more} more" if more > 0 else ""
        super().__init__(f"The workflow is not right: {said}{rest}.", fields=fields)


def read(text: str, format: str = "") -> Written:
    """The workflow that a text says; raises Mistaken. May take a tenth of a second for the longest text."""
    if format not in ("", *FORMATS):
        raise Invalid(f"The format is {' or '.join(FORMATS)}, not {format!r}.", field="format")
    reading = workflow_text.read(text, format)
    if reading.written is None:
        raise Mistaken(reading.mistakes)
    return reading.written


def create(written: Written, by: Principal, now_us: int, reason: str = "") -> Change[Workflow]:
    """Add a workflow as its version 1. Raises Invalid for what is wrong in it, Conflict for the name."""
    require(by, "jobs.change")
    refuse(check(written.spec), written)

    def change(transaction: Transaction) -> Workflow:
        connection = transaction.connection
        name = written.spec.name
        _free(connection, name)
        refuse(unknown(connection, written.spec), written)
        workflow_id = workflows.insert(connection, name, now_us)
        _keep(connection, workflow_id, 1, written, by, now_us, reason)
        record(connection, by, now_us, "workflows.create", name, "", written.spec, reason)
        return find(connection, name)

    return change


def update(
    name: str, written: Written, by: Principal, now_us: int, version: int | None = None, reason: str = ""
) -> Change[Workflow]:
    """Give a workflow a new version; the same text again makes none.

    Conflict when `version` is given and is not the current one any more.
    """
    require(by, "jobs.change")
    refuse(check(written.spec), written)

    def change(transaction: Transaction) -> Workflow:
        connection = transaction.connection
        found = find(connection, name)
        if version is not None and version != found.version:
            raise Conflict(
                f"{name} is at version {found.version} by now, and this is a change of version {version}. "
                "Read it again and repeat the change."
            )
        now = workflows.version(connection, found.id, found.version)
        if now is not None and (now.text, now.format) == (written.text, written.format):
            return found
        if written.spec.name != name:
            _free(connection, written.spec.name)
            _unused(connection, name, "renamed")
        refuse(unknown(connection, written.spec, name), written)
        _keep(connection, found.id, found.version + 1, written, by, now_us, reason)
        before = now.spec if now is not None else ""
        record(connection, by, now_us, "workflows.update", name, before, written.spec, reason)
        return find(connection, written.spec.name)

    return change


def roll_back(name: str, version: int, by: Principal, now_us: int, reason: str = "") -> Change[Workflow]:
    """A new version with the text of an old one. Its name stays, and what it names must still be there."""

    def change(transaction: Transaction) -> Workflow:
        connection = transaction.connection
        old = version_of(connection, name, version)
        if old.spec.name != name:
            raise Conflict(
                f"{name} was called {old.spec.name} in version {version}. Write that text with the new name."
            )
        written = Written(spec=old.spec, text=old.text, format=old.format)
        return update(name, written, by, now_us, reason=reason or f"as in version {version}")(transaction)

    require(by, "jobs.change")
    return change


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a workflow; its name becomes free, its versions stay. Conflict while another workflow has it as a step."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found = find(connection, name)
        _unused(connection, name, "deleted")
        beginners = job_workflows.names_of(connection, found.id)
        if beginners:
            raise Conflict(
                f"{', '.join(beginners)} begins {name}. Change or delete that first: "
                f"understudy job delete {beginners[0]}"
            )
        workflows.set_uses(connection, found.id, ())
        gone = {"name": f"{name} (deleted {found.id})", "deleted_at_us": now_us, "updated_at_us": now_us}
        workflows.update(connection, found.id, **gone)
        record(connection, by, now_us, "workflows.delete", name, workflows.spec(connection, found), "", reason)

    return change


def hold(name: str, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Hold a workflow: no run of it begins. False when it was held already."""
    return _hold(name, True, by, now_us, reason)


def release(name: str, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Release a held workflow. False when it was not held."""
    return _hold(name, False, by, now_us, reason)


def find(connection: sqlite3.Connection, name: str) -> Workflow:
    """The workflow of that name that is not deleted; raises NotFound."""
    found = workflows.by_name(connection, name)
    if found is None:
        known = [line.name for line in workflows.lines(connection, limit=NAMES_MAX)]
        raise NotFound(f"There is no workflow {name}{meant(name, known) or '.'} See `understudy workflow list`.")
    return found


def version_of(connection: sqlite3.Connection, name: str, version: int) -> WorkflowVersion:
    """One version of a workflow; raises NotFound."""
    found = workflows.version(connection, find(connection, name).id, version)
    if found is None:
        raise NotFound(f"{name} has no version {version}. See `understudy workflow versions {name}`.")
    return found


def unknown(connection: sqlite3.Connection, spec: WorkflowSpec, name: str = "") -> list[Wrong]:
    """What it names and what is not there, and workflows inside themselves. `name`: what it is called until now."""
    found: list[Wrong] = []
    for at, holder in (((), spec), *((("steps", index), step) for index, step in enumerate(spec.steps))):
        for kind in ("agent", "group", "job", "workflow"):
            named = getattr(holder, kind, "")
            if named and not _is_there(connection, kind, named) and named not in (spec.name, name):
                known = _known(connection, kind)
                found.append(Wrong((*at, kind), f"there is no {kind} {named!r}{meant(named, known)}"))
    return found + _beginners(connection, spec) + _inside(connection, spec, name)


def _beginners(connection: sqlite3.Connection, spec: WorkflowSpec) -> list[Wrong]:
    """Steps that are jobs which begin a workflow: it could be inside itself, unseen."""
    found = []
    for index, step in enumerate(spec.steps):
        job = jobs.by_name(connection, step.job) if step.job else None
        if job is not None and job.begins_workflow_id is not None:
            text = f"the job {step.job!r} begins a workflow; name that workflow as the step"
            found.append(Wrong(("steps", index, "job"), text))
    return found


def examine(connection: sqlite3.Connection, written: Written) -> list[Mistake]:
    """What would refuse a text as a new workflow, or as the next version of the one with its name."""
    name = written.spec.name if workflows.by_name(connection, written.spec.name) is not None else ""
    return ordered(placed([*check(written.spec), *unknown(connection, written.spec, name)], written.places))


def refuse(found: list[Wrong], written: Written) -> None:
    """Raise Mistaken with everything that is wrong."""
    if found:
        raise Mistaken(placed(found, written.places))


def _is_there(connection: sqlite3.Connection, kind: str, name: str) -> bool:
    if kind == "agent":
        agent = agents.by_name(connection, name)
        return agent is not None and agent.removed_at_us is None and not groups.is_group(connection, agent.id)
    noun = {"group": groups, "job": jobs, "workflow": workflows}[kind]
    return noun.by_name(connection, name) is not None


def _known(connection: sqlite3.Connection, kind: str) -> list[str]:
    if kind == "agent":
        return [agent.name for agent in agents.page(connection, limit=NAMES_MAX)]
    if kind == "group":
        return groups.names(connection)
    if kind == "job":
        return [job.name for job in jobs.page(connection, limit=NAMES_MAX)]
    return [line.name for line in workflows.lines(connection, limit=NAMES_MAX)]


def _inside(connection: sqlite3.Connection, spec: WorkflowSpec, name: str) -> list[Wrong]:
    """Refuse, by name, a workflow that is inside itself, and too many inside each other."""
    own = {other for kind, other in uses(spec) if kind == "workflow"}
    after = {spec.name: sorted(spec.name if other == name else other for other in own)}
    level, depth = set(after[spec.name]), 1
    while level:
        depth += 1
        for other in sorted(level - set(after)):
            row = workflows.by_name(connection, other)
            inside = workflows.uses(connection, row.id, "workflow") if row is not None else []
            after[other] = [spec.name if one == name else one for one in inside]
        circle = cycle(after)
        if circle:
            return [Wrong(_first_with(spec, name), f"the workflow would be inside itself: {' → '.join(circle)}")]
        level = {one for other in level for one in after[other]}
        if depth > DEPTH_MAX:
            text = f"at most {DEPTH_MAX} workflows may be inside each other"
            return [Wrong(_first_with(spec, name), text)]
    return []


def _first_with(spec: WorkflowSpec, name: str) -> Path:
    """The place of the first step that is a workflow, one that names itself before others."""
    own = [index for index, step in enumerate(spec.steps) if step.workflow]
    direct = [index for index in own if spec.steps[index].workflow in (spec.name, name)]
    return ("steps", (direct or own)[0], "workflow")


def _free(connection: sqlite3.Connection, name: str) -> None:
    if workflows.by_name(connection, name) is not None:
        raise Conflict(f"There is a workflow {name} already. Choose another name.")


def _unused(connection: sqlite3.Connection, name: str, done: str) -> None:
    users = [user for user in workflows.users(connection, "workflow", name) if user != name]
    if users:
        raise Conflict(f"{name} is a step of {', '.join(users)}, and cannot be {done} before those are changed.")


def _keep(
    connection: sqlite3.Connection,
    workflow_id: int,
    version: int,
    written: Written,
    by: Principal,
    now_us: int,
    reason: str,
) -> None:
    workflows.add_version(connection, workflow_id, version, written, by.name, now_us, reason)
    workflows.set_uses(connection, workflow_id, uses(written.spec))
    tags.put(connection, "workflow", workflow_id, written.spec.tags)


def _hold(name: str, held: bool, by: Principal, now_us: int, reason: str) -> Change[bool]:
    require(by, "jobs.change")

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        found = find(connection, name)
        if found.held == held:
            return False
        workflows.update(connection, found.id, held=int(held), updated_at_us=now_us)
        job_workflows.look_again(connection, found.id)
        action = "workflows.hold" if held else "workflows.release"
        record(connection, by, now_us, action, name, int(found.held), int(held), reason)
        return True

    return change
