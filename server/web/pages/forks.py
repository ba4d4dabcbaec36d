"""The page of one fork (BEY-3): what the old master had, run by run and edit by edit, and what to do about it."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar
from urllib.parse import quote

from aiohttp import web

from server.actions import forks as actions
from server.actions.change import require
from server.core.forks import ForkEdit, ForkRow, in_words
from server.ports.fork_port import send_archive
from server.ports.numbers import is_number
from server.storage import forks as rows
from server.web import forks
from server.web.forks import ForkLine, RunLine
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import require_principal

LIMIT = 100
Found = tuple[list[ForkRow], list[RunLine], list[ForkEdit]]


@dataclass(frozen=True, slots=True)
class ForkPage:
    """One fork. `held` is what it holds, in words; `reachable`: the node that keeps it can be asked now."""

    template: ClassVar[str] = "pages/fork_show.html"
    frame: Frame
    fork: ForkLine
    base: str
    held: str
    runs: tuple[RunLine, ...] = ()
    edits: tuple[ForkEdit, ...] = ()
    reachable: bool = True
    more_runs_after: int | None = None
    more_edits_after: int | None = None


def address(name: str) -> str:
    """Where a fork's page is."""
    return f"/replication/forks/{quote(name)}"


def page_from(
    frame: Frame, fork: ForkLine, runs: list[RunLine], edits: list[ForkEdit], reachable: bool = True
) -> ForkPage:
    """Put the page together."""
    return ForkPage(
        frame=frame,
        fork=fork,
        base=address(fork.name),
        held=in_words(fork.requests, fork.contents, fork.runs, fork.edits),
        runs=tuple(runs),
        edits=tuple(edits),
        reachable=reachable,
        more_runs_after=runs[-1].run.number if len(runs) == LIMIT else None,
        more_edits_after=edits[-1].id if len(edits) == LIMIT else None,
    )


async def show_fork(request: web.Request) -> web.Response:
    """`GET /replication/forks/{name}`; `runs` and `edits` in the address are where the lists go on."""
    require(require_principal(request), "forks.read")
    name, site = request.match_info["name"], serve.site(request)
    after_run, after_edit = (_number(request, word) for word in ("runs", "edits"))

    def query(connection: sqlite3.Connection) -> Found:
        runs = forks.run_lines(connection, name, after_run, LIMIT)
        return rows.page(connection), runs, rows.edits(connection, name, after_edit, LIMIT)

    frame, (found, runs, edits) = await serve.load(request, f"Fork {name}", query)
    fork = forks.choose(await forks.lines(site, found), name)
    return serve.html(page_from(frame, fork, runs, edits, fork.node in site.keepers().reachable()))


def _number(request: web.Request, word: str) -> int:
    text = request.query.get(word, "")
    return int(text) if is_number(text) else 0


async def _line(request: web.Request) -> ForkLine:
    """The fork of the path, as it is listed now."""
    site = serve.site(request)
    found, _, _ = await site.read(rows.page, serve.tenant(request))
    return forks.choose(await forks.lines(site, found), request.match_info["name"])


async def export(request: web.Request) -> web.StreamResponse:
    """`GET /replication/forks/{name}/export`: everything in it, as a tar file."""
    require(require_principal(request), "forks.read")
    line = await _line(request)
    return await send_archive(request, line.name, serve.site(request).keepers().archive(line.node, line.name))


async def adopt(request: web.Request) -> web.Response:
    """`POST /replication/forks/{name}/adopt`: one run goes on record in Server History."""
    name, fields = request.match_info["name"], await serve.form(request)
    page = address(name)
    number = int(fields.get("run", "")) if is_number(fields.get("run", "")) else 0
    output = await forks.read_output(serve.site(request), name, number)
    reason = fields.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.adopt(name, number, output, by, now_us, reason))
    return serve.back(page, "fork-adopted")


async def delete(request: web.Request) -> web.Response:
    """`POST /replication/forks/{name}/delete`: the only copy goes."""
    line, fields = await _line(request), await serve.form(request)
    forks.check_deletable(serve.site(request), line)
    confirmed, reason = fields.get("delete_the_only_copy") == "1", fields.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(line.name, by, now_us, confirmed, reason))
    await forks.delete(serve.site(request), line)
    return serve.back("/replication", "fork-deleted")


PATH = "/replication/forks/{name}"
ROUTES = (
    serve.get(PATH, show_fork),
    serve.get(PATH + "/export", export),
    serve.post(PATH + "/adopt", adopt),
    serve.post(PATH + "/delete", delete),
)
