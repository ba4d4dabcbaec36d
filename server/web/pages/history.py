"""Server History (SKY-11): the list, one entry with its output, and the button that adopts it into Job History."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import history as actions
from server.core.model import ServerHistoryEntry
from server.storage import agents, jobs, runs, server_history
from server.web.frame import Frame
from server.web.pages import serve

LIMIT = 100


@dataclass(frozen=True, slots=True)
class HistoryPage:
    """Completions that no known run matches, and what was adopted from forks. `agents` are names by id."""

    template: ClassVar[str] = "pages/history_list.html"
    frame: Frame
    entries: tuple[ServerHistoryEntry, ...]
    agents: dict[str, str]
    more_after: int | None = None
    match: str = ""
    only_open: bool = False
    open_count: int = 0


@dataclass(frozen=True, slots=True)
class EntryPage:
    """One entry. `job` is the job that it means, "" for none; `run` the number of the run that it became."""

    template: ClassVar[str] = "pages/history_show.html"
    frame: Frame
    entry: ServerHistoryEntry
    agent: str
    job: str
    run: int | None

    @property
    def output(self) -> str:
        """What it printed, as text."""
        return self.entry.output.decode("utf-8", "replace")


def _list(
    connection: sqlite3.Connection, after: int | None, match: str, only_open: bool
) -> tuple[list[ServerHistoryEntry], dict[str, str], int]:
    found = server_history.page(connection, after, LIMIT, match, only_open)
    return found, agents.names(connection, (e.agent_id for e in found)), server_history.count_open(connection)


async def show_all(request: web.Request) -> web.Response:
    """`GET /server-history?match=&open=&after=`."""
    after, match, only_open = serve.before(request), request.query.get("match", ""), request.query.get("open") == "1"
    frame, (found, names, count) = await serve.load(
        request, "Server History", lambda c: _list(c, after, match, only_open)
    )
    more = found[-1].id if len(found) == LIMIT else None
    return serve.html(HistoryPage(frame, tuple(found), names, more, match, only_open, count))


def _one(connection: sqlite3.Connection, number: int) -> tuple[ServerHistoryEntry, str, str, int | None]:
    entry = actions.find(connection, number)
    agent = agents.get(connection, entry.agent_id)
    run = runs.by_key(connection, entry.adopted_run) if entry.adopted_run else None
    owner = jobs.get(connection, run.job_id) if run is not None else actions.meant_job(connection, entry)
    name = agent.name if agent is not None else entry.agent_id[:8]
    return entry, name, owner.name if owner is not None else "", run.number if run is not None else None


async def show(request: web.Request) -> web.Response:
    """`GET /server-history/{id}`."""
    number = int(request.match_info["id"])
    frame, found = await serve.load(request, f"Server History, entry {number}", lambda c: _one(c, number))
    return serve.html(EntryPage(frame, *found))


async def adopt(request: web.Request) -> web.Response:
    """`POST /server-history/{id}/adopt`: leads to the run that it became."""
    number, fields = int(request.match_info["id"]), await serve.form(request)
    job, reason = fields.get("job", ""), fields.get("reason", "")
    done = await serve.write(request, lambda by, now_us: actions.adopt(number, job, by, now_us, reason))
    return serve.back(f"/runs/{done.run}", "history-adopted")


ROUTES = (
    serve.get("/server-history", show_all),
    serve.get(r"/server-history/{id:\d+}", show),
    serve.post(r"/server-history/{id:\d+}/adopt", adopt),
)
