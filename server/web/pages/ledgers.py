"""What happened: audit and system messages. Lists that page by key, newest first."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from aiohttp import web

from server.actions import audit as audit_actions
from server.actions import messages as message_actions
from server.actions.change import require
from server.core.audit_chain import Chain
from server.core.model import AuditEntry, SystemMessage
from server.errors import Invalid
from server.storage import audit, system_messages
from server.web.api.audit import walk_through
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
    chain: Chain | None
    match: str = ""
    more_after: int | None = None


@dataclass(frozen=True, slots=True)
class MessagesPage:
    """What the server says of itself. `open`: how many *acknowledge all* is about, 0 where it is not offered."""

    template: ClassVar[str] = "pages/message_list.html"
    frame: Frame
    messages: tuple[SystemMessage, ...]
    more_after: int | None = None
    open: int = 0
    only_open: bool = False
    severity: str = ""
    match: str = ""
    severities: tuple[str, ...] = message_actions.SEVERITIES


def _more(found: list[AuditEntry] | list[SystemMessage]) -> int | None:
    return found[-1].id if len(found) == LIMIT else None


async def show_audit(request: web.Request) -> web.Response:
    """`GET /audit`."""
    require(require_principal(request), "audit.read")
    after, match = serve.before(request), request.query.get("match", "")

    def query(connection: sqlite3.Connection) -> tuple[list[AuditEntry], Chain | None]:
        return audit.page(connection, after, LIMIT, match), audit.seen_chain(connection)

    frame, (found, chain) = await serve.load(request, "Audit", query)
    return serve.html(AuditPage(frame, tuple(found), chain, match, _more(found)))


async def verify_audit(request: web.Request) -> web.Response:
    """`POST /audit/verify`: checks every hash, and keeps what was found for the page."""
    audit_actions.require_verify(require_principal(request))
    walk, _ = await walk_through(serve.site(request))
    await serve.write(request, lambda by, now_us: audit_actions.put_verified(walk, by, now_us))
    return serve.back("/audit", "audit-verified")


async def show_messages(request: web.Request) -> web.Response:
    """`GET /messages`."""
    after, asked = serve.before(request), request.query
    only_open, severity, match = asked.get("open", "") == "1", asked.get("severity", ""), asked.get("match", "")

    def query(connection: sqlite3.Connection) -> tuple[list[SystemMessage], int]:
        found = system_messages.page(connection, after, LIMIT, only_open, severity, match)
        first = after is None and not match
        return found, system_messages.count_open(connection, severity) if first else 0

    frame, (found, count) = await serve.load(request, "System Messages", query)
    return serve.html(MessagesPage(frame, tuple(found), _more(found), count, only_open, severity, match))


async def acknowledge_all(request: web.Request) -> web.Response:
    """`POST /messages/acknowledge`: all up to the newest that the page showed."""
    fields = await serve.form(request)
    up_to, severity = fields.get("up_to", ""), fields.get("severity", "")
    if not up_to.isdecimal():
        raise Invalid("The form names no message. Open the page again.")
    await serve.write(request, lambda by, now_us: message_actions.acknowledge_all(int(up_to), severity, by, now_us))
    return serve.back("/messages", "acknowledged")


async def acknowledge(request: web.Request) -> web.Response:
    """`POST /messages/{id}/acknowledge`."""
    number = int(request.match_info["id"])
    await serve.write(request, lambda by, now_us: message_actions.acknowledge(number, by, now_us))
    return serve.back("/messages", "acknowledged")


ROUTES = (
    serve.get("/audit", show_audit),
    serve.post("/audit/verify", verify_audit),
    serve.get("/messages", show_messages),
    serve.post("/messages/acknowledge", acknowledge_all),
    serve.post(r"/messages/{id:\d+}/acknowledge", acknowledge),
)
