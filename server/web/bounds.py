"""What no request here has, whoever sends it: refused before a handler sees it."""

from __future__ import annotations

from aiohttp import web
from aiohttp.web_urldispatcher import MatchInfoError, UrlMappingMatchInfo

PART_MAX = 400
"""Characters of a name in an address; the longest that there is, a run's key, has 200."""
DIGITS_MAX = 18
"""Of a number: one more, and a table may not take it."""
CHARSETS = ("utf-8", "utf8", "us-ascii", "ascii")


def check_shape(request: web.Request) -> None:
    """Raise 404 for parts of an address that nothing can have, 415 for bodies that nothing here sends."""
    for part in request.match_info.values():
        if len(part) > PART_MAX or (part.isdigit() and not is_number(part)) or "\0" in part:
            raise web.HTTPNotFound
    if request.content_type.startswith("multipart/"):
        raise web.HTTPUnsupportedMediaType(text="Send a form as application/x-www-form-urlencoded, or JSON.")
    charset = request.charset
    if charset is not None and charset.lower() not in CHARSETS:
        raise web.HTTPUnsupportedMediaType(text=f"Send UTF-8: {charset[:40]} is not read here.")


def is_number(text: str) -> bool:
    """Whether it is a number that a row may have."""
    return text.isascii() and text.isdecimal() and len(text) <= DIGITS_MAX


def refuse_connect(app: web.Application) -> None:
    """Have `CONNECT` answered 405: the library's router fails at its addresses, which are no paths."""
    resolve = app.router.resolve

    async def without_connect(request: web.Request) -> UrlMappingMatchInfo:
        if request.method == "CONNECT":
            return MatchInfoError(web.HTTPMethodNotAllowed("CONNECT", ()))
        return await resolve(request)

    app.router.resolve = without_connect  # type: ignore[method-assign]  # there is no public way
