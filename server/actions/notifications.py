"""Notification lists and the mail server. Permission: settings.change; a test message: jobs.change.

What is secret is sealed before it is in a row; nobody is told it again, the audit history neither.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from server.actions.allowed_hosts import hosts_of, refuse_others
from server.actions.change import Change, Transaction, record, require
from server.core.model import HOUR_US, Principal
from server.core.notifications import (
    SMTP_PLACE,
    TRAP,
    WEBHOOK,
    Delivery,
    ListSpec,
    NotificationList,
    Smtp,
    after_failure,
    place_of,
    wrong_list,
    wrong_smtp,
)
from server.errors import Conflict, Invalid, NotFound
from server.storage import notifications, sealed, settings, system_messages, tenancy

Seal = Callable[[str, str], tuple[bytes, bytes]]
"""(name of the row, value) to (nonce, ciphertext)."""
GIVE_UP_HOURS = 24


class Result(msgspec.Struct, frozen=True):
    """What became of one attempt: `error` "" when the receiver has taken it."""

    delivery: int
    error: str = ""


def put_list(name: str, spec: ListSpec, seal: Seal, by: Principal, now_us: int) -> Change[NotificationList]:
    """Make a list, or give the one of that name these receivers. Raises Invalid naming the fields."""
    require(by, "notifications.change")
    _refuse(wrong_list(name, spec))

    def change(transaction: Transaction) -> NotificationList:
        connection = transaction.connection
        refuse_others(connection, hosts_of([hook.url for hook in spec.webhooks], [trap.address for trap in spec.traps]))
        before = notifications.get(connection, name)
        found = NotificationList(
            name=name,
            emails=spec.emails,
            webhooks=[hook.url for hook in spec.webhooks],
            traps=[trap.address for trap in spec.traps],
            alarms=spec.alarms,
            description=spec.description,
            updated_at_us=now_us,
            updated_by=by.name,
        )
        stored = tenancy.stored(connection, name)
        secrets = {place_of(stored, WEBHOOK, hook.url): hook.secret for hook in spec.webhooks}
        secrets |= {place_of(stored, TRAP, trap.address): trap.community for trap in spec.traps}
        for place, secret in secrets.items():
            if secret is None and sealed.get(connection, place) is None:
                if f"/{WEBHOOK}/" in place:
                    _refuse({"webhooks": "a new address needs a secret: what is sent is signed with it"})
                _refuse({"traps": "a new receiver needs a community of its own: by it, it knows who sends"})
            if secret is not None:
                sealed.put(connection, place, *seal(place, secret))
        for place in _places(stored, before):
            if place not in secrets:
                sealed.remove(connection, place)
        notifications.put(connection, found)
        record(connection, by, now_us, "notifications.put_list", name, before or "", found)
        return found

    return change


def delete_list(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Delete a list with what waits for it; Conflict while a job names it."""
    require(by, "notifications.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        before = find(connection, name)
        named_by = notifications.jobs_of(connection, name)
        if named_by:
            raise Conflict(f"{name} is named by {', '.join(named_by)}. Take it out of these jobs first.")
        for place in _places(tenancy.stored(connection, name), before):
            sealed.remove(connection, place)
        notifications.delete(connection, name)
        record(connection, by, now_us, "notifications.delete_list", name, before, "", reason)

    return change


def send_test(name: str, request_id: str, by: Principal, now_us: int) -> Change[int]:
    """Send a test message to every receiver of a list; returns how many. `request_id` twice is one test."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        find(connection, name)
        text = f"{by.name} asked for this test of the notification list {name}. Nothing has happened."
        sent = notifications.enqueue(
            connection, [name], "test", f"test {request_id}", f"Understudy: test of {name}", text, now_us
        )
        record(connection, by, now_us, "notifications.send_test", name, "", sent)
        return sent

    return change


def put_smtp(server: Smtp, password: str | None, seal: Seal, by: Principal, now_us: int) -> Change[Smtp]:
    """Send mail over this server. Without `password` the one that it has stays, unless the user is another.

    Raises Invalid naming the fields.
    """
    require(by, "settings.change")
    _refuse(wrong_smtp(server))

    def change(transaction: Transaction) -> Smtp:
        connection = transaction.connection
        refuse_others(connection, {"host": [server.host]})
        before = notifications.smtp(connection)
        keeps = before is not None and (before.user, before.host) == (server.user, server.host)
        if server.user and password is None and not (keeps and sealed.get(connection, SMTP_PLACE)):
            _refuse({"password": "is missing: this user at this server needs one"})
        if not server.user:
            sealed.remove(connection, SMTP_PLACE)
        elif password is not None:
            sealed.put(connection, SMTP_PLACE, *seal(SMTP_PLACE, password))
        notifications.put_smtp(connection, server)
        record(connection, by, now_us, "notifications.put_smtp", server.host, before or "", server)
        return server

    return change


def settle(results: Sequence[Result], now_us: int) -> Change[int]:
    """Write what became of attempts; returns how many were given up. By the program itself: for the notifier."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        hours = int(settings.get(connection, "notification_hours", str(GIVE_UP_HOURS)))
        given_up = 0
        for result in results:
            known = notifications.delivery(connection, result.delivery)
            if known is None or known.state != "waiting":
                continue
            if result.error:
                after = after_failure(known, result.error, now_us, hours * HOUR_US)
            else:
                values = {"state": "sent", "attempts": known.attempts + 1, "error": "", "ended_at_us": now_us}
                after = msgspec.structs.replace(known, **values)
            notifications.update(connection, after)
            if after.state == "given up":
                given_up += 1
                _say_given_up(connection, after, hours, now_us)
        notifications.prune(connection, now_us)
        return given_up

    return change


def find(connection: sqlite3.Connection, name: str) -> NotificationList:
    """The list of that name; raises NotFound."""
    found = notifications.get(connection, name)
    if found is None:
        raise NotFound(f"There is no notification list {name}. See `understudy notification list`.")
    return found


def _say_given_up(connection: sqlite3.Connection, delivery: Delivery, hours: int, now_us: int) -> None:
    """A warning, not an alarm: nobody is to be told by what does not work."""
    text = (
        f"The {delivery.kind} to {delivery.address} of the list {delivery.list} was given up after {hours} h and "
        f"{delivery.attempts} attempts: {delivery.error}"
    )
    system_messages.insert(connection, "warning", text, now_us)


def _places(stored: str, found: NotificationList | None) -> list[str]:
    if found is None:
        return []
    hooks = [place_of(stored, WEBHOOK, url) for url in found.webhooks]
    return hooks + [place_of(stored, TRAP, address) for address in found.traps]


def _refuse(wrong: dict[str, str]) -> None:
    if wrong:
        said = "; ".join(f"{name} {text}" for name, text in wrong.items())
        raise Invalid(f"It is not right: {said}. Correct it and try again.", fields=wrong)
