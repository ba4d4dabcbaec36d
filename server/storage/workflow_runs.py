"""Workflows that run, and what became of each item of their steps."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import Job, Row, Run
from server.core.workflow_runs import ItemName, StepRow, WorkflowRun
from server.core.workflow_states import WORKFLOW_ENDED, StepState
from server.storage import debts, rows

_OPEN = f"state NOT IN ({', '.join(repr(str(state)) for state in sorted(WORKFLOW_ENDED))})"

_LOST = "EXISTS (SELECT 1 FROM workflow_steps s WHERE s.workflow_run = u.id AND s.state = 'lost')"


class WorkflowRunLine(Row, frozen=True, kw_only=True):
    """A row of the list of workflows' runs."""

    id: int
    workflow: str
    version: int
    state: str
    reason: str
    state_since_us: int
    requested_by: str
    requested_at_us: int
    ended_at_us: int | None
    parent_run: int | None


_LINES = (
    "SELECT u.id, w.name, u.version, u.state, u.reason, u.state_since_us, u.requested_by, u.requested_at_us,"
    " u.ended_at_us, u.parent_run FROM workflow_runs u JOIN workflows w ON w.id = u.workflow_id"
)


def get(connection: sqlite3.Connection, number: int) -> WorkflowRun | None:
    """The workflow's run with that number."""
    return rows.first(connection, WorkflowRun, "FROM workflow_runs WHERE id = ?", (number,))


def is_over(connection: sqlite3.Connection, number: int | None) -> bool:
    """Whether nothing more may begin of it: it has ended, or somebody has cancelled it. False for no number."""
    found = get(connection, number) if number is not None else None
    return found is not None and (found.wish == "cancel" or found.state in WORKFLOW_ENDED)


def by_key(connection: sqlite3.Connection, key: str) -> WorkflowRun | None:
    """The run that was asked for by that key."""
    return rows.first(connection, WorkflowRun, "FROM workflow_runs WHERE key = ?", (key,))


def lines(
    connection: sqlite3.Connection,
    workflow_id: int | None = None,
    state: str = "",
    after: int | None = None,
    limit: int = 100,
    undecided: bool = False,
) -> list[WorkflowRunLine]:
    """The list, newest first, going on below number `after`; of one workflow or state when given.

    `undecided`: only those at which a person has to decide what becomes of an interrupted step.
    """
    conditions, values = ["u.id < ?"], list[object]([after if after is not None else 2**62])
    if undecided:
        conditions += [_OPEN.replace("state", "u.state"), _LOST]
    for column, value in (("u.workflow_id", workflow_id), ("u.state", state or None)):
        if value is not None:
            conditions.append(f"{column} = ?")
            values.append(value)
    query = f"{_LINES} WHERE {' AND '.join(conditions)} ORDER BY u.id DESC LIMIT ?"
    found = connection.execute(query, (*values, limit))
    return [rows.build(WorkflowRunLine, WorkflowRunLine.__struct_fields__, tuple(row)) for row in found]


def insert(connection: sqlite3.Connection, **values: object) -> int:
    """Add a run and return its number."""
    return rows.insert(connection, "workflow_runs", {**debts.next_id(connection, "workflow_runs"), **values})


def update(connection: sqlite3.Connection, number: int, **values: object) -> None:
    """Set columns of one run by name."""
    rows.update(connection, "workflow_runs", values, {"id": number})


def count_open(connection: sqlite3.Connection) -> int:
    """How many have not ended."""
    return rows.number(connection, f"SELECT count(*) FROM workflow_runs WHERE {_OPEN}")


def next_deadline_us(connection: sqlite3.Connection) -> int | None:
    """When the next one has taken as long as it may."""
    query = f"SELECT min(deadline_us) FROM workflow_runs WHERE deadline_us IS NOT NULL AND {_OPEN}"
    row = connection.execute(query).fetchone()
    return None if row[0] is None else int(row[0])


def overdue(connection: sqlite3.Connection, now_us: int, limit: int = 100) -> list[WorkflowRun]:
    """Those that have taken longer than they may."""
    tail = f"FROM workflow_runs WHERE deadline_us IS NOT NULL AND {_OPEN} AND deadline_us <= ? ORDER BY id LIMIT ?"
    return rows.every(connection, WorkflowRun, tail, (now_us, limit))


def states(connection: sqlite3.Connection, number: int) -> dict[int, list[StepState]]:
    """Which states the items of each step have, each once, by the step's place in the version."""
    query = "SELECT step, state FROM workflow_steps WHERE workflow_run = ? GROUP BY step, state ORDER BY step"
    found: dict[int, list[StepState]] = {}
    for step, state in connection.execute(query, (number,)):
        found.setdefault(int(step), []).append(StepState(state))
    return found


def items(connection: sqlite3.Connection, number: int, step: int | None = None) -> list[StepRow]:
    """The items of all steps, or of one, in order."""
    if step is None:
        tail = "FROM workflow_steps WHERE workflow_run = ? ORDER BY step, item"
        return rows.every(connection, StepRow, tail, (number,))
    tail = "FROM workflow_steps WHERE workflow_run = ? AND step = ? ORDER BY item"
    return rows.every(connection, StepRow, tail, (number, step))


def item(connection: sqlite3.Connection, name: ItemName) -> StepRow | None:
    """One item."""
    tail = "FROM workflow_steps WHERE workflow_run = ? AND step = ? AND item = ?"
    return rows.first(connection, StepRow, tail, name)


def open_items(connection: sqlite3.Connection, number: int) -> list[StepRow]:
    """The items that have begun and not ended."""
    return rows.every(
        connection,
        StepRow,
        "FROM workflow_steps WHERE workflow_run = ? AND state = 'open' ORDER BY step, item",
        (number,),
    )


def insert_item(connection: sqlite3.Connection, name: ItemName, state: str, now_us: int) -> None:
    """Add an item."""
    values = {"workflow_run": name.workflow_run, "step": name.step, "item": name.item, "state": state}
    rows.insert(connection, "workflow_steps", {**values, "begun_at_us": now_us if state == "open" else None})


def update_item(connection: sqlite3.Connection, name: ItemName, **values: object) -> None:
    """Set columns of one item by name."""
    where = {"workflow_run": name.workflow_run, "step": name.step, "item": name.item}
    rows.update(connection, "workflow_steps", values, where)


def run_again(connection: sqlite3.Connection, number: int, step: int, states: Iterable[str]) -> int:
    """The items of a step that are in one of these states are to be run again; return how many."""
    wanted = list(states)
    marks = ", ".join("?" for _ in wanted)
    query = (
        "UPDATE workflow_steps SET state = 'again', reason = '', outputs = '{}', ended_at_us = NULL"
        f" WHERE workflow_run = ? AND step = ? AND state IN ({marks})"
    )
    return connection.execute(query, (number, step, *wanted)).rowcount


def forget_step(connection: sqlite3.Connection, number: int, step: int) -> None:
    """A skipped step is undecided again."""
    connection.execute("DELETE FROM workflow_steps WHERE workflow_run = ? AND step = ?", (number, step))


def keep_outputs(connection: sqlite3.Connection, run: int, outputs: dict[str, str]) -> None:
    """What the latest attempt of an item told those after it."""
    rows.update(connection, "workflow_steps", {"outputs": outputs}, {"run": run})


def newest_attempt(connection: sqlite3.Connection, key: str) -> Run | None:
    """The latest attempt of the request that the key is of."""
    stem = key.rpartition(".a")[0]
    tail = "FROM runs WHERE key >= ? AND key < ? ORDER BY attempt DESC LIMIT 1"
    return rows.first(connection, Run, tail, (f"{stem}.a", f"{stem}.b"))


def count_awaiting(connection: sqlite3.Connection, job_id: int) -> int:
    """How many open items are runs of the job."""
    tail = "FROM workflow_steps s JOIN runs r ON r.number = s.run WHERE s.state = 'open' AND r.job_id = ?"
    return rows.number(connection, f"SELECT count(*) {tail}", (job_id,))


def job_of_step(connection: sqlite3.Connection, workflow_id: int, version: int, step: str) -> Job | None:
    """The job that stands for a step with a command: in no list of jobs, without schedules."""
    tail = "FROM jobs WHERE workflow_id = ? AND workflow_version = ? AND workflow_step = ?"
    return rows.first(connection, Job, tail, (workflow_id, version, step))


class ItemLine(Row, frozen=True, kw_only=True):
    """An item with its latest attempt's run."""

    JSON = frozenset({"outputs"})

    step: int
    item: int
    state: str
    reason: str
    attempt: int
    run: int | None
    run_state: str | None
    agent: str | None
    sub_run: int | None
    outputs: dict[str, str]
    begun_at_us: int | None
    ended_at_us: int | None


def item_lines(connection: sqlite3.Connection, number: int, limit: int) -> list[ItemLine]:
    """The items in order, with the state and the agent of their runs."""
    query = (
        "SELECT s.step, s.item, s.state, s.reason, s.attempt, s.run, r.state, a.name, s.sub_run, s.outputs,"
        " s.begun_at_us, s.ended_at_us FROM workflow_steps s LEFT JOIN runs r ON r.number = s.run"
        " LEFT JOIN agents a ON a.id = r.agent_id WHERE s.workflow_run = ? ORDER BY s.step, s.item LIMIT ?"
    )
    found = connection.execute(query, (number, limit))
    return [rows.build(ItemLine, ItemLine.__struct_fields__, tuple(row)) for row in found]
