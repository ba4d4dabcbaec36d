"""Runs: the list, and one run with its reason, its times, its output that follows, and what may be done with it."""

from __future__ import annotations

import asyncio
import secrets
import sqlite3
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from aiohttp import web

from server.actions import explanations, pools, resources
from server.actions import runs as actions
from server.core.explanations import Explanation, state_sentence
from server.core.model import Run
from server.core.monitor_watches import Trip
from server.core.run_states import ENDED, RunState
from server.core.silence import why_not_again
from server.errors import NotFound
from server.storage import agents, job_monitors, jobs, runs, silence, workflow_runs
from server.storage.job_workflows import WORKFLOWS
from server.storage.runs import RunLine
from server.storage.silence import UnknownLine
from server.web.frame import Frame
from server.web.pages import serve
from server.web.pages.run_checkpoints import NOTHING_SAVED, Earlier, RunCheckpoints, outputs
from server.web.pages.run_checkpoints import read as read_saved

LIMIT = 100
CHECKPOINTS_SHOWN = 3
"""In the line of times; all of them are in the list."""
OUTPUT_SHOWN_BYTES = 64 * 1024
STATES = tuple(str(state) for state in RunState)


@dataclass(frozen=True, slots=True)
class RunsPage:
    """The list, newest first. `more_after` is the number to page on below, or None."""

    template: ClassVar[str] = "pages/run_list.html"
    frame: Frame
    runs: tuple[RunLine, ...]
    state: str = ""
    job: str = ""
    more_after: int | None = None
    unknown: tuple[UnknownLine, ...] = ()
    states: tuple[str, ...] = STATES
    agent_id: str = ""
    agent: str = ""
    """Only the runs of this one, by its name, when given."""


@dataclass(frozen=True, slots=True)
class Moment:
    """A line of the timeline."""

    word: str
    at_us: int | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class RunPage:
    """One run. `output` is its tail; `output_hidden_bytes` is how much before it is not shown."""

    template: ClassVar[str] = "pages/run_show.html"
    frame: Frame
    run: RunLine
    command: str
    sentence: str
    moments: tuple[Moment, ...]
    attempts: tuple[RunLine, ...]
    output: str
    output_hidden_bytes: int
    why_not: str = ""
    """Why an unknown run may not be run again."""
    members: str = ""
    """What the members of its group do, while none of them was chosen."""
    trips: tuple[Trip, ...] = ()
    """What job monitors found of its attempts."""
    saved: RunCheckpoints = NOTHING_SAVED
    earlier: tuple[Earlier, ...] = ()
    """What the attempts printed from which it goes on."""
    why: Explanation | None = None
    begun: int | None = None
    """The run of the workflow that it began."""

    @property
    def begins(self) -> bool:
        """Whether its doing is a workflow's run, and no agent's."""
        return self.run.agent_id == WORKFLOWS

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.run.state in ENDED


def sentence(run: RunLine) -> str:
    """What the state means, for people."""
    return state_sentence(run.state, run.started_at_us is not None, run.agent_id == WORKFLOWS)


def moments(run: RunLine, saved: RunCheckpoints = NOTHING_SAVED) -> tuple[Moment, ...]:
    """Due, submitted, started, its last checkpoint, stop or suspension requested, ended: those that apply, in order."""
    found = []
    if run.scheduled_for_us is not None:
        found.append(Moment("Due", run.scheduled_for_us))
    by = f"by {run.requested_by}" if run.requested_by else "by its schedule"
    found.append(Moment("Submitted", run.submitted_at_us, by))
    has_agent = run.started_at_us is not None and run.agent_id != WORKFLOWS
    found.append(Moment("Started", run.started_at_us, f"on {run.agent}" if has_agent else ""))
    if saved.resumed_run is not None:
        found.append(Moment("Goes on from", None, f"checkpoint {saved.resumed_checkpoint} of run {saved.resumed_run}"))
    for one, _ in reversed([pair for pair in saved.found if pair[0].run == run.number][:CHECKPOINTS_SHOWN]):
        found.append(Moment(f"Checkpoint {one.number}", one.at_us))
    if saved.suspend_requested_at_us is not None:
        found.append(Moment("Suspension asked", saved.suspend_requested_at_us, f"by {saved.suspend_requested_by}"))
    if saved.suspended_at_us is not None:
        found.append(Moment("Suspended", saved.suspended_at_us))
    if run.cancel_requested_by:
        found.append(Moment("Stop requested", None, f"by {run.cancel_requested_by}"))
    found.append(Moment("Ended", run.ended_at_us, _end(run)))
    return tuple(found)


def _end(run: RunLine) -> str:
    if run.exit_code is not None:
        return f"exit code {run.exit_code}"
    return f"signal {run.signal}" if run.signal is not None else ""


def tail(path: Path | None, limit: int = OUTPUT_SHOWN_BYTES) -> tuple[str, int]:
    """The last `limit` bytes of a run's output as text, and how many bytes are before them. Nothing yet is empty."""
    if path is None or not path.exists():
        return "", 0
    with path.open("rb") as file:
        size = file.seek(0, 2)
        hidden = max(0, size - limit)
        file.seek(hidden)
        return file.read(limit).decode("utf-8", "replace"), hidden


async def show_all(request: web.Request) -> web.Response:
    """`GET /runs?state=&job=&agent=&after=`; `agent` is an id, so that the runs of former machines are found."""
    state, job, after = request.query.get("state", ""), request.query.get("job", ""), serve.before(request)
    agent_id, now_us = request.query.get("agent", ""), serve.site(request).clock.utc_us()
    frame, (found, lines, names) = await serve.load(
        request,
        "Runs",
        lambda c: (
            _list(c, state, job, after, agent_id),
            _unknown(c, state, job, now_us),
            agents.names(c, [agent_id]) if agent_id else {},
        ),
    )
    more = found[-1].number if len(found) == LIMIT else None
    page = RunsPage(frame, tuple(found), state, job, more, lines, agent_id=agent_id, agent=names.get(agent_id, ""))
    return serve.html(page)


def _unknown(connection: sqlite3.Connection, state: str, job: str, now_us: int) -> tuple[UnknownLine, ...]:
    """Occurrences without a run belong to the list of unknown runs."""
    known = jobs.by_name(connection, job) if job else None
    if state != "unknown" or (job and known is None):
        return ()
    return tuple(silence.unknown(connection, now_us, job_id=known.id if known else 0))


def _list(connection: sqlite3.Connection, state: str, job: str, after: int | None, agent_id: str = "") -> list[RunLine]:
    known = jobs.by_name(connection, job) if job else None
    if job and known is None:
        return []
    return runs.page(connection, known.id if known else None, state if state in STATES else "", after, LIMIT, agent_id)


def _one(connection: sqlite3.Connection, number: int) -> tuple[RunLine, Run, list[RunLine], str, tuple[Trip, ...]]:
    line, run = runs.line(connection, number), runs.get(connection, number)
    if line is None or run is None:
        raise NotFound(f"There is no run {number}. See the list of runs.")
    why_not = why_not_again(run, agents.get(connection, run.agent_id), line.job) if run.state == "unknown" else ""
    trips = tuple(job_monitors.trips(connection, run_key=run.key, limit=10))
    return line, run, runs.attempts(connection, run.key), why_not, trips


async def show(request: web.Request) -> web.Response:
    """`GET /runs/{number}`."""
    number = int(request.match_info["number"])
    connected = serve.site(request).agent_connected
    frame, ((line, run, attempts, why_not, trips), members, saved, why, begun) = await serve.load(
        request,
        f"Run {number}",
        lambda c: (
            found := _one(c, number),
            _members(c, found[1], connected),
            read_saved(c, found[1], found[2]),
            explanations.of_run(c, found[1]),
            workflow_runs.by_key(c, found[1].key),
        ),
    )
    site, lines = serve.site(request), tuple(attempts)
    output, hidden = await asyncio.to_thread(tail, site.output_path(number))
    earlier = await asyncio.to_thread(outputs, saved.earlier, lines, lambda n: tail(site.output_path(n)))
    said, times = sentence(line), moments(line, saved)
    rest = (output, hidden, why_not, members, trips, saved, earlier, why, begun.id if begun is not None else None)
    return serve.html(RunPage(frame, line, run.command, said, times, lines, *rest))


def _members(connection: sqlite3.Connection, run: Run, is_connected: Callable[[str], object]) -> str:
    """SMA-7: where it waits, and why there; or who holds what it is short of."""
    if held := resources.describe(connection, run):
        return held
    waits = pools.is_in_pool(run) and run.state == RunState.WAITING
    return pools.describe(connection, run.group_id, is_connected) if waits else ""


async def run_now(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/run`: `once` in the form makes a second click the same run."""
    job_id, fields = int(request.match_info["id"]), await serve.form(request)
    _, job = await serve.load(request, "", lambda c: jobs.get(c, job_id))
    if job is None:
        raise NotFound("There is no such job. See the list of jobs.")
    once = fields.get("once") or secrets.token_hex(8)
    run = await serve.write(
        request,
        lambda by, now_us: actions.run_now(
            job.name, once, by, now_us, fields.get("instance", ""), bool(fields.get("after_window"))
        ),
    )
    return serve.back(f"/runs/{run.number}")


async def cancel(request: web.Request) -> web.Response:
    """`POST /runs/{number}/cancel`."""
    number, reason = int(request.match_info["number"]), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.cancel(number, by, now_us, reason))
    return serve.back(f"/runs/{number}", "run-cancel")


async def kill(request: web.Request) -> web.Response:
    """`POST /runs/{number}/kill`."""
    number, reason = int(request.match_info["number"]), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.kill(number, by, now_us, reason))
    return serve.back(f"/runs/{number}", "run-cancel")


async def rerun(request: web.Request) -> web.Response:
    """`POST /runs/{number}/rerun`: the next attempt, as a run of its own."""
    number, fields = int(request.match_info["number"]), await serve.form(request)
    reason = fields.get("reason", "")
    run = await serve.write(request, lambda by, now_us: actions.rerun(number, by, now_us, reason))
    return serve.back(f"/runs/{run.number}")


ROUTES = (
    serve.get("/runs", show_all),
    serve.get(r"/runs/{number:\d+}", show),
    serve.post(r"/jobs/{id:\d+}/run", run_now),
    serve.post(r"/runs/{number:\d+}/cancel", cancel),
    serve.post(r"/runs/{number:\d+}/kill", kill),
    serve.post(r"/runs/{number:\d+}/rerun", rerun),
)
