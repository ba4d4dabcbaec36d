"""What no request here has, whoever sends it: refused before a handler sees it."""

from __future__ import annotations

from aiohttp import web

from server.ports.numbers import is_number

PART_MAX = 240
"""Characters of a name in an address; the longest that there is, a run's key, has 200."""
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
