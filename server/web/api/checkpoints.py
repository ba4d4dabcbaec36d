"""Checkpoints of a run, suspend and resume (SMA-1 to SMA-3)."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import checkpoints
from server.actions import runs as run_actions
from server.storage import checkpoints as rows
from server.storage.checkpoints import Checkpoint
from server.web.api.endpoint import Answer, Call, Endpoint
from server.web.api.runs import Reason, Started, started


class ResumeBody(msgspec.Struct, frozen=True):
    """From which checkpoint: number `checkpoint`, or `back` steps before the latest; the latest without both."""

    checkpoint: int | None = None
    back: int = 0
    reason: str = ""


class ProgressView(msgspec.Struct, frozen=True):
    """The last word of a run."""

    percent: int
    text: str
    at_us: int


class Checkpoints(msgspec.Struct, frozen=True):
    """What a run can go on from, the latest first, also of the attempts before. `resumed_*`: what it went on from."""

    run: int
    checkpoints: list[Checkpoint]
    resumed_run: int | None
    resumed_checkpoint: int | None
    suspend_requested_by: str
    suspended_at_us: int | None
    needs_decision: bool
    progress: ProgressView | None


def view(connection: sqlite3.Connection, number: int) -> Checkpoints:
    """A query; raises NotFound."""
    run, said = run_actions.find(connection, number), rows.progress(connection, number)
    return Checkpoints(
        run=run.number,
        checkpoints=rows.chain(connection, run),
        resumed_run=run.resumed_run,
        resumed_checkpoint=run.resumed_checkpoint,
        suspend_requested_by=run.suspend_requested_by,
        suspended_at_us=run.suspended_at_us,
        needs_decision=checkpoints.needs_decision(connection, run),
        progress=ProgressView(said.percent, said.text, said.at_us) if said is not None else None,
    )


async def show(call: Call) -> Checkpoints:
    """What a run saved, and how far it says that it is."""
    number = call.number("number")
    return await call.read(lambda connection: view(connection, number))


async def suspend(call: Call) -> Answer:
    """Stop a run at its next checkpoint."""
    change = checkpoints.suspend(call.number("number"), call.by, call.now_us, call.body.reason)
    return await call.write(change, started)


async def resume(call: Call) -> Answer:
    """Go on with a run from a checkpoint, as its next attempt."""
    body = call.body
    change = checkpoints.resume(
        call.number("number"), call.by, call.now_us, body.checkpoint, body.back, body.reason
    )  # fmt: skip
    return await call.write(change, started, 202)


async def dismiss(call: Call) -> Answer:
    """Decide that nobody goes on with an interrupted run."""
    change = checkpoints.dismiss(call.number("number"), call.by, call.now_us, call.body.reason)
    return await call.write(change, started)


ENDPOINTS = (
    Endpoint("GET", "/api/v1/runs/{number}/checkpoints", show, "Checkpoints of a run", answer=Checkpoints),
    Endpoint(
        "POST", "/api/v1/runs/{number}/suspend", suspend, "Suspend at the next checkpoint", body=Reason, answer=Started
    ),
    Endpoint(
        "POST",
        "/api/v1/runs/{number}/resume",
        resume,
        "Go on from a checkpoint",
        body=ResumeBody,
        answer=Started,
        status=202,
    ),
    Endpoint(
        "POST", "/api/v1/runs/{number}/dismiss", dismiss, "Let an interrupted run be", body=Reason, answer=Started
    ),
)
