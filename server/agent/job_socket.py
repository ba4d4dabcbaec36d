"""The agent's local socket: what a job, or anybody on this machine who may open it, can tell the agent (SKY-16, SMA-1).

HTTP over `agent.sock` in the agent's data directory, so that the commands' own client speaks it:

    POST /events        {"monitor": NAME, "variables": {...}}      200 once the event is durable here
    POST /checkpoints   {"run": KEY, "data": BASE64 or null, "suspend": false}     200 once it is durable here
    GET  /checkpoints?run=KEY&number=N                             whether it is on every node
    POST /progress      {"run": KEY, "percent": 40, "text": ""}    200 once it is noted; told when there is time

The header Idempotency-Key makes one event or checkpoint of a request that is sent again. `run` is UNDERSTUDY_RUN_ID.

Errors are problem documents as on the web port. Who can reach the socket is decided by the directory: it is private to
the user of the agent, as the files beside it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec
import structlog
from aiohttp import web

from server.agent.job_calls import JobCalls

log = structlog.get_logger(__name__)

AGENT_SOCKET = "agent.sock"
BODY_BYTES_MAX = 2 * 1024 * 1024
STATUS = {"invalid": 400, "not_found": 404, "conflict": 409, "unavailable": 503}


class FireBody(msgspec.Struct, frozen=True):
    """A manual event to be."""

    monitor: str
    variables: dict[str, str] = {}


class CheckpointBody(msgspec.Struct, frozen=True):
    """A checkpoint to be: any bytes, in base64. None with `suspend`: end the run at the one that it has."""

    run: str
    data: bytes | None = None
    suspend: bool = False


class ProgressBody(msgspec.Struct, frozen=True):
    """How far a run is."""

    run: str
    percent: int
    text: str = ""


class JobSocket:
    """Open with `open` while the agent holds its directory's lock; a socket left by a killed agent is replaced."""

    def __init__(self, data: Path, calls: JobCalls) -> None:
        self._path = data / AGENT_SOCKET
        self._calls = calls
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen. On an OSError nothing listens and it is logged: jobs run without it."""
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[_refusals])
        app.router.add_post("/events", self._events)
        app.router.add_post("/checkpoints", self._checkpoint)
        app.router.add_get("/checkpoints", self._is_replicated)
        app.router.add_post("/progress", self._progress)
        runner = web.AppRunner(app, shutdown_timeout=0.5)
        await runner.setup()
        self._runner = runner
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        try:
            await web.UnixSite(runner, short_address(self._path)).start()
            os.chmod(self._path, 0o600)
        except OSError as error:
            log.error("jobs cannot reach the agent: its socket cannot be opened", path=str(self._path), why=str(error))

    async def close(self) -> None:
        """Stop listening; what was asked and not answered is asked again with the same key."""
        if self._runner is not None:
            await self._runner.cleanup()

    async def _events(self, request: web.Request) -> web.Response:
        body, key = await _read(request, FireBody)
        answer = await self._calls.fire(body.monitor, key, body.variables)
        if answer.code:
            return _problem(answer.code, answer.detail)
        said = {
            "monitor": body.monitor,
            "number": answer.number,
            "runs": list(answer.runs),
            "elsewhere": answer.elsewhere,
            "suppressed": [{"job": job, "cause": cause} for job, cause in answer.suppressed],
        }
        return web.json_response(said)

    async def _checkpoint(self, request: web.Request) -> web.Response:
        body, key = await _read(request, CheckpointBody)
        if body.data is None and not body.suspend:
            return _problem("invalid", "There are no data to keep.")
        answer = await self._calls.checkpoint(body.run, body.data, key, body.suspend)
        if answer.code:
            return _problem(answer.code, answer.detail)
        size = len(body.data) if body.data is not None else 0
        return web.json_response({"run": body.run, "number": answer.number, "bytes": size})

    async def _is_replicated(self, request: web.Request) -> web.Response:
        run, number = request.query.get("run", ""), request.query.get("number", "")
        if not number.isdecimal() or len(number) > 18:
            return _problem("invalid", "number must be the number of a checkpoint.")
        replicated, connected = self._calls.is_replicated(run, int(number))
        return web.json_response({"run": run, "number": int(number), "replicated": replicated, "master": connected})

    async def _progress(self, request: web.Request) -> web.Response:
        body, _ = await _read(request, ProgressBody)
        answer = self._calls.progress(body.run, body.percent, body.text)
        return _problem(answer.code, answer.detail) if answer.code else web.json_response({"run": body.run})


async def _read(request: web.Request, kind: type[Any]) -> tuple[Any, str]:
    """The body and the key of a request. Raises the answer when one of them is not right."""
    try:
        body = msgspec.json.decode(await request.read(), type=kind)
    except web.HTTPRequestEntityTooLarge:
        raise _Refused("invalid", f"The request is above {BODY_BYTES_MAX} bytes: nothing was kept.") from None
    except (msgspec.DecodeError, UnicodeError, RecursionError) as error:
        raise _Refused("invalid", f"The body is not as it should be: {error}.") from error
    key = request.headers.get("Idempotency-Key") or secrets.token_hex(16)
    if len(key) > 200:
        raise _Refused("invalid", "Idempotency-Key may have at most 200 characters.")
    return body, key


class _Refused(Exception):
    """A request that is not right; answered as a problem document."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


@web.middleware
async def _refusals(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        answer: web.StreamResponse = await handler(request)
    except _Refused as refused:
        return _problem(refused.code, str(refused))
    return answer


def short_address(path: Path) -> str:
    """The socket's path, through a descriptor when the directory's name is too long for a socket address."""
    if len(os.fsencode(path)) < 100:
        return str(path)
    return f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)}/{path.name}"


def _problem(code: str, detail: str) -> web.Response:
    status = STATUS[code]
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")
