"""The agent's local socket: what a job, or anybody on this machine who may open it, can tell the agent (SKY-16).

HTTP over `agent.sock` in the agent's data directory, so that the commands' own client speaks it:

    POST /events   {"monitor": NAME, "variables": {...}}, header Idempotency-Key   200 once the event is durable here

Errors are problem documents as on the web port. Who can reach the socket is decided by the directory: it is private to
the user of the agent, as the files beside it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import structlog
from aiohttp import web

from server.core.agent_ledger import FireAnswer

log = structlog.get_logger(__name__)

AGENT_SOCKET = "agent.sock"
BODY_BYTES_MAX = 256 * 1024
STATUS = {"invalid": 400, "not_found": 404, "unavailable": 503}
Fire = Callable[[str, str, dict[str, str]], Awaitable[FireAnswer]]
"""(monitor, request, variables): answers when the event is durable, or with the refusal."""


class FireBody(msgspec.Struct, frozen=True):
    """A manual event to be."""

    monitor: str
    variables: dict[str, str] = {}


class JobSocket:
    """Open with `open` while the agent holds its directory's lock; a socket left by a killed agent is replaced."""

    def __init__(self, data: Path, fire: Fire) -> None:
        self._path = data / AGENT_SOCKET
        self._fire = fire
        self._runner: web.AppRunner | None = None

    async def open(self) -> None:
        """Listen. On an OSError nothing listens and it is logged: jobs run without it."""
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_post("/events", self._events)
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
        try:
            body = msgspec.json.decode(await request.read(), type=FireBody)
        except msgspec.DecodeError as error:
            return _problem("invalid", f"The body is not as it should be: {error}.")
        key = request.headers.get("Idempotency-Key") or secrets.token_hex(16)
        if len(key) > 200:
            return _problem("invalid", "Idempotency-Key may have at most 200 characters.")
        answer = await self._fire(body.monitor, key, body.variables)
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


def short_address(path: Path) -> str:
    """The socket's path, through a descriptor when the directory's name is too long for a socket address."""
    if len(os.fsencode(path)) < 100:
        return str(path)
    return f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)}/{path.name}"


def _problem(code: str, detail: str) -> web.Response:
    status = STATUS[code]
    body = {"type": "about:blank", "status": status, "code": code, "detail": detail}
    return web.json_response(body, status=status, content_type="application/problem+json")
