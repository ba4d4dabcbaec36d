"""`/api/docs`: every operation of the API, searchable, from the description that programs read. It needs no sign-in."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import ClassVar

from aiohttp import web

from server.web.frame import Frame
from server.web.manual import Operation, operations
from server.web.pages import serve

HERE = "/api/docs"


@dataclass(frozen=True, slots=True)
class ApiPage:
    """`match`: words that all have to be found; `about`: a topic. With either the operations are shown whole.

    `one`: the operation that is open.
    """

    template: ClassVar[str] = "pages/api_show.html"
    frame: Frame
    every: tuple[Operation, ...]
    match: str = ""
    about: str = ""
    one: str = ""

    @property
    def topics(self) -> tuple[tuple[str, tuple[Operation, ...]], ...]:
        """What is shown, by topic."""
        names = dict.fromkeys(one.topic for one in self.shown)
        return tuple((name, tuple(one for one in self.shown if one.topic == name)) for name in names)

    @property
    def shown(self) -> tuple[Operation, ...]:
        """What the search leaves."""
        return tuple(one for one in self.every if (not self.about or one.topic == self.about) and one.has(self.match))

    @property
    def is_whole(self) -> bool:
        """Whether operations are shown with all that belongs to them; else they are a list."""
        return bool(self.match or self.about)


@cache
def _operations() -> tuple[Operation, ...]:
    """Made once, of the same document as `/api/v1/openapi.json`."""
    from server.web.api.openapi import document  # the routes name the pages: known only once all are there
    from server.web.routes import ENDPOINTS

    return operations(document(ENDPOINTS))


async def show(request: web.Request) -> web.Response:
    """`GET /api/docs?match=&about=&one=`."""
    frame = replace(await serve.bare_frame(request, "API"), path=HERE)
    match, about = request.query.get("match", "").strip(), request.query.get("about", "")
    return serve.html(ApiPage(frame, _operations(), match, about, request.query.get("one", "")))


ROUTES = (serve.get(HERE, show, signed_in=False),)
