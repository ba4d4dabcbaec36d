"""What people are told on a page: the banner (CRY-4) and, after sign-in, the login message (CRY-5)."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from replication.errors import ReplicationError
from server.core.announcements import BANNER, Announcement
from server.core.maintenance import HOST, Session
from server.core.maintenance_windows import Window, span
from server.errors import UnderstudyError
from server.site import site_of
from server.storage import announcements, maintenance, maintenance_windows
from server.web.frame import Banner, LoginMessage
from server.web.session import SESSION_HASH, principal


@dataclass(frozen=True, slots=True)
class Told:
    """For the frame."""

    banners: tuple[Banner, ...] = ()
    login_message: LoginMessage | None = None
    maintenance: Session | None = None


NOTHING = Told()
Query = Callable[[sqlite3.Connection], Told]


def banner_of(found: Announcement) -> Banner:
    """As pages show it."""
    return Banner(found.severity, found.title, found.body)


def ahead(window: Window) -> Banner:
    """What is said of a window before it begins (BEY-10)."""
    whose = f" of {window.scope.partition(':')[2]}" if window.scope else ""
    title = f"Maintenance{whose} from {span(window)}" + (f": {window.title}" if window.title else "")
    return Banner("warning", title, "What falls due or is asked for then waits until its end. What runs goes on.")


def login_message_of(found: Announcement, going: str) -> LoginMessage:
    """As pages show it; `going` is the path to go on to."""
    return LoginMessage(found.severity, found.title, found.body, found.version, going)


def reader(request: web.Request) -> Query:
    """A query for who asks. Only a browser's session has a login message; a program is not stopped by one."""
    by, now_us = principal(request), site_of(request).clock.utc_us()
    role, session = by.role if by else "", request.get(SESSION_HASH, "")
    is_get = request.method == "GET"
    going = request.rel_url.path_qs if is_get else "/"

    def query(connection: sqlite3.Connection) -> Told:
        found = announcements.get(connection, BANNER)
        banners = [banner_of(found)] if found.is_shown(now_us, role) else []
        planned = maintenance_windows.coming(connection)
        banners += [ahead(one) for one in planned if one.is_announced(now_us) and (by or one.scope == HOST)]
        unread = announcements.unread(connection, session, role, now_us) if session and is_get else None
        return Told(tuple(banners), login_message_of(unread, going) if unread else None)

    return query


async def look(request: web.Request) -> Told:
    """Banner and maintenance for a page without rows of its own, from what this node can read: a standby has its copy.

    What cannot be read now shows no banner; the page itself says what is wrong.
    """
    query, by = reader(request), principal(request)

    def banners(connection: sqlite3.Connection) -> Told:
        if not announcements.exist(connection):
            return NOTHING
        session = maintenance.concerning(connection, by.tenant if by is not None else "")
        return Told(query(connection).banners, maintenance=session)

    try:
        return await site_of(request).read_now(banners)
    except (UnderstudyError, ReplicationError, sqlite3.Error, OSError):
        return NOTHING
