"""Jobs with their schedules."""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from server.actions import job_specs, jobs
from server.actions.jobs import JobSpec
from server.core.model import Job, ScheduleRow
from server.ports.numbers import NUMBER_MAX
from server.storage import jobs as rows
from server.storage import schedules
from server.storage.jobs import JobLine
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape


class JobView(msgspec.Struct, frozen=True):
    """A job as it is: what people said about it, and what the program knows."""

    id: int
    spec: JobSpec
    held: bool
    version: int
    created_at_us: int
    updated_at_us: int


class JobUpdate(msgspec.Struct, frozen=True):
    """New properties of a job; with `version` it is refused when somebody else changed the job meanwhile."""

    spec: JobSpec
    version: int | None = None


class Hold(msgspec.Struct, frozen=True):
    """Whether a job is held, and why."""

    held: bool
    reason: str = ""


async def list_jobs(call: Call) -> list[JobLine]:
    """Jobs by name, above `after`; `match` is a part of the name, `tag` a whole one."""
    after, match, tag, limit = call.query("after"), call.query("match"), call.query("tag"), call.limit()
    return await call.read(lambda connection: rows.lines(connection, after, limit, match, tag))


async def show_job(call: Call) -> JobView:
    """One job."""
    name = call.path("name")
    return await call.read(lambda connection: _view(connection, jobs.find(connection, name)))


async def create_job(call: Call) -> Answer:
    """Add a job."""
    return await call.write(jobs.create(call.body, call.by, call.now_us), _made, 201)


async def update_job(call: Call) -> Answer:
    """Give a job other properties."""
    change = jobs.update(call.path("name"), call.body.spec, call.by, call.now_us, call.body.version)
    return await call.write(change, _made)


async def delete_job(call: Call) -> Answer:
    """Delete a job; its runs stay."""
    name = call.path("name")
    change = jobs.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def hold_job(call: Call) -> Answer:
    """Hold or release a job."""
    name, body = call.path("name"), call.body
    make = jobs.hold if body.held else jobs.release
    change = make(name, call.by, call.now_us, body.reason)
    return await call.write(change, lambda changed: {"name": name, "held": body.held, "changed": changed})


async def list_schedules(call: Call) -> Any:
    """Schedules of all jobs, by id."""
    after, limit = call.query_number("after", 0, 0, NUMBER_MAX), call.limit()
    return await call.read(lambda connection: schedules.page(connection, after, limit))


def _made(job: Job) -> dict[str, Any]:
    return {"id": job.id, "name": job.name, "version": job.version}


def _view(connection: sqlite3.Connection, job: Job) -> JobView:
    spec = job_specs.of_job(connection, job)
    return JobView(job.id, spec, job.held, job.version, job.created_at_us, job.updated_at_us)


ENDPOINTS = (
    Endpoint(
        "GET", "/api/v1/jobs", list_jobs, "Jobs by name", answer=list[JobLine], query=("after", "limit", "match", "tag")
    ),
    Endpoint(
        "POST",
        "/api/v1/jobs",
        create_job,
        "Add a job",
        answer=shape(id=int, name=str, version=int),
        body=JobSpec,
        status=201,
    ),
    Endpoint("GET", "/api/v1/jobs/{name}", show_job, "One job", answer=JobView),
    Endpoint(
        "PUT",
        "/api/v1/jobs/{name}",
        update_job,
        "Change a job",
        answer=shape(id=int, name=str, version=int),
        body=JobUpdate,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/jobs/{name}",
        delete_job,
        "Delete a job",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
    Endpoint(
        "PUT",
        "/api/v1/jobs/{name}/hold",
        hold_job,
        "Hold or release a job",
        answer=shape(name=str, held=bool, changed=bool),
        body=Hold,
    ),
    Endpoint(
        "GET", "/api/v1/schedules", list_schedules, "All schedules", answer=list[ScheduleRow], query=(AFTER, "limit")
    ),
)
