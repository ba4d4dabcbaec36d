"""Why a job runs when it does, and why a run waits."""

from __future__ import annotations

import sqlite3

from server.actions import explanations, jobs, runs
from server.core.explanations import Explanation
from server.web.api.endpoint import Call, Endpoint


async def explain_job(call: Call) -> Explanation:
    """What decides when, where and by whom a job runs, and what stands in its way."""
    name = call.path("name")

    def query(connection: sqlite3.Connection) -> Explanation:
        return explanations.of_job(connection, jobs.find(connection, name), call.now_us)

    return await call.read(query)


async def explain_run(call: Call) -> Explanation:
    """Why a run exists, what it does, and what would let it go."""
    number = call.number("number")
    return await call.read(lambda connection: explanations.of_run(connection, runs.find(connection, number)))


ENDPOINTS = (
    Endpoint("GET", "/api/v1/jobs/{name}/explain", explain_job, "Why a job runs when it does", answer=Explanation),
    Endpoint("GET", "/api/v1/runs/{number}/explain", explain_run, "Why a run is as it is", answer=Explanation),
)
