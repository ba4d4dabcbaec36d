"""Forks (BEY-3): what an old master had and this one never will: listed, read, exported, adopted, deleted."""

from __future__ import annotations

import msgspec
from aiohttp import web

from replication.errors import ReplicationError
from server.actions import forks as actions
from server.core.forks import ForkEdit
from server.errors import Unavailable
from server.ports.fork_port import send_archive
from server.ports.numbers import NUMBER_MAX
from server.storage import forks as rows
from server.web import forks
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape
from server.web.forks import ForkLine, RunLine


class Adopt(msgspec.Struct, frozen=True):
    """Which run, by its number in the fork, and why."""

    run: int
    reason: str = ""


async def list_forks(call: Call) -> list[ForkLine]:
    """The forks of the pair, the newest first. A node without a readable copy still says what it keeps itself."""
    try:
        found = await call.read(lambda connection: rows.page(connection))
    except (Unavailable, ReplicationError):
        found = []
    return await forks.lines(call.site, found)


async def show_fork(call: Call) -> ForkLine:
    """One fork."""
    return forks.choose(await list_forks(call), call.path("name"))


async def list_fork_runs(call: Call) -> list[RunLine]:
    """The runs of a fork by number, above `after`."""
    name, after, limit = call.path("name"), call.query_number("after", 0, 0, NUMBER_MAX), call.limit()
    return await call.read(lambda connection: forks.run_lines(connection, name, after, limit))


async def list_fork_edits(call: Call) -> list[ForkEdit]:
    """The edits of a fork in their order, above `after`."""
    name, after, limit = call.path("name"), call.query_number("after", 0, 0, NUMBER_MAX), call.limit()
    return await call.read(lambda connection: rows.edits(connection, name, after, limit))


async def export(call: Call) -> web.StreamResponse:
    """A tar file of everything, from the node that keeps it."""
    line = await show_fork(call)
    return await send_archive(call.request, line.name, call.site.keepers().archive(line.node, line.name))


async def adopt(call: Call) -> Answer:
    """Put one run into Server History, as a record with its output. It is not run by that."""
    name, number = call.path("name"), call.body.run
    output = await forks.read_output(call.site, name, number)
    change = actions.adopt(name, number, output, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda entry: {"fork": name, "run": number, "server_history": entry})


async def delete(call: Call) -> Answer:
    """Delete the only copy of what a fork holds, on the node that keeps it, which has to be connected."""
    line = await show_fork(call)
    forks.check_deletable(call.site, line)
    confirmed = call.query("delete_the_only_copy") == "1"
    change = actions.delete(line.name, call.by, call.now_us, confirmed, call.query("reason"))
    answer = await call.write(change, lambda _: {"fork": line.name, "deleted": True, "node": line.node_name})
    await forks.delete(call.site, line)
    return answer


ENDPOINTS = (
    Endpoint("GET", "/api/v1/forks", list_forks, "Forks of the pair", answer=list[ForkLine]),
    Endpoint("GET", "/api/v1/forks/{name}", show_fork, "One fork", answer=ForkLine),
    Endpoint(
        "GET", "/api/v1/forks/{name}/runs", list_fork_runs, "Its runs", answer=list[RunLine], query=(AFTER, "limit")
    ),
    Endpoint(
        "GET",
        "/api/v1/forks/{name}/edits",
        list_fork_edits,
        "Its edits",
        answer=list[ForkEdit],
        query=(AFTER, "limit"),
    ),
    Endpoint("GET", "/api/v1/forks/{name}/export", export, "A tar file of everything in it", media="application/x-tar"),
    Endpoint(
        "POST",
        "/api/v1/forks/{name}/adopt",
        adopt,
        "Put one run into Server History",
        answer=shape(fork=str, run=int, server_history=int),
        body=Adopt,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/forks/{name}",
        delete,
        "Delete the only copy",
        answer=shape(fork=str, deleted=bool, node=str),
        query=("delete_the_only_copy", "reason"),
    ),
)
