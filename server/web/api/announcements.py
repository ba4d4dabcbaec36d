"""The banner (CRY-4) and the login message (CRY-5): set, look, on, off."""

from __future__ import annotations

from typing import Any

import msgspec

from server.actions import announcements as actions
from server.core.announcements import BANNER, LOGIN_MESSAGE, Announcement, AnnouncementSpec
from server.core.markdown_subset import to_html
from server.storage import announcements as rows
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class AnnouncementPut(AnnouncementSpec, frozen=True, kw_only=True):
    """All that is set, and why. What is left out gets its default; whether it is on stays."""

    reason: str = ""


class AnnouncementLine(msgspec.Struct, frozen=True, kw_only=True):
    """The row; `is_shown`: on and within its times, by this node's clock. `body_html` is what pages show.

    `dismissed_by`: of a login message, how many users have dismissed the present text.
    """

    kind: str
    title: str
    body: str
    body_html: str
    severity: str
    audience: tuple[str, ...]
    before_sign_in: bool
    is_on: bool
    is_shown: bool
    start_us: int | None
    expiry_us: int | None
    version: int
    changed_by: str
    changed_at_us: int
    dismissed_by: int = 0


class Why(msgspec.Struct, frozen=True):
    """For the audit history."""

    reason: str = ""


class Dismissed(msgspec.Struct, frozen=True):
    """The version of the text that was read."""

    version: int


def line(announcement: Announcement, now_us: int, dismissed_by: int = 0) -> AnnouncementLine:
    """The answer for a row."""
    values: dict[str, Any] = msgspec.structs.asdict(announcement)
    more: dict[str, Any] = {"body_html": to_html(announcement.body), "is_shown": announcement.is_due(now_us)}
    return AnnouncementLine(**values, **more, dismissed_by=dismissed_by)


async def _show(kind: str, call: Call) -> AnnouncementLine:
    found, count = await call.read(
        lambda c: (found := actions.show(c, kind, call.by), rows.dismissed(c, found.version))
    )
    return line(found, call.now_us, count if kind == LOGIN_MESSAGE else 0)


async def _put(kind: str, call: Call) -> Answer:
    values = msgspec.structs.asdict(call.body)
    reason = values.pop("reason")
    change = actions.put(kind, AnnouncementSpec(**values), call.by, call.now_us, reason)
    return await call.write(change, lambda after: line(after, call.now_us))


async def _switch(kind: str, on: bool, call: Call) -> Answer:
    change = actions.switch(kind, on, call.by, call.now_us, call.body.reason)
    return await call.write(change, lambda changed: {"is_on": on, "changed": changed})


async def show_banner(call: Call) -> AnnouncementLine:
    """The banner's text, its times and whether it is on."""
    return await _show(BANNER, call)


async def put_banner(call: Call) -> Answer:
    """Set the banner's text and what goes with it."""
    return await _put(BANNER, call)


async def banner_on(call: Call) -> Answer:
    """Switch the banner on; again is the same."""
    return await _switch(BANNER, True, call)


async def banner_off(call: Call) -> Answer:
    """Switch the banner off; again is the same."""
    return await _switch(BANNER, False, call)


async def show_login_message(call: Call) -> AnnouncementLine:
    """The login message's text, its times, whether it is on, and how many have dismissed it."""
    return await _show(LOGIN_MESSAGE, call)


async def put_login_message(call: Call) -> Answer:
    """Set the login message's text and what goes with it."""
    return await _put(LOGIN_MESSAGE, call)


async def login_message_on(call: Call) -> Answer:
    """Switch the login message on; again is the same."""
    return await _switch(LOGIN_MESSAGE, True, call)


async def login_message_off(call: Call) -> Answer:
    """Switch the login message off; again is the same."""
    return await _switch(LOGIN_MESSAGE, False, call)


async def dismiss_login_message(call: Call) -> Answer:
    """Say that one has read the login message."""
    change = actions.dismiss(call.body.version, call.by, call.now_us)
    return await call.write(change, lambda changed: {"dismissed": True, "changed": changed})


_B, _L = "/api/v1/banner", "/api/v1/login-message"
_P = AnnouncementPut
ENDPOINTS = (
    Endpoint("GET", _B, show_banner, "The banner", answer=AnnouncementLine),
    Endpoint("PUT", _B, put_banner, "Set the banner", body=_P, answer=AnnouncementLine),
    Endpoint("POST", _B + "/on", banner_on, "Switch the banner on", answer=shape(is_on=bool, changed=bool), body=Why),
    Endpoint(
        "POST", _B + "/off", banner_off, "Switch the banner off", answer=shape(is_on=bool, changed=bool), body=Why
    ),
    Endpoint("GET", _L, show_login_message, "The login message", answer=AnnouncementLine),
    Endpoint("PUT", _L, put_login_message, "Set the login message", body=_P, answer=AnnouncementLine),
    Endpoint(
        "POST",
        _L + "/on",
        login_message_on,
        "Switch the login message on",
        answer=shape(is_on=bool, changed=bool),
        body=Why,
    ),
    Endpoint(
        "POST",
        _L + "/off",
        login_message_off,
        "Switch the login message off",
        answer=shape(is_on=bool, changed=bool),
        body=Why,
    ),
    Endpoint(
        "POST",
        _L + "/dismiss",
        dismiss_login_message,
        "The login message was read",
        answer=shape(dismissed=bool, changed=bool),
        body=Dismissed,
    ),
)
