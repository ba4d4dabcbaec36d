"""Which hosts this server may talk to (docs/notifications.md). Permission: settings.change.

What names a receiver asks `refuse_others`; what sends asks the same rule again, of the address that is dialled.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

from server.actions.change import Change, Transaction, record, require
from server.core.egress import AllowedHosts
from server.core.model import Principal
from server.core.notifications import NotificationList, split_address
from server.errors import Invalid
from server.storage import allowed_hosts, notifications, sign_in_ways

LISTS_MAX = 1000


def put(allowed: AllowedHosts, by: Principal, now_us: int, reason: str = "") -> Change[AllowedHosts]:
    """Let this server talk to these hosts alone; to whomever lists name when there is none. Invalid names the field.

    Receivers that there are stay, and are sent nothing: `shut_out` names them.
    """
    require(by, "settings.change")
    allowed = AllowedHosts(hosts=tuple(dict.fromkeys(text.strip().lower() for text in allowed.hosts if text.strip())))
    if wrong := allowed.wrong():
        raise Invalid(f"{wrong['hosts']}. Correct it and try again.", fields=wrong)

    def change(transaction: Transaction) -> AllowedHosts:
        connection = transaction.connection
        before = allowed_hosts.get(connection)
        if before != allowed:
            allowed_hosts.put(connection, allowed)
            record(connection, by, now_us, "allowed_hosts.put", "allowed hosts", before, allowed, reason)
        return allowed

    return change


def refuse_others(connection: sqlite3.Connection, named: Mapping[str, Iterable[str]]) -> None:
    """Raise Invalid when a host, by field of what names it, is not allowed."""
    allowed = allowed_hosts.get(connection)
    wrong = {field: why for field, hosts in named.items() for host in hosts if (why := allowed.why_not_named(host))}
    if wrong:
        raise Invalid("; ".join(wrong.values()) + ".", fields=wrong)


def hosts_of(webhooks: Iterable[str], traps: Iterable[str]) -> dict[str, list[str]]:
    """The hosts that a list names, by field. Mail goes to the mail server, whatever its address."""
    places = [place for text in traps if (place := split_address(text))]
    return {"webhooks": [urlsplit(url).hostname or "" for url in webhooks], "traps": [host for host, _ in places]}


def shut_out(connection: sqlite3.Connection) -> tuple[str, ...]:
    """A query: what is set and not allowed, as far as its names say; it is not talked to."""
    allowed, found = allowed_hosts.get(connection), []
    for one in notifications.page(connection, limit=LISTS_MAX):
        found += [f"list {one.name}: {host}" for host in _hosts(one) if allowed.why_not_named(host)]
    smtp, provider = notifications.smtp(connection), sign_in_ways.provider(connection)
    if smtp is not None and allowed.why_not_named(smtp.host):
        found.append(f"the mail server: {smtp.host}")
    issuer = urlsplit(provider.issuer).hostname or ""
    if issuer and allowed.why_not_named(issuer):
        found.append(f"the OpenID provider: {issuer}")
    return tuple(found)


def _hosts(one: NotificationList) -> list[str]:
    return [host for hosts in hosts_of(one.webhooks, one.traps).values() for host in hosts]
