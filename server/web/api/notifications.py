"""Notification lists, the mail server, allowed hosts, and what was sent to whom. Secrets are taken and never given."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import allowed_hosts, notifications
from server.core.egress import AllowedHosts
from server.core.notifications import Delivery, ListSpec, NotificationList, Smtp
from server.errors import Invalid
from server.ports.numbers import NUMBER_MAX
from server.storage import allowed_hosts as allowed_host_rows
from server.storage import notifications as rows
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape


class SmtpChange(msgspec.Struct, frozen=True, kw_only=True):
    """The mail server; without `password` the one that it has stays."""

    host: str
    sender: str
    port: int = 587
    user: str = ""
    security: str = "starttls"
    password: str | None = None


class Sent(msgspec.Struct, frozen=True):
    """How many receivers get a test message; the log says what became of each."""

    deliveries: int


class HostsInForce(msgspec.Struct, frozen=True):
    """Whom this server may talk to; `shut_out` names what is set and not allowed: it is told nothing."""

    hosts: tuple[str, ...]
    shut_out: tuple[str, ...]


async def list_lists(call: Call) -> list[NotificationList]:
    """Notification lists by name."""
    after, limit = call.query("after"), call.limit()
    return await call.read(lambda connection: rows.page(connection, after, limit))


async def show_list(call: Call) -> NotificationList:
    """One list."""
    name = call.path("name")
    return await call.read(lambda connection: notifications.find(connection, name))


async def put_list(call: Call) -> Answer:
    """Make or change a list."""
    body: ListSpec = call.body
    change = notifications.put_list(call.path("name"), body, call.site.seal.seal, call.by, call.now_us)
    return await call.write(change, is_secret=True)


async def delete_list(call: Call) -> Answer:
    """Delete a list; refused while a job names it."""
    name = call.path("name")
    change = notifications.delete_list(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def test_list(call: Call) -> Answer:
    """Send a test message to every receiver of a list."""
    change = notifications.send_test(call.path("name"), call.key, call.by, call.now_us)
    return await call.write(change, Sent, 202)


async def list_deliveries(call: Call) -> list[Delivery]:
    """What was sent, waits or was given up, the newest first, going on below id `after`."""
    after, limit = call.query_number("after", NUMBER_MAX, 0, NUMBER_MAX), call.limit()
    name, state = call.query("list"), call.query("state")
    return await call.read(lambda connection: rows.log(connection, name, state, after, limit))


async def show_smtp(call: Call) -> Smtp | None:
    """The mail server, null when nobody named one."""
    return await call.read(rows.smtp)


async def show_hosts(call: Call) -> HostsInForce:
    """The allowed hosts; none: whomever lists, the mail server and the provider name."""
    return await call.read(hosts_in_force)


def hosts_in_force(connection: sqlite3.Connection) -> HostsInForce:
    """A query: the allowed hosts with what they shut out."""
    return HostsInForce(allowed_host_rows.get(connection).hosts, allowed_hosts.shut_out(connection))


async def put_hosts(call: Call) -> Answer:
    """Let this server talk to these hosts alone, for webhooks, traps, mail and OpenID; to any when there is none."""
    return await call.write(allowed_hosts.put(call.body, call.by, call.now_us, call.query("reason")))


async def put_smtp(call: Call) -> Answer:
    """Send mail over another server."""
    body: SmtpChange = call.body
    if body.password is not None and not 0 < len(body.password) <= 500:
        raise Invalid("The password must have 1 to 500 characters.", field="password")
    server = Smtp(host=body.host, port=body.port, sender=body.sender, user=body.user, security=body.security)
    change = notifications.put_smtp(server, body.password, call.site.seal.seal, call.by, call.now_us)
    return await call.write(change, is_secret=True)


_LISTS = "/api/v1/notification-lists"
ENDPOINTS = (
    Endpoint("GET", _LISTS, list_lists, "Notification lists", answer=list[NotificationList], query=("after", "limit")),
    Endpoint("GET", _LISTS + "/{name}", show_list, "One notification list", answer=NotificationList),
    Endpoint(
        "PUT",
        _LISTS + "/{name}",
        put_list,
        "Make or change a notification list",
        body=ListSpec,
        answer=NotificationList,
    ),
    Endpoint(
        "DELETE",
        _LISTS + "/{name}",
        delete_list,
        "Delete a notification list",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
    Endpoint("POST", _LISTS + "/{name}/test", test_list, "Send a test message", answer=Sent, status=202),
    Endpoint(
        "GET",
        "/api/v1/notifications",
        list_deliveries,
        "What was sent to whom",
        answer=list[Delivery],
        query=("list", "state", AFTER, "limit"),
    ),
    Endpoint("GET", "/api/v1/smtp", show_smtp, "The mail server", answer=Smtp | None),
    Endpoint("PUT", "/api/v1/smtp", put_smtp, "Send mail over another server", body=SmtpChange, answer=Smtp),
    Endpoint("GET", "/api/v1/allowed-hosts", show_hosts, "Hosts that this server may talk to", answer=HostsInForce),
    Endpoint(
        "PUT",
        "/api/v1/allowed-hosts",
        put_hosts,
        "Let this server talk to some hosts alone",
        body=AllowedHosts,
        answer=AllowedHosts,
        query=("reason",),
    ),
)
