"""BEY-3: what a fork holds, in the words of people. Rows of the pair, and the description that its node sends."""

from __future__ import annotations

import msgspec

from server.core.model import Row

RUNS_MAX = 20_000
EDITS_MAX = 20_000
"""How many of each are listed; an export has the rest."""
OUTPUT_BYTES_MAX = 1 << 20
"""Of one run's output: as much as Server History keeps of one entry."""
OUTPUTS_BYTES_MAX = 64 << 20
"""Of all outputs of a fork together."""
WHOLE, PART, UNKNOWN = "whole", "part", "unknown"


class ForkRow(Row, frozen=True, kw_only=True):
    """One fork. `contents`: whole | part | unknown, then `problem` says why. `state`: kept | deleting | deleted."""

    name: str
    node: str
    epoch: int
    first: int
    last: int
    requests: int
    bytes: int
    kept_at_us: int
    why: str
    contents: str
    problem: str
    runs: int
    edits: int
    recorded_at_us: int
    state: str = "kept"
    deleted_by: str = ""
    deleted_at_us: int | None = None
    deleted_reason: str = ""


class ForkRun(Row, frozen=True, kw_only=True):
    """A run as the old master last knew it. `output_kept`: bytes of its output that travel with the list."""

    fork: str
    number: int
    key: str
    job: str
    agent_id: str
    agent: str
    state: str
    reason: str
    exit_code: int | None
    signal: int | None
    submitted_at_us: int
    started_at_us: int | None
    ended_at_us: int | None
    requested_by: str
    output_bytes: int
    output_kept: int
    history_id: int | None = None


class ForkEdit(Row, frozen=True, kw_only=True):
    """An entry of the old master's audit history that the new one never had."""

    fork: str
    id: int
    at_us: int
    who: str
    address: str
    action: str
    object: str
    before: str
    after: str
    reason: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """`contents.json` of a fork: counts of all, and the first RUNS_MAX and EDITS_MAX of each.

    `problem` is "" when everything is listed; else a sentence that says what is not, and why.
    """

    version: int = 1
    contents: str
    problem: str = ""
    runs: int = 0
    edits: int = 0
    run_list: list[ForkRun] = []
    edit_list: list[ForkEdit] = []


def unknown(why: str) -> Contents:
    """Nobody could read what the fork holds."""
    return Contents(contents=UNKNOWN, problem=f"What it holds is unknown: {why}. Its requests are kept: export them.")


def output_object(fork: str, number: int) -> str:
    """The replicated object that holds the output of one run of a fork."""
    return f"fork-{fork}.run-{number}"


def in_words(requests: int | None, contents: str, runs: int, edits: int) -> str:
    """What a fork holds, as a part of a sentence."""
    if contents == UNKNOWN:
        return "files (not listed)" if requests is None else f"{_count(requests, 'request')} (not listed)"
    return f"{_count(runs, 'run')} and {_count(edits, 'edit')}"


def returned_text(fork: ForkRow, node: str) -> str:
    """The alarm: what the operator of the new master must know at once."""
    held = in_words(fork.requests, fork.contents, fork.runs, fork.edits)
    return (
        f"The old master {node} returned with {held} that this master never had. None of it is in force. It is kept on "
        f"{node} until somebody deletes it. Look at it: Replication, Forks, {fork.name}."
    )


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
