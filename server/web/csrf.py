"""Requests that another web page made a browser send. Tokens in `Authorization` need no check: browsers do
not add them."""

from __future__ import annotations

from aiohttp import web
from yarl import URL

from server.errors import Forbidden

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSAL = "This request came from another site, so nothing was done. Open the page here and try again."


def check_origin(request: web.Request) -> None:
    """Raise `Forbidden` for an unsafe request that a page of another origin sent; also used for the
    WebSocket.

    `Sec-Fetch-Site` decides where the browser sends it, else `Origin` must name this host. A request with a
    cookie and neither header is refused; one without a cookie has no session to abuse and is a program's.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        if site not in ("same-origin", "none"):
            raise Forbidden(REFUSAL)
        return
    origin = request.headers.get("Origin")
    if origin is not None:
        if not _same_authority(origin, request.host) and not _same_host(origin, request.host):
            raise Forbidden(REFUSAL)
        return
    if request.cookies:
        raise Forbidden(REFUSAL)


def _same_authority(origin: str, host: str) -> bool:
    try:
        return URL(origin).authority == URL(f"https://{host}").authority
    except ValueError:  # no address at all
        return False


def _same_host(origin: str, host: str) -> bool:
    return origin.partition("://")[2] == host
