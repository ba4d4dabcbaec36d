"""Every error as an answer: problem documents (RFC 9457) for programs, a page for people. Never a
traceback."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, Protocol

import structlog
from aiohttp import web

from server import errors
from server.errors import UnderstudyError
from server.ports.problems import problem, problem_response, translate
from server.site import CONFIRMED, SEQUENCE, site_of
from server.web.refusals import REFUSALS

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
SEQUENCE_HEADER = "Understudy-Sequence"
COMMITTED_HEADER = "Understudy-Committed"
"""`false` on an answer read from rows that the standby has not confirmed yet."""


class ErrorPage(Protocol):
    """How an error looks to a browser."""

    async def __call__(self, request: web.Request, status: int, text: str) -> web.Response:
        """The page for a status with one sentence."""


ERROR_PAGE = web.AppKey("error_page", ErrorPage)
"""Set by the pages; without it a browser gets the problem document."""

log = structlog.get_logger()


@web.middleware
async def errors_as_answers(request: web.Request, handler: Handler) -> web.StreamResponse:
    """The outermost middleware: errors become answers, and answers get the sequence they saw."""
    try:
        response = await handler(request)
    except web.HTTPRedirection as redirection:
        response = redirection
    except web.HTTPException as error:
        response = await _http_error(request, error)
    except ConnectionError:
        raise  # whoever asked is gone
    except Exception as error:
        response = await _answer(request, error)
    if not response.prepared:
        response.headers[SEQUENCE_HEADER] = str(_sequence(request))
        if not request.get(CONFIRMED, True):
            response.headers[COMMITTED_HEADER] = "false"
    return response


def _sequence(request: web.Request) -> int:
    seen: int | None = request.get(SEQUENCE)
    if seen is not None:
        return seen
    status = site_of(request).status()
    return status.commit_sequence if status is not None else 0


async def _http_error(request: web.Request, error: web.HTTPException) -> web.StreamResponse:
    codes = {404: "not_found", 403: "forbidden", 401: "unauthenticated", 409: "conflict", 503: "unavailable"}
    text = error.text or ""
    if error.status == 404:
        is_api = request.path.startswith("/api/")
        text = f"There is no {request.path}." + " GET /api/v1/openapi.json lists what there is." * is_api
    if error.status == 405:
        text = f"{request.method} is not possible on {request.path}."
    document = {
        "type": "about:blank",
        "title": error.reason,
        "status": error.status,
        "code": codes.get(error.status, "invalid"),
        "detail": text,
    }
    response = await _shown(request, document, None)
    if "Allow" in error.headers:
        response.headers["Allow"] = error.headers["Allow"]
    return response


async def _answer(request: web.Request, error: Exception) -> web.StreamResponse:
    known = translate(error, request)
    if known is not None:
        request.app[REFUSALS].note(request, known)
        return await _shown(request, problem(known), known)
    log.error("request failed", method=request.method, path=request.path, exc_info=error)
    document = {
        "type": "about:blank",
        "title": "Internal Server Error",
        "status": 500,
        "code": "internal",
        "detail": "This is a defect. Nothing that was not confirmed is kept; the node's log has the details.",
    }
    return await _shown(request, document, None)


async def _shown(request: web.Request, document: dict[str, Any], error: UnderstudyError | None) -> web.StreamResponse:
    page = request.app.get(ERROR_PAGE)
    if page is not None and not request.path.startswith("/api/") and "text/html" in request.headers.get("Accept", ""):
        response = await page(request, int(document["status"]), str(document["detail"]))
    else:
        response = problem_response(document)
    if isinstance(error, errors.Unavailable):
        response.headers["Retry-After"] = str(error.retry_after_s)
    if isinstance(error, errors.InMaintenance):
        response.headers["Allow"] = "GET, HEAD"
    if document["status"] == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
