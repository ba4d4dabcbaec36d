"""Agents that do not answer: what is unknown of them, one occurrence run again, a machine declared dead."""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import agents as agent_actions
from server.actions import jobs, silence
from server.actions.silence import Declared
from server.storage import runs
from server.storage import silence as rows
from server.storage.runs import RunLine
from server.storage.silence import UnknownLine
from server.web.api.endpoint import Answer, Call, Endpoint, shape
from server.web.api.runs import Reason, Started, started


class UnknownOccurrences(msgspec.Struct, frozen=True):
    """What of one schedule a silent or dead agent may have started. `keys` are those of the first instants.

    `dead`: the machine was declared dead, so each may be run again by its key.
    """

    job: str
    agent: str
    schedule_id: int
    count: int
    first_us: int
    last_us: int
    silent_since_us: int | None
    dead: bool
    keys: list[str]


class Unknown(msgspec.Struct, frozen=True):
    """Everything that nobody knows: runs that were begun or sent, newest first, and occurrences without a run."""

    runs: list[RunLine]
    occurrences: list[UnknownOccurrences]


async def list_unknown(call: Call) -> Unknown:
    """Runs and occurrences that a silent agent may have started; of one agent or job when named."""
    agent, job, limit, now_us = call.query("agent"), call.query("job"), call.limit(), call.now_us

    def query(connection: Any) -> Unknown:
        agent_id = agent_actions.find(connection, agent).id if agent else ""
        job_id = jobs.find(connection, job).id if job else 0
        begun = runs.page(connection, job_id or None, "unknown", None, limit, agent_id)
        return Unknown(begun, [view(line) for line in rows.unknown(connection, now_us, agent_id, job_id)])

    return await call.read(query)


def view(line: UnknownLine) -> UnknownOccurrences:
    """A line as programs see it, with keys."""
    return UnknownOccurrences(
        line.job,
        line.agent,
        line.schedule_id,
        line.count,
        line.first_us,
        line.last_us,
        line.silent_since_us,
        line.dead,
        [line.key(at_us) for at_us in line.instants_us],
    )


async def rerun(call: Call) -> Answer:
    """Run an unknown occurrence of a dead machine again, as its next attempt."""
    change = silence.rerun(call.path("key"), call.by, call.now_us, call.body.reason)
    return await call.write(change, started, 202)


async def dismiss(call: Call) -> Answer:
    """Let what is unknown of a job at dead machines be."""
    name = call.path("name")
    change = silence.dismiss(name, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda count: {"job": name, "dismissed": count})


async def declare_dead(call: Call) -> Answer:
    """Say that an agent's machine is dead: its future instants are free, it starts nothing when it is on again."""
    change = silence.declare_dead(call.path("name"), call.by, call.now_us, call.body.reason)
    return await call.write(change)


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/unknown",
        list_unknown,
        "What silent agents may have started",
        answer=Unknown,
        query=("agent", "job", "limit"),
    ),
    Endpoint(
        "POST",
        "/api/v1/unknown/{key}/rerun",
        rerun,
        "Run an unknown occurrence again",
        body=Reason,
        answer=Started,
        status=202,
    ),
    Endpoint(
        "POST",
        "/api/v1/jobs/{name}/dismiss-unknown",
        dismiss,
        "Let what is unknown be",
        answer=shape(job=str, dismissed=int),
        body=Reason,
    ),
    Endpoint(
        "POST",
        "/api/v1/agents/{name}/declare-dead",
        declare_dead,
        "Say that a machine is dead",
        body=Reason,
        answer=Declared,
    ),
)
