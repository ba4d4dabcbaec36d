"""Forks (BEY-3): what an old master had and this one never will: listed, read, exported, adopted, deleted."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
from aiohttp import web

from replication.errors import ReplicationError
from server import forks as folders
from server.actions import forks as actions
from server.actions.change import require
from server.core.forks import ForkEdit, ForkRow, ForkRun, output_object
from server.errors import NotFound, Unavailable
from server.fork_port import send_archive
from server.storage import forks as rows
from server.web.api.endpoint import Answer, Call, Endpoint


class ForkLine(msgspec.Struct, frozen=True, kw_only=True):
    """One fork. `node` keeps it; `path` is its folder when that is the node that answers, else "".

    `requests`, `first`, `last` and `epoch` are None for a folder that is no whole fork. `contents`: whole | part |
    unknown, with the reason in `problem`; `state`: arriving | kept | deleting. `runs` and `edits` are counts.
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


class RunLine(msgspec.Struct, frozen=True):
    """A run of a fork. `known_as`: the number of the run with the same key in force here, when there is one."""

    run: ForkRun
    known_as: int | None


class Adopt(msgspec.Struct, frozen=True):
    """Which run, by its number in the fork, and why."""

    run: int
    reason: str = ""


async def lines(call: Call) -> list[ForkLine]:
    """Every fork that the pair has told of, and the folders of this node that are none of those; the newest first."""
    site, data = call.site, call.site.config.data
    local = {line.name: line for line in await asyncio.to_thread(folders.listed, data)}
    try:
        found = await call.read(lambda connection: rows.page(connection))
    except (Unavailable, ReplicationError):
        found = []  # a node that holds no readable copy still says what it keeps
    own = site.identity.id if site.identity is not None else ""
    told = [
        _told(row, local.get(row.name) if row.node == own else None, site.keepers().name(row.node)) for row in found
    ]
    names = {row.name for row in found}
    untold = [_untold(line, own, site.keepers().name(own)) for line in local.values() if line.name not in names]
    return sorted([*told, *untold], key=lambda line: (-line.kept_at_us, line.name))


def _told(row: ForkRow, local: folders.ForkLine | None, node_name: str) -> ForkLine:
    return ForkLine(
        name=row.name,
        node=row.node,
        node_name=node_name,
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
    )


def _untold(line: folders.ForkLine, node: str, node_name: str) -> ForkLine:
    return ForkLine(
        name=line.name,
        node=node,
        node_name=node_name,
        path=line.path,
        bytes=line.bytes,
        requests=line.requests,
        first=line.first,
        last=line.last,
        epoch=line.epoch,
        kept_at_us=line.kept_at_us,
        why=line.why,
        problem="The master has not listed it." if line.requests is not None else "",
        state="arriving" if line.requests is not None else "kept",
    )


async def list_forks(call: Call) -> list[ForkLine]:
    """The forks of the pair, the newest first."""
    require(call.by, "forks.read")
    return await lines(call)


async def find_line(call: Call) -> ForkLine:
    """The fork of the path; raises `NotFound`."""
    name = call.path("name")
    found = next((line for line in await lines(call) if line.name == name), None)
    if found is None:
        raise NotFound(f"There is no fork {name}. `understudy forks list` lists them.")
    return found


async def show_fork(call: Call) -> ForkLine:
    """One fork."""
    require(call.by, "forks.read")
    return await find_line(call)


async def list_fork_runs(call: Call) -> list[RunLine]:
    """The runs of a fork by number, above `after`."""
    require(call.by, "forks.read")
    name, after, limit = call.path("name"), call.query_number("after", 0, 0, 2**62), call.limit()
    found = await call.read(lambda connection: rows.runs(connection, name, after, limit))
    if not found:
        return []
    known = await call.read(lambda c: rows.known_here(c, name, found[0].number, found[-1].number))
    return [RunLine(run, known.get(run.number)) for run in found]


async def list_fork_edits(call: Call) -> list[ForkEdit]:
    """The edits of a fork in their order, above `after`."""
    require(call.by, "forks.read")
    name, after, limit = call.path("name"), call.query_number("after", 0, 0, 2**62), call.limit()
    return await call.read(lambda connection: rows.edits(connection, name, after, limit))


async def export(call: Call) -> web.StreamResponse:
    """A tar file of everything, from the node that keeps it."""
    require(call.by, "forks.read")
    line, keepers = await find_line(call), call.site.keepers()
    pieces = keepers.archive(line.node, line.name)
    return await send_archive(call.request, line.name, pieces)


async def adopt(call: Call) -> Answer:
    """Put one run into Server History, as a record with its output. It is not run by that."""
    require(call.by, "history.adopt")
    name, number = call.path("name"), call.body.run
    output = await read_output(call.site.config.data, name, number)
    change = actions.adopt(name, number, output, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda entry: {"fork": name, "run": number, "server_history": entry})


async def read_output(data: Any, name: str, number: int) -> bytes:
    """The kept output of one run of a fork, from this node's replicated object; empty when there is none."""
    path = data / "objects" / output_object(name, number)
    return await asyncio.to_thread(lambda: path.read_bytes() if path.is_file() else b"")


async def delete(call: Call) -> Answer:
    """Delete the only copy of what a fork holds, on the node that keeps it, which has to be connected."""
    line, keepers = await find_line(call), call.site.keepers()
    call.site.store()
    confirmed = call.query("delete_the_only_copy") == "1"
    require(call.by, "forks.delete")
    keepers.require(line.node)
    change = actions.delete(line.name, call.by, call.now_us, confirmed, call.query("reason"))
    answer = await call.write(change, lambda _: {"fork": line.name, "deleted": True, "node": line.node_name})
    await keepers.finish_deletion(line.node, line.name)
    return answer


ENDPOINTS = (
    Endpoint("GET", "/api/v1/forks", list_forks, "Forks of the pair", answer=list[ForkLine]),
    Endpoint("GET", "/api/v1/forks/{name}", show_fork, "One fork", answer=ForkLine),
    Endpoint(
        "GET", "/api/v1/forks/{name}/runs", list_fork_runs, "Its runs", answer=list[RunLine], query=("after", "limit")
    ),
    Endpoint(
        "GET",
        "/api/v1/forks/{name}/edits",
        list_fork_edits,
        "Its edits",
        answer=list[ForkEdit],
        query=("after", "limit"),
    ),
    Endpoint("GET", "/api/v1/forks/{name}/export", export, "A tar file of everything in it"),
    Endpoint("POST", "/api/v1/forks/{name}/adopt", adopt, "Put one run into Server History", body=Adopt),
    Endpoint(
        "DELETE", "/api/v1/forks/{name}", delete, "Delete the only copy", query=("delete_the_only_copy", "reason")
    ),
)
