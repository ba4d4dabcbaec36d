"""Certificates: the cluster's authorities, who bears which certificate, and the exchange of the authority."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import authorities as actions
from server.actions.change import require
from server.trust.rotation import following
from server.web.api.certificates import CertificatesView, view
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import require_principal

HERE = "/certificates"


@dataclass(frozen=True, slots=True)
class CertificatesPage:
    """What `GET /api/v1/certificates` says, as a page."""

    template: ClassVar[str] = "pages/certificate_list.html"
    frame: Frame
    found: CertificatesView

    @property
    def done(self) -> int:
        """How many members are not waited for."""
        return len(self.found.certificates) - len(self.found.awaited)

    @property
    def agents_awaited(self) -> int:
        """How many agents the exchange waits for."""
        return sum(1 for one in self.found.awaited if one.kind == "agent")

    @property
    def nodes_awaited(self) -> int:
        """How many nodes it waits for: they are never left behind."""
        return len(self.found.awaited) - self.agents_awaited


async def show(request: web.Request) -> web.Response:
    """`GET /certificates`."""
    frame, found = await serve.load(request, "Certificates", view)
    return serve.html(CertificatesPage(frame, found))


async def rotate(request: web.Request) -> web.Response:
    """`POST /certificates/rotate`."""
    asking, reason = require_principal(request), (await serve.form(request)).get("reason", "")
    require(asking, "certificates.manage")
    row, key = await following(serve.site(request), asking.name)
    await serve.write(request, lambda by, now_us: actions.begin(row, key, by, now_us, reason))
    return serve.back(HERE, "rotation-begun")


async def cancel(request: web.Request) -> web.Response:
    """`POST /certificates/cancel`."""
    reason = (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.cancel(by, now_us, reason))
    return serve.back(HERE, "rotation-cancelled")


async def advance(request: web.Request) -> web.Response:
    """`POST /certificates/advance`: without the agents that are away."""
    reason = (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.advance(by, now_us, True, reason))
    return serve.back(HERE, "rotation-advanced")


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE + "/rotate", rotate),
    serve.post(HERE + "/cancel", cancel),
    serve.post(HERE + "/advance", advance),
)
