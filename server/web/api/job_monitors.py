"""What job monitors found. Their settings are part of the job: `spec.job_monitors`."""

from __future__ import annotations

from server.actions import jobs
from server.core.monitor_watches import JobMonitor, Trip
from server.ports.numbers import NUMBER_MAX
from server.storage import job_monitors as rows
from server.web.api.endpoint import AFTER, Call, Endpoint


async def list_trips(call: Call) -> list[Trip]:
    """What monitors found, the newest first, going on below id `after`; of one `job`, or of the run with key `run`."""
    after, limit = call.query_number("after", NUMBER_MAX, 0, NUMBER_MAX), call.limit()
    name, key = call.query("job"), call.query("run")
    return await call.read(
        lambda connection: rows.trips(
            connection, jobs.find(connection, name).id if name else None, run_key=key, after=after, limit=limit
        )
    )


async def list_monitors(call: Call) -> list[JobMonitor]:
    """The monitors of a job that are on, with the ids that their happenings name."""
    name = call.path("name")
    return await call.read(lambda connection: rows.of_job(connection, jobs.find(connection, name).id))


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/job-monitors/trips",
        list_trips,
        "What job monitors found",
        answer=list[Trip],
        query=("job", "run", AFTER, "limit"),
    ),
    Endpoint("GET", "/api/v1/jobs/{name}/monitors", list_monitors, "A job's monitors", answer=list[JobMonitor]),
)
