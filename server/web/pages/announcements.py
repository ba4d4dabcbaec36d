"""Messages: the banner (CRY-4) and the login message (CRY-5), each with its form, preview and switch."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import ClassVar

from aiohttp import web

from server.actions import announcements as actions
from server.actions.change import require
from server.core.access import ROLES
from server.core.announcements import KINDS, SEVERITIES, WORDS, Announcement, AnnouncementSpec
from server.core.model import SECOND_US
from server.errors import Invalid
from server.storage import announcements
from server.web.frame import Banner, Frame, LoginMessage
from server.web.pages import serve
from server.web.pages.sign_in import local_path
from server.web.session import require_principal

HERE = "/banner"
TICK = "audience-"
"""How the field of a role begins."""
SHOWN = {"info": "Information", "warning": "Warning", "danger": "Danger"}


class Fields(defaultdict[str, str]):
    """Values by field; what is not there is empty."""

    def __init__(self, *given: Mapping[str, str]) -> None:
        super().__init__(str)
        for one in given:
            self.update(one)


@dataclass(frozen=True, slots=True)
class AnnouncementForm:
    """One of the two: its row, and the form with values as typed and errors by field.

    `preview`: what is typed, as people would see it. `is_shown`: people see it now.
    """

    kind: str
    word: str
    row: Announcement
    values: Mapping[str, str]
    is_shown: bool
    errors: Mapping[str, str] = field(default_factory=Fields)
    preview: Banner | None = None
    dismissed: int = 0

    @property
    def place(self) -> str:
        """The kind as a part of addresses and ids."""
        return self.kind.replace("_", "-")


@dataclass(frozen=True, slots=True)
class AnnouncementsPage:
    """Both."""

    template: ClassVar[str] = "pages/announcement_edit.html"
    frame: Frame
    forms: tuple[AnnouncementForm, ...]
    severities: tuple[tuple[str, str], ...] = tuple(SHOWN.items())
    roles: tuple[str, ...] = ROLES


@dataclass(frozen=True, slots=True)
class LoginMessagePage:
    """The page in between for browsers without JavaScript; the others have the same as a dialog."""

    template: ClassVar[str] = "pages/login_message_show.html"
    frame: Frame
    message: LoginMessage


def _local(at_us: int | None) -> str:
    return "" if at_us is None else datetime.fromtimestamp(at_us // SECOND_US, UTC).strftime("%Y-%m-%dT%H:%M")


def values_of(row: Announcement) -> Fields:
    """The form's values for a row."""
    ticks = {TICK + role: "1" for role in row.audience}
    before = {"before_sign_in": "1"} if row.before_sign_in else {}
    times = {"start": _local(row.start_us), "expiry": _local(row.expiry_us)}
    return Fields({"title": row.title, "body": row.body, "severity": row.severity}, times, ticks, before)


def spec_from(values: Mapping[str, str]) -> AnnouncementSpec:
    """What the form says. Raises Invalid for a time that is none."""
    return AnnouncementSpec(
        title=values.get("title", ""),
        body=values.get("body", "").replace("\r\n", "\n"),
        severity=values.get("severity", SEVERITIES[0]),
        audience=tuple(name.removeprefix(TICK) for name, tick in values.items() if name.startswith(TICK) and tick),
        before_sign_in=bool(values.get("before_sign_in")),
        start_us=_instant_us(values, "start"),
        expiry_us=_instant_us(values, "expiry"),
    )


def _instant_us(values: Mapping[str, str], name: str) -> int | None:
    text = values.get(name, "")
    if not text:
        return None
    try:
        at = datetime.fromisoformat(text)
        return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) * SECOND_US
    except (ValueError, OverflowError) as error:
        raise Invalid(f"{text} is no time. Write it as 2026-11-22T22:00, in UTC.", fields={name: "No time."}) from error


def form_of(row: Announcement, now_us: int, dismissed: int = 0) -> AnnouncementForm:
    """The form for a row as it is kept."""
    return AnnouncementForm(row.kind, WORDS[row.kind], row, values_of(row), row.is_due(now_us), dismissed=dismissed)


async def _page(request: web.Request) -> AnnouncementsPage:
    require(require_principal(request), "messages.change")

    def query(connection: sqlite3.Connection) -> tuple[list[tuple[Announcement, int]], tuple[str, ...]]:
        found = [announcements.get(connection, kind) for kind in KINDS]
        counted = [(row, announcements.dismissed(connection, row.version)) for row in found]
        return counted, actions.role_names(connection)

    frame, (found, roles) = await serve.load(request, "Messages", query)
    return AnnouncementsPage(frame, tuple(form_of(row, frame.now_us, count) for row, count in found), roles=roles)


async def show(request: web.Request) -> web.Response:
    """`GET /banner`."""
    return serve.html(await _page(request))


async def save(request: web.Request) -> web.Response:
    """`POST /banner` with `kind`: sets the text, or shows the form again with what is wrong."""
    values = await serve.form(request)
    kind = _kind(values.get("kind", ""))
    try:
        spec, reason = spec_from(values), values.get("reason", "")
        await serve.write(request, lambda by, now_us: actions.put(kind, spec, by, now_us, reason))
    except Invalid as error:
        return await _again(request, kind, values, error)
    return serve.back(HERE, "banner-saved")


async def preview(request: web.Request) -> web.Response:
    """`POST /banner/preview`: what is typed as people would see it; nothing is saved."""
    values = await serve.form(request)
    kind = _kind(values.get("kind", ""))
    page = await _page(request)
    try:
        spec = spec_from(values)
        actions.refuse_wrong(spec, page.roles)
    except Invalid as error:
        return await _again(request, kind, values, error)
    shown = Banner(spec.severity, spec.title, spec.body)
    return serve.html(_with(page, kind, values, preview=shown))


async def _again(request: web.Request, kind: str, values: Mapping[str, str], error: Invalid) -> web.Response:
    page = await _page(request)
    errors = Fields({name.removesuffix("_us"): text for name, text in error.fields.items()})
    page = replace(page, frame=page.frame.with_problem(str(error)))
    return serve.html(_with(page, kind, values, errors=errors), 422)


def _with(page: AnnouncementsPage, kind: str, values: Mapping[str, str], **more: object) -> AnnouncementsPage:
    forms = [
        replace(form, values=Fields(values), **more) if form.kind == kind else form  # type: ignore[arg-type]  # its own fields
        for form in page.forms
    ]
    return replace(page, forms=tuple(forms))


def _kind(word: str) -> str:
    if word not in KINDS:
        raise Invalid(f"{word or 'Nothing'} is neither banner nor login_message.")
    return word


async def switch(request: web.Request) -> web.Response:
    """`POST /banner/{kind}/on` and `/off`."""
    kind = _kind(request.match_info["kind"].replace("-", "_"))
    on = request.match_info["what"] == "on"
    await serve.write(request, lambda by, now_us: actions.switch(kind, on, by, now_us))
    return serve.back(HERE, "banner-on") if on else serve.back(HERE, "banner-off")


async def show_login_message(request: web.Request) -> web.Response:
    """`GET /login-message?next=`: what is to be dismissed; else on to `next`."""
    going = local_path(request.query.get("next", "/"))
    frame, _ = await serve.load(request, "Message", lambda _: None)
    if frame.login_message is None:
        return serve.back(going)
    message = replace(frame.login_message, next=going)
    return serve.html(LoginMessagePage(replace(frame, login_message=None), message))


async def dismiss(request: web.Request) -> web.Response:
    """`POST /login-message/dismiss`: the text of `version` was read."""
    values = await serve.form(request)
    version = values.get("version", "")
    if not version.isdecimal():
        raise Invalid("The form names no text. Open the page again.")
    await serve.write(request, lambda by, now_us: actions.dismiss(int(version), by, now_us))
    return serve.back(local_path(values.get("next", "/")))


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, save),
    serve.post(HERE + "/preview", preview),
    serve.post(HERE + "/{kind:banner|login-message}/{what:on|off}", switch),
    serve.get("/login-message", show_login_message),
    serve.post("/login-message/dismiss", dismiss),
)
