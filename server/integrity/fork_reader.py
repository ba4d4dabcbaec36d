"""What a fork holds, run by run and edit by edit: read on the node that keeps it, before that is changed (BEY-3)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator

import msgspec

from server.actions.reports import output_object
from server.core.forks import (
    EDITS_MAX,
    OUTPUT_BYTES_MAX,
    OUTPUTS_BYTES_MAX,
    PART,
    RUNS_MAX,
    WHOLE,
    Contents,
    ForkEdit,
    ForkRun,
    unknown,
)

CONTENTS = "contents.json"
SINCE_VERSION = 3
"""The schema in which rows first say which request wrote them."""

_RUNS = (
    "SELECT r.number, r.key, coalesce(j.name, ''), r.agent_id, coalesce(a.name, ''), r.state, r.reason, r.exit_code,"
    " r.signal, r.submitted_at_us, r.started_at_us, r.ended_at_us, r.requested_by, r.output_bytes"
    " FROM runs r LEFT JOIN jobs j ON j.id = r.job_id LEFT JOIN agents a ON a.id = r.agent_id"
    " WHERE r.sequence > ? ORDER BY r.number LIMIT ?"
)
_EDITS = (
    "SELECT id, at_us, who, address, action, object, before, after, reason FROM audit"
    " WHERE sequence > ? ORDER BY id LIMIT ?"
)
_RUN_FIELDS = ForkRun.__struct_fields__[1:15]
_EDIT_FIELDS = ForkEdit.__struct_fields__[1:]


def output_file(number: int) -> str:
    """The file of a fork's folder that holds the beginning of one run's output."""
    return f"output-{number}"


class ForkReader:
    """See `replication.ports.ForkReader`."""

    def describe(
        self,
        fork: str,
        after: int,
        connection: sqlite3.Connection,
        read_object: Callable[[str, int], bytes],
    ) -> Iterator[tuple[str, bytes]]:
        """The outputs of the runs, then the list of runs and edits that requests beyond `after` wrote."""
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version < SINCE_VERSION:
            raise ValueError("its rows were written by a release that did not note which request wrote them")
        runs = self._count(connection, "runs", after)
        edits = self._count(connection, "audit", after)
        listed = [_run(fork, row) for row in connection.execute(_RUNS, (after, RUNS_MAX))]
        kept, room = [], OUTPUTS_BYTES_MAX
        for run in listed:
            output = read_object(output_object(run.number), min(OUTPUT_BYTES_MAX, room)) if run.output_bytes else b""
            room -= len(output)
            kept.append(msgspec.structs.replace(run, output_kept=len(output)))
            if output:
                yield output_file(run.number), output
        found = [_edit(fork, row) for row in connection.execute(_EDITS, (after, EDITS_MAX))]
        problem = _not_listed(runs - len(kept), edits - len(found))
        contents = Contents(
            contents=PART if problem else WHOLE,
            problem=problem,
            runs=runs,
            edits=edits,
            run_list=kept,
            edit_list=found,
        )
        yield CONTENTS, msgspec.json.encode(contents)

    @staticmethod
    def _count(connection: sqlite3.Connection, table: str, after: int) -> int:
        return int(connection.execute(f"SELECT count(*) FROM {table} WHERE sequence > ?", (after,)).fetchone()[0])

    def unknown(self, why: str) -> bytes:
        """The list that says why there is none."""
        return msgspec.json.encode(unknown(why))


def _run(fork: str, row: tuple[object, ...]) -> ForkRun:
    values = dict(zip(_RUN_FIELDS, row, strict=True))
    return msgspec.convert({"fork": fork, "output_kept": 0, **values}, ForkRun, strict=False)


def _edit(fork: str, row: tuple[object, ...]) -> ForkEdit:
    return msgspec.convert({"fork": fork, **dict(zip(_EDIT_FIELDS, row, strict=True))}, ForkEdit, strict=False)


def _not_listed(runs: int, edits: int) -> str:
    if runs <= 0 and edits <= 0:
        return ""
    return (
        f"{max(runs, 0):,} further runs and {max(edits, 0):,} further edits are not listed here. Its requests are kept."
    )
