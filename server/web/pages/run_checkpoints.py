"""What a run saved, on its page: checkpoints, progress, what its earlier attempts printed; suspend, resume, let be."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from server.actions import checkpoints as actions
from server.core.model import Run
from server.core.run_states import ENDED, RunState
from server.ports.numbers import is_number
from server.storage import checkpoints, runs
from server.storage.checkpoints import Checkpoint, ProgressRow
from server.storage.runs import RunLine
from server.web.pages import serve

OUTPUTS_MAX = 10


@dataclass(frozen=True, slots=True)
class Earlier:
    """What an attempt printed from which this run goes on."""

    run: int
    attempt: int
    agent: str
    output: str
    hidden_bytes: int


@dataclass(frozen=True, slots=True)
class RunCheckpoints:
    """The part of a run's page. `found`: the latest first, with the agent that saved each. `next_run`: its next
    attempt.
    """

    found: tuple[tuple[Checkpoint, str], ...] = ()
    progress: ProgressRow | None = None
    resumed_run: int | None = None
    resumed_checkpoint: int | None = None
    suspend_requested_by: str = ""
    suspend_requested_at_us: int | None = None
    suspended_at_us: int | None = None
    may_suspend: bool = False
    may_resume: bool = False
    needs_decision: bool = False
    next_run: int | None = None
    earlier: tuple[int, ...] = ()
    """Attempts whose output comes before this one's, the first one first."""

    @property
    def held(self) -> tuple[int, ...]:
        """Numbers from which it can go on, the latest first."""
        return tuple(one.number for one, _ in self.found if one.held)


NOTHING_SAVED = RunCheckpoints()


def read(connection: sqlite3.Connection, run: Run, attempts: list[RunLine]) -> RunCheckpoints:
    """A query."""
    agents = {line.number: line.agent for line in attempts}
    chain = checkpoints.chain(connection, run)
    newest = attempts[-1].number if attempts else run.number
    is_over = run.state == RunState.SUSPENDED or (run.state in ENDED and run.state != RunState.SUCCEEDED)
    has_any = any(one.held for one in chain)
    return RunCheckpoints(
        found=tuple((one, agents.get(one.run, "")) for one in chain),
        progress=checkpoints.progress(connection, run.number),
        resumed_run=run.resumed_run,
        resumed_checkpoint=run.resumed_checkpoint,
        suspend_requested_by=run.suspend_requested_by,
        suspend_requested_at_us=run.suspend_requested_at_us,
        suspended_at_us=run.suspended_at_us,
        may_suspend=run.state == RunState.RUNNING,
        may_resume=newest == run.number and is_over and has_any,
        needs_decision=actions.needs_decision(connection, run),
        next_run=next((line.number for line in attempts if line.attempt == run.attempt + 1), None),
        earlier=_earlier(connection, run),
    )


def _earlier(connection: sqlite3.Connection, run: Run) -> tuple[int, ...]:
    found: list[int] = []
    while run.resumed_run is not None and len(found) < OUTPUTS_MAX:
        found.append(run.resumed_run)
        former = runs.get(connection, run.resumed_run)
        if former is None:
            break
        run = former
    return tuple(reversed(found))


def outputs(
    numbers: tuple[int, ...], attempts: tuple[RunLine, ...], tail: Callable[[int], tuple[str, int]]
) -> tuple[Earlier, ...]:
    """What those attempts printed; `tail` reads the end of one."""
    lines = {line.number: line for line in attempts}
    found = []
    for number in numbers:
        if number in lines:
            text, hidden = tail(number)
            found.append(Earlier(number, lines[number].attempt, lines[number].agent, text, hidden))
    return tuple(found)


async def suspend(request: web.Request) -> web.Response:
    """`POST /runs/{number}/suspend`."""
    number, reason = int(request.match_info["number"]), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.suspend(number, by, now_us, reason))
    return serve.back(f"/runs/{number}", "run-suspend")


async def resume(request: web.Request) -> web.Response:
    """`POST /runs/{number}/resume`: `checkpoint` in the form is a number, or empty for the latest."""
    number, fields = int(request.match_info["number"]), await serve.form(request)
    text, reason = fields.get("checkpoint", ""), fields.get("reason", "")
    chosen = int(text) if is_number(text) else None
    run = await serve.write(request, lambda by, now_us: actions.resume(number, by, now_us, chosen, 0, reason))
    return serve.back(f"/runs/{run.number}")


async def dismiss(request: web.Request) -> web.Response:
    """`POST /runs/{number}/dismiss`."""
    number, reason = int(request.match_info["number"]), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.dismiss(number, by, now_us, reason))
    return serve.back(f"/runs/{number}")


ROUTES = (
    serve.post(r"/runs/{number:\d+}/suspend", suspend),
    serve.post(r"/runs/{number:\d+}/resume", resume),
    serve.post(r"/runs/{number:\d+}/dismiss", dismiss),
)
