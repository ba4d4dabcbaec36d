"""The forks of the pair as people and programs see them: what the nodes told of, and what lies in this one's folder."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence

import msgspec

from server.actions import forks as actions
from server.actions.reports import HISTORY_OUTPUT_BYTES_MAX
from server.core.forks import ForkRow, ForkRun, output_object
from server.errors import Conflict, NotFound
from server.integrity import forks as folders
from server.integrity.forks import Folder
from server.site import Site
from server.storage import forks as rows

NAME_LENGTH_MAX = 200
NO_FORK = "There is no fork {}. `understudy forks list` lists them."


class ForkLine(msgspec.Struct, frozen=True, kw_only=True):
    """One fork. `node` keeps it; `path` is its folder when that is the node that answers, else "".

    `requests`, `first`, `last` and `epoch` are None for a folder that is no whole fork. `contents`: whole | part |
    unknown, with the reason in `problem`; `state`: arriving | kept | deleting. `runs` and `edits` are counts.
    `told`: the pair has its list; else it is only a folder of the node that answers.
    """

    name: str
    node: str
    node_name: str
    path: str = ""
    bytes: int
    requests: int | None
    first: int | None
    last: int | None
    epoch: int | None
    kept_at_us: int
    why: str
    contents: str = "unknown"
    problem: str = ""
    runs: int = 0
    edits: int = 0
    state: str = "kept"
    told: bool = False


class RunLine(msgspec.Struct, frozen=True):
    """A run of a fork. `known_as`: the number of the run with the same key in force here, when there is one."""

    run: ForkRun
    known_as: int | None


async def lines(site: Site, found: Sequence[ForkRow]) -> list[ForkLine]:
    """The forks in the rows `found`, and the folders of this node that are none of those; the newest first."""
    local = {line.name: line for line in await asyncio.to_thread(folders.listed, site.config.data)}
    own = site.identity.id if site.identity is not None else ""
    names = {row.name for row in found}
    told = [_told(site, row, local.get(row.name) if row.node == own else None) for row in found]
    return sorted(
        [*told, *(_untold(site, line, own) for line in local.values() if line.name not in names)],
        key=lambda line: (-line.kept_at_us, line.name),
    )


def choose(found: Sequence[ForkLine], name: str) -> ForkLine:
    """The fork of that name; raises NotFound."""
    line = next((line for line in found if line.name == name), None)
    if line is None:
        raise NotFound(NO_FORK.format(name))
    return line


def run_lines(connection: sqlite3.Connection, name: str, after: int, limit: int) -> list[RunLine]:
    """The runs of a fork by number, above `after`, each with its run in force here."""
    found = rows.runs(connection, name, after, limit)
    known = rows.known_here(connection, name, found[0].number, found[-1].number) if found else {}
    return [RunLine(run, known.get(run.number)) for run in found]


async def read_output(site: Site, name: str, number: int) -> bytes:
    """The kept output of one run of a fork, from this node's replicated object; empty when there is none."""
    if "/" in name or len(name) > NAME_LENGTH_MAX:
        raise NotFound(NO_FORK.format(name[:NAME_LENGTH_MAX]))
    path = site.config.data / "objects" / output_object(name, number)
    return await asyncio.to_thread(lambda: path.read_bytes()[:HISTORY_OUTPUT_BYTES_MAX] if path.is_file() else b"")


def check_deletable(site: Site, line: ForkLine) -> None:
    """Raise, with what to do, when this fork cannot be deleted from here now."""
    site.store()
    if not line.told:
        raise Conflict(
            f"{line.name} is not listed by the master: either it arrives in a few seconds, or it was set aside because "
            f"files were damaged. Then remove the folder by hand on {line.node_name}: {line.path}"
        )
    site.keepers().require(line.node)


async def delete(site: Site, line: ForkLine) -> None:
    """Carry out a committed decision to delete; what fails here is tried again by the collection."""
    await site.keepers().finish_deletion(line.node, line.name)


def _told(site: Site, row: ForkRow, local: Folder | None) -> ForkLine:
    return ForkLine(
        name=row.name,
        node=row.node,
        node_name=site.keepers().name(row.node),
        path=local.path if local is not None else "",
        bytes=local.bytes if local is not None else row.bytes,
        requests=row.requests,
        first=row.first,
        last=row.last,
        epoch=row.epoch,
        kept_at_us=row.kept_at_us,
        why=row.why,
        contents=row.contents,
        problem=row.problem,
        runs=row.runs,
        edits=row.edits,
        state=row.state,
        told=True,
    )


def _untold(site: Site, line: Folder, node: str) -> ForkLine:
    whole = line.requests is not None
    return ForkLine(
        name=line.name,
        node=node,
        node_name=site.identity.name if site.identity is not None else "this node",
        path=line.path,
        bytes=line.bytes,
        requests=line.requests,
        first=line.first,
        last=line.last,
        epoch=line.epoch,
        kept_at_us=line.kept_at_us,
        why=line.why,
        problem="The master has not listed it yet." if whole else "",
        state=actions.ARRIVING if whole else actions.KEPT,
    )
