"""What happened: audit and system messages. Lists that page by key, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import messages as message_actions
from server.actions.change import require
from server.core.model import AuditEntry, SystemMessage
from server.storage import audit, system_messages
from server.web.frame import Frame
from server.web.pages import serve
from server.web.session import require_principal

LIMIT = 100


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Who did what, when, from where and why."""

    template: ClassVar[str] = "pages/audit_list.html"
    frame: Frame
    entries: tuple[AuditEntry, ...]
    match: str = ""
    more_after: int | None = None


@dataclass(frozen=True, slots=True)
class MessagesPage:
    """What the server says of itself."""

    template: ClassVar[str] = "pages/message_list.html"
    frame: Frame
    messages: tuple[SystemMessage, ...]
    more_after: int | None = None


def _more(found: list[AuditEntry] | list[SystemMessage]) -> int | None:
    return found[-1].id if len(found) == LIMIT else None


async def show_audit(request: web.Request) -> web.Response:
    """`GET /audit`."""
    require(require_principal(request), "audit.read")
    after, match = serve.before(request), request.query.get("match", "")
    frame, found = await serve.load(request, "Audit", lambda c: audit.page(c, after, LIMIT, match))
    return serve.html(AuditPage(frame, tuple(found), match, _more(found)))


async def show_messages(request: web.Request) -> web.Response:
    """`GET /messages`."""
    after = serve.before(request)
    frame, found = await serve.load(request, "System Messages", lambda c: system_messages.page(c, after, LIMIT))
    return serve.html(MessagesPage(frame, tuple(found), _more(found)))


async def acknowledge(request: web.Request) -> web.Response:
    """`POST /messages/{id}/acknowledge`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: message_actions.acknowledge(number, by, now_us))
    return serve.back("/messages", "acknowledged")


ROUTES = (
    serve.get("/audit", show_audit),
    serve.get("/messages", show_messages),
    serve.post(r"/messages/{id:\d+}/acknowledge", acknowledge),
)
