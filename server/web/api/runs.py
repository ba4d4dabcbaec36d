"""Runs: start one, look at them, read the output, cancel, kill, repeat."""

from __future__ import annotations

import hashlib
import sqlite3
from typing import Any

import msgspec
from aiohttp import web

from server.actions import jobs, runs, window_fit
from server.actions.change import Transaction
from server.core.model import Run
from server.errors import NotFound
from server.ports.numbers import NUMBER_MAX
from server.storage import jobs as job_rows
from server.storage import runs as rows
from server.storage.runs import RunLine
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, Number


class Started(msgspec.Struct, frozen=True):
    """A run that was submitted. `run` is its number; `reason` says why it waits, `warnings` what may come between."""

    run: int
    key: str
    state: str
    reason: str
    warnings: list[str] = []


class RunNow(msgspec.Struct, frozen=True):
    """Which special instance of the job; none without. `after_window`: it waits for the end of a planned maintenance
    into which it would reach."""

    instance: str = ""
    after_window: bool = False


class Reason(msgspec.Struct, frozen=True):
    """Why, for the audit history."""

    reason: str = ""


async def run_now(call: Call) -> Answer:
    """Submit a run of a job. Its key comes from the Idempotency-Key: twice is one run."""
    request_id = hashlib.sha256(f"{call.by.name}\n{call.key}".encode()).hexdigest()[:32]
    instance, after, now_us = call.body.instance, call.body.after_window, call.now_us
    submit = runs.run_now(call.path("name"), request_id, call.by, now_us, instance, after)

    def change(transaction: Transaction) -> Started:
        run, connection = submit(transaction), transaction.connection
        job = job_rows.get(connection, run.job_id)
        is_late = job is None or run.begin_after_us is not None
        warnings = [] if is_late or job is None else [why.text for why in window_fit.warn(connection, job, now_us)]
        return msgspec.structs.replace(started(run), warnings=warnings)

    return await call.write(change, lambda made: made, 202)


async def list_runs(call: Call) -> list[RunLine]:
    """Runs, newest first, below number `after`; of one job, agent or state."""
    after = call.query_number("after", 0, 0, NUMBER_MAX) or None
    state, agent_id, limit, job = call.query("state"), call.query("agent"), call.limit(), call.query("job")

    def query(connection: sqlite3.Connection) -> list[RunLine]:
        job_id = jobs.find(connection, job).id if job else None
        return rows.page(connection, job_id, state, after, limit, agent_id)

    return await call.read(query)


async def show_run(call: Call) -> RunLine:
    """One run."""
    return await find_line(call)


async def find_line(call: Call) -> RunLine:
    """The run of the path; raises `NotFound`."""
    number = call.number("number")
    line = await call.read(lambda connection: rows.line(connection, number))
    if line is None:
        raise NotFound(f"There is no run {number}. GET /api/v1/runs lists them.")
    return line


async def show_output(call: Call) -> web.StreamResponse:
    """What a run printed, as bytes; a Range header is honoured. Empty while nothing arrived.

    `attempt`: what another attempt of the same run printed.
    """
    line = await find_line(call)
    wanted = call.query_number("attempt", line.attempt, 1, 2**31)
    if wanted != line.attempt:
        every = await call.read(lambda connection: rows.attempts(connection, line.key))
        found = next((one for one in every if one.attempt == wanted), None)
        if found is None:
            there = ", ".join(f"{one.attempt} (run {one.number})" for one in every)
            raise NotFound(f"Run {line.number} has no attempt {wanted}. Its attempts: {there}.")
        line = found
    headers = {"Content-Type": "text/plain; charset=utf-8", "Understudy-Output-Cut": str(line.output_cut).lower()}
    path = call.site.output_path(line.number)
    if path is None or not path.exists():
        return web.Response(body=b"", headers=headers)
    response = web.FileResponse(path)
    response.headers.update(headers)
    return response


async def cancel(call: Call) -> Answer:
    """End a run: SIGTERM first."""
    return await call.write(runs.cancel(call.number("number"), call.by, call.now_us, call.body.reason), started)


async def kill(call: Call) -> Answer:
    """Kill a run's processes at once."""
    return await call.write(runs.kill(call.number("number"), call.by, call.now_us, call.body.reason), started)


async def rerun(call: Call) -> Answer:
    """Submit the next attempt of an ended run."""
    return await call.write(runs.rerun(call.number("number"), call.by, call.now_us, call.body.reason), started, 202)


def started(run: Run) -> Started:
    """A submitted run as the API answers it."""
    return Started(run.number, run.key, run.state, run.reason)


def _post(path: str, handle: Any, summary: str, status: int = 200) -> Endpoint:
    return Endpoint("POST", path, handle, summary, body=Reason, answer=Started, status=status)


ENDPOINTS = (
    Endpoint("POST", "/api/v1/jobs/{name}/run", run_now, "Run a job now", body=RunNow, answer=Started, status=202),
    Endpoint(
        "GET",
        "/api/v1/runs",
        list_runs,
        "Runs, newest first",
        answer=list[RunLine],
        query=("job", "state", "agent", AFTER, "limit"),
    ),
    Endpoint("GET", "/api/v1/runs/{number}", show_run, "One run", answer=RunLine),
    Endpoint(
        "GET",
        "/api/v1/runs/{number}/output",
        show_output,
        "What a run printed",
        media="text/plain",
        query=(Number("attempt", 1, 2**31),),
    ),
    _post("/api/v1/runs/{number}/cancel", cancel, "End a run"),
    _post("/api/v1/runs/{number}/kill", kill, "Kill a run"),
    _post("/api/v1/runs/{number}/rerun", rerun, "Repeat a run", 202),
)
