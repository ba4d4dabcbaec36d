"""Who was refused what: one line of the log for each, so many a minute, and how many more there were."""

from __future__ import annotations

import structlog
from aiohttp import web

from server.errors import Forbidden, Unauthenticated, UnderstudyError
from server.site import site_of
from server.web.session import principal, remote_address

LINES_MAX = 60
"""In a minute: a storm of refusals fills no disk."""
WINDOW_S = 60.0

log = structlog.get_logger()


class Refusals:
    """Of one application."""

    def __init__(self) -> None:
        self._began_s = -WINDOW_S
        self._lines = 0
        self._left_out = 0

    def note(self, request: web.Request, error: UnderstudyError) -> None:
        """Log it, when it is one that tells of an attempt: not that somebody has yet to sign in."""
        if not isinstance(error, Forbidden) and not (
            isinstance(error, Unauthenticated) and "Authorization" in request.headers
        ):
            return
        now_s = site_of(request).clock.monotonic()
        if now_s - self._began_s >= WINDOW_S:
            if self._left_out:
                log.warning("more was refused than is listed", times=self._left_out)
            self._began_s, self._lines, self._left_out = now_s, 0, 0
        self._lines += 1
        if self._lines > LINES_MAX:
            self._left_out += 1
            return
        by = principal(request)
        log.warning(
            "refused",
            code=error.code,
            user=by.name if by is not None else "",
            address=remote_address(request),
            method=request.method,
            path=request.rel_url.raw_path,
        )


REFUSALS = web.AppKey("refusals", Refusals)
