"""Notifications: the lists with their receivers, the form that makes or changes one, the mail server, the allowed
hosts, and the log.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import allowed_hosts
from server.actions import notifications as actions
from server.core.egress import AllowedHosts
from server.core.notifications import Delivery, ListSpec, NotificationList, Smtp, TrapReceiver, Webhook
from server.errors import Invalid, UnderstudyError
from server.ports.numbers import is_number
from server.storage import notifications
from server.web.api.notifications import HostsInForce, hosts_in_force
from server.web.frame import Frame
from server.web.pages import serve

HERE = "/notifications"
LOG = 50
EMPTY = {
    "name": "", "description": "", "emails": "", "webhooks": "", "secret": "", "traps": "", "community": "",
    "alarms": "", "changes": "",
}  # fmt: skip
EVERY = HostsInForce((), ())
SMTP = {"host": "", "port": "587", "sender": "", "user": "", "password": "", "security": "starttls"}
SECURITIES = (
    ("starttls", "STARTTLS: encrypted after the greeting"),
    ("tls", "TLS: encrypted from the first byte"),
    ("none", "none: for a mail server on this machine"),
)


@dataclass(frozen=True, slots=True)
class NotificationsPage:
    """`values` as typed, without secrets, `errors` by field; those of the mail server apart."""

    template: ClassVar[str] = "pages/notification_list.html"
    frame: Frame
    lists: tuple[NotificationList, ...]
    log: tuple[Delivery, ...]
    smtp: Smtp | None
    once: str
    """Makes two clicks of *Send a test* one test."""
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    smtp_values: Mapping[str, str] = field(default_factory=lambda: SMTP)
    smtp_errors: Mapping[str, str] = field(default_factory=dict)
    securities: tuple[tuple[str, str], ...] = SECURITIES
    allowed: HostsInForce = EVERY
    hosts: str | None = None
    """As typed; None: those in force."""
    host_errors: Mapping[str, str] = field(default_factory=dict)


def values_of(known: NotificationList | None) -> dict[str, str]:
    """The form's values for a list that exists; what is secret is not among them."""
    if known is None:
        return dict(EMPTY)
    return {
        **EMPTY,
        "name": known.name,
        "description": known.description,
        "emails": "\n".join(known.emails),
        "webhooks": "\n".join(known.webhooks),
        "traps": "\n".join(known.traps),
        "alarms": "1" if known.alarms else "",
        "changes": "1",
    }


def smtp_values_of(known: Smtp | None) -> dict[str, str]:
    """The form's values for the mail server, without its password."""
    if known is None:
        return dict(SMTP)
    fields = {"host": known.host, "sender": known.sender, "user": known.user, "security": known.security}
    return {**SMTP, **fields, "port": str(known.port)}


def spec_from(values: Mapping[str, str]) -> ListSpec:
    """What the form says: one receiver in each line; a secret that is not typed stays as it is."""
    return ListSpec(
        emails=values["emails"].split(),
        webhooks=[Webhook(url=url, secret=values["secret"] or None) for url in values["webhooks"].split()],
        traps=[TrapReceiver(address=text, community=values["community"] or None) for text in values["traps"].split()],
        alarms=values["alarms"] == "1",
        description=values["description"],
    )


def _read(
    connection: sqlite3.Connection,
) -> tuple[list[NotificationList], list[Delivery], Smtp | None, HostsInForce]:
    return (
        notifications.page(connection),
        notifications.log(connection, limit=LOG),
        notifications.smtp(connection),
        hosts_in_force(connection),
    )


async def _page(
    request: web.Request,
    values: Mapping[str, str] | None = None,
    smtp_values: Mapping[str, str] | None = None,
    error: UnderstudyError | None = None,
    hosts: str | None = None,
) -> NotificationsPage:
    frame, (lists, log, smtp, allowed) = await serve.load(request, "Notifications", _read)
    name = request.query.get("name", "")
    known = next((one for one in lists if one.name == name), None)
    problem = {} if error is None else error.fields
    return NotificationsPage(
        frame if error is None else frame.with_problem(str(error)),
        tuple(lists),
        tuple(log),
        smtp,
        secrets.token_hex(8),
        values if values is not None else values_of(known),
        problem if values is not None else {},
        smtp_values if smtp_values is not None else smtp_values_of(smtp),
        problem if smtp_values is not None else {},
        allowed=allowed,
        hosts=hosts,
        host_errors=problem if hosts is not None else {},
    )


async def show(request: web.Request) -> web.Response:
    """`GET /notifications`; with `name=` the form is filled with that list."""
    return serve.html(await _page(request))


async def put(request: web.Request) -> web.Response:
    """`POST /notifications`: makes or changes a list, or shows the form again with what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    seal = serve.site(request).seal.seal
    try:
        spec = spec_from(values)
        await serve.write(request, lambda by, now_us: actions.put_list(values["name"], spec, seal, by, now_us))
    except UnderstudyError as error:
        return await _again(request, error, values={**values, "secret": "", "community": ""})
    return serve.back(HERE, "notification-saved")


async def put_smtp(request: web.Request) -> web.Response:
    """`POST /notifications/smtp`."""
    values = {**SMTP, **await serve.form(request)}
    seal = serve.site(request).seal.seal
    try:
        if not is_number(values["port"]):
            raise Invalid("The mail server is not right.", fields={"port": "must be from 1 to 65535"})
        names = ("host", "sender", "user", "security")
        server = Smtp(port=int(values["port"]), **{name: values[name] for name in names})
        password = values["password"] or None
        await serve.write(request, lambda by, now_us: actions.put_smtp(server, password, seal, by, now_us))
    except UnderstudyError as error:
        return await _again(request, error, smtp_values={**values, "password": ""})
    return serve.back(HERE, "smtp-saved")


async def put_hosts(request: web.Request) -> web.Response:
    """`POST /notifications/hosts`: one in each line."""
    hosts = (await serve.form(request)).get("hosts", "")
    allowed = AllowedHosts(hosts=tuple(hosts.split()))
    try:
        await serve.write(request, lambda by, now_us: allowed_hosts.put(allowed, by, now_us))
    except UnderstudyError as error:
        return await _again(request, error, hosts=hosts)
    return serve.back(HERE, "hosts-saved")


async def _again(
    request: web.Request,
    error: UnderstudyError,
    values: Mapping[str, str] | None = None,
    smtp_values: Mapping[str, str] | None = None,
    hosts: str | None = None,
) -> web.Response:
    if error.status not in (400, 404, 409):
        raise error
    return serve.html(await _page(request, values, smtp_values, error, hosts), 422)


async def send_test(request: web.Request) -> web.Response:
    """`POST /notifications/test`."""
    values = await serve.form(request)
    name, once = values.get("name", ""), values.get("once", "")
    await serve.write(request, lambda by, now_us: actions.send_test(name, once, by, now_us))
    return serve.back(HERE, "notification-test")


async def delete(request: web.Request) -> web.Response:
    """`POST /notifications/delete`."""
    values = await serve.form(request)
    name, reason = values.get("name", ""), values.get("reason", "")
    try:
        await serve.write(request, lambda by, now_us: actions.delete_list(name, by, now_us, reason))
    except UnderstudyError as error:
        return await _again(request, error)
    return serve.back(HERE, "notification-deleted")


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, put),
    serve.post(HERE + "/smtp", put_smtp),
    serve.post(HERE + "/hosts", put_hosts),
    serve.post(HERE + "/test", send_test),
    serve.post(HERE + "/delete", delete),
)
