"""Server History into Job History (SKY-11). Permission: history.adopt.

A run that an agent completed and no row explains becomes a run of a job here: with its agent, times, exit code and
output. It ran already, so nothing is started by that, and nothing that its agent says again makes a second one.
"""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions.change import Change, Transaction, record, require
from server.actions.jobs import find as find_job
from server.actions.reports import ObjectTransaction, output_object
from server.core.model import Job, Principal, Run, ServerHistoryEntry
from server.core.run_keys import RunKey, next_attempt_key, parse_key, request_key
from server.core.run_states import result_event, step
from server.errors import Conflict, Invalid, NotFound
from server.storage import jobs, runs, schedules, server_history


class Adopted(msgspec.Struct, frozen=True):
    """What became of an entry: run `run` of `job`. `made` is False when that run was in Job History already."""

    entry: int
    run: int
    key: str
    job: str
    made: bool


def adopt(entry_id: int, job: str, by: Principal, now_us: int, reason: str = "") -> Change[Adopted]:
    """Put an entry into Job History as a run of `job`, "" for the job that its name or key means.

    Again is the same. Raises NotFound without the entry or the job, Invalid when no job is meant, Conflict while no
    end of it is known.
    """
    require(by, "history.adopt")

    def change(transaction: Transaction) -> Adopted:
        connection = transaction.connection
        entry = find(connection, entry_id)
        known = _known(connection, entry)
        if known is None and not entry.ended_at_us:
            raise Conflict(
                "No end of it is known yet: its agent may still run it. "
                f"Look at entry {entry_id} again when the agent has reported."
            )
        made = known is None
        run = known if known is not None else _make(transaction, entry, job, by, now_us)
        owner = jobs.get(connection, run.job_id)
        name = owner.name if owner is not None else ""
        if entry.adopted_run != run.key:
            server_history.adopt(connection, entry.id, run.key, by.name)
            after = {"run": run.number, "key": run.key, "job": name}
            record(connection, by, now_us, "history.adopt", f"entry {entry.id}", entry.run_key, after, reason)
        return Adopted(entry.id, run.number, run.key, name, made)

    return change


def find(connection: sqlite3.Connection, entry_id: int) -> ServerHistoryEntry:
    """The entry with that number; raises NotFound."""
    entry = server_history.get(connection, entry_id)
    if entry is None:
        raise NotFound(f"There is no entry {entry_id} in Server History. `understudy history list` lists them.")
    return entry


def meant_job(connection: sqlite3.Connection, entry: ServerHistoryEntry) -> Job | None:
    """The job that the entry's name means, else the one that its key names; None when neither is here."""
    if entry.job_name:
        return jobs.by_name(connection, entry.job_name)
    named = _named(entry)
    job = jobs.get(connection, named.job_id) if named is not None else None
    return job if job is not None and job.deleted_at_us is None else None


def _named(entry: ServerHistoryEntry) -> RunKey | None:
    try:
        return parse_key(entry.run_key)
    except ValueError:
        return None


def _known(connection: sqlite3.Connection, entry: ServerHistoryEntry) -> Run | None:
    """The run that this entry is already: adopted before, from here or by another entry of it, or reported since."""
    if entry.adopted_run:
        return runs.by_key(connection, entry.adopted_run)
    run = runs.by_key(connection, entry.run_key)
    if run is not None and run.agent_id == entry.agent_id:
        return run
    other = server_history.adopted(connection, entry.run_key, entry.agent_id)
    return runs.by_key(connection, other.adopted_run) if other is not None else None


def _make(transaction: Transaction, entry: ServerHistoryEntry, job: str, by: Principal, now_us: int) -> Run:
    connection = transaction.connection
    owner = find_job(connection, job) if job else meant_job(connection, entry)
    if owner is None:
        called = f"a job called {entry.job_name}" if entry.job_name else "the job of that key"
        raise Invalid(f"There is no longer {called}. Name the job that it shall belong to: --job NAME.", field="job")
    key, attempt = _free_key(connection, entry, owner)
    state = entry.state or step("running", result_event(entry.exit_code, entry.signal, killed=False))
    number = runs.insert(
        connection,
        key,
        owner.id,
        entry.agent_id,
        entry.command,
        state,
        now_us,
        attempt=attempt,
        reason=f"adopted from Server History, entry {entry.id}",
        requested_by=by.name,
        submitted_at_us=entry.started_at_us or entry.ended_at_us,
        started_at_us=entry.started_at_us,
        ended_at_us=entry.ended_at_us,
        exit_code=entry.exit_code,
        signal=entry.signal,
        output_bytes=len(entry.output),
        output_cut=int(entry.output_cut),
        **_occurrence(connection, entry, owner),
    )
    if entry.output:
        writer: ObjectTransaction = transaction  # type: ignore[assignment]  # the store's transaction has objects
        writer.write_object(output_object(number), 0, entry.output)
    run = runs.get(connection, number)
    assert run is not None
    return run


def _occurrence(connection: sqlite3.Connection, entry: ServerHistoryEntry, owner: Job) -> dict[str, object]:
    """Schedule and instant, when the key names a schedule of this very job: a missed row of it is closed then."""
    named = _named(entry)
    schedule = schedules.get(connection, named.schedule_id) if named and named.schedule_id is not None else None
    if named is None or schedule is None or schedule.job_id != owner.id:
        return {}
    return {"schedule_id": schedule.id, "scheduled_for_us": named.scheduled_for_us}


def _free_key(connection: sqlite3.Connection, entry: ServerHistoryEntry, owner: Job) -> tuple[str, int]:
    """The entry's own key when it is free, else that of the next attempt which is; one of its own when it is no key."""
    named = _named(entry)
    key = entry.run_key if named is not None else request_key(owner.id, f"history-{entry.id}")
    attempt = named.attempt if named is not None else 1
    while runs.by_key(connection, key) is not None:
        key, attempt = next_attempt_key(key), attempt + 1
    return key, attempt
