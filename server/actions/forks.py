"""Forks as rows (BEY-3). People: `adopt` (history.adopt), `delete` (forks.delete). The rest is for the collection."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from server.actions.change import Change, Transaction, record, require
from server.actions.reports import ObjectTransaction
from server.core.forks import OUTPUT_BYTES_MAX, ForkEdit, ForkRow, ForkRun, in_words, output_object, returned_text
from server.core.model import SYSTEM, Principal, ServerHistoryEntry
from server.core.run_states import ENDED
from server.errors import Conflict, Invalid, NotFound
from server.storage import forks, nodes, server_history, system_messages

ARRIVING, KEPT, DELETING, DELETED = "arriving", "kept", "deleting", "deleted"


def begin(fork: ForkRow) -> Change[bool]:
    """A fork was found on a node: its row, until its lists are here `arriving`. False when it is known already."""

    def change(transaction: Transaction) -> bool:
        if forks.get(transaction.connection, fork.name) is not None:
            return False
        forks.insert(transaction.connection, msgspec.structs.replace(fork, state=ARRIVING))
        return True

    return change


def add(name: str, runs: Sequence[ForkRun], edits: Sequence[ForkEdit]) -> Change[None]:
    """A part of its lists. Twice is once."""

    def change(transaction: Transaction) -> None:
        forks.add_runs(transaction.connection, [msgspec.structs.replace(run, fork=name) for run in runs])
        forks.add_edits(transaction.connection, [msgspec.structs.replace(edit, fork=name) for edit in edits])

    return change


def add_output(name: str, number: int, output: bytes) -> Change[None]:
    """The beginning of one run's output, as a replicated object. Twice is once."""

    def change(transaction: Transaction) -> None:
        writer: ObjectTransaction = transaction  # type: ignore[assignment]  # the store's transaction has objects
        writer.write_object(output_object(name, number), 0, output[:OUTPUT_BYTES_MAX])

    return change


def complete(name: str, node: str, now_us: int) -> Change[None]:
    """All of it is here: people are told. `node` is the name of the one that keeps it. Again is the same."""

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        fork = forks.get(connection, name)
        if fork is None or fork.state != ARRIVING:
            return
        forks.update(connection, name, state=KEPT)
        text = returned_text(fork, node)
        record(connection, SYSTEM, now_us, "forks.found", name, "", text)
        system_messages.insert(connection, "alarm", text, now_us)

    return change


def adopt(name: str, number: int, output: bytes, by: Principal, now_us: int, reason: str = "") -> Change[int]:
    """Put one run of a fork into Server History, with its output, as a record: it is never run by that.

    Returns the id of the entry; twice is once. Raises NotFound.
    """
    require(by, "history.adopt")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        fork, run = find(transaction, name), forks.run(connection, name, number)
        if run is None:
            raise NotFound(f"The fork {name} has no run {number}. `understudy forks show {name} --runs` lists them.")
        if run.history_id is not None:
            return run.history_id
        node = nodes.get(connection, fork.node)
        because = f": {reason}" if reason else ""
        entry = ServerHistoryEntry(
            id=0,
            run_key=run.key,
            agent_id=run.agent_id,
            job_name=run.job,
            started_at_us=run.started_at_us,
            ended_at_us=run.ended_at_us,
            exit_code=run.exit_code,
            signal=run.signal,
            output=output,
            why=f"From the fork {name} of {node.name if node else fork.node[:8]}, there {run.state}; adopted by "
            f"{by.name}{because}",
            recorded_at_us=now_us,
            adopted_by=by.name,
            from_fork=name,
            state=run.state if run.state in ENDED else "",
            output_cut=run.output_bytes > len(output),
        )
        history_id = server_history.insert(connection, entry)
        forks.set_adopted(connection, name, number, history_id)
        record(connection, by, now_us, "forks.adopt", f"{name} run {number}", "", run, reason)
        return history_id

    return change


def delete(name: str, by: Principal, now_us: int, confirmed: bool, reason: str = "") -> Change[ForkRow]:
    """Decide that the last copy of a fork goes; the collection then has its node delete it. Again is the same.

    Raises Invalid without `confirmed`, NotFound.
    """
    require(by, "forks.delete")

    def change(transaction: Transaction) -> ForkRow:
        connection = transaction.connection
        fork = find(transaction, name)
        if not confirmed:
            held = in_words(fork.requests, fork.contents, fork.runs, fork.edits)
            raise Invalid(
                f"The fork {name} is the only copy of {held}. Export it first: understudy forks export {name} "
                "--to FILE.tar. To delete it for good, add --yes-delete-the-only-copy.",
                field="delete_the_only_copy",
            )
        if fork.state == ARRIVING:
            raise Conflict(f"The list of the fork {name} is still arriving. Try again in a few seconds.")
        if fork.state != KEPT:
            return fork
        values = {"state": DELETING, "deleted_by": by.name, "deleted_reason": reason}
        forks.update(connection, name, **values)
        record(connection, by, now_us, "forks.delete", name, fork, "", reason)
        return msgspec.structs.replace(fork, state=DELETING, deleted_by=by.name, deleted_reason=reason)

    return change


def deleted(name: str, now_us: int) -> Change[None]:
    """Its node has deleted it: the lists and outputs go too, the row stays as the record. Again is the same."""

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        fork = forks.get(connection, name)
        if fork is None or fork.state != DELETING:
            return
        writer: ObjectTransaction = transaction  # type: ignore[assignment]  # the store's transaction has objects
        after = 0
        while runs := forks.runs(connection, name, after, 500):
            after = runs[-1].number
            for run in runs:
                if run.output_kept:
                    writer.remove_object(output_object(name, run.number))
        forks.drop_contents(connection, name)
        forks.update(connection, name, state=DELETED, deleted_at_us=now_us)
        record(connection, SYSTEM, now_us, "forks.deleted", name, "", f"deleted for {fork.deleted_by}")

    return change


def find(transaction: Transaction, name: str) -> ForkRow:
    """The fork; raises NotFound, for a deleted one too."""
    fork = forks.get(transaction.connection, name)
    if fork is None:
        raise NotFound(f"There is no fork {name}. `understudy forks list` lists them.")
    if fork.state == DELETED:
        raise NotFound(f"The fork {name} was deleted by {fork.deleted_by}.")
    return fork
