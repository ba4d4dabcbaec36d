"""Notification lists, the mail server, and the queue of deliveries."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable

from server.core.model import DAY_US
from server.core.notifications import MAIL, TEXT_MAX, TRAP, WEBHOOK, Delivery, NotificationList, Smtp
from server.storage import rows, tenancy

KEPT_US = 30 * DAY_US
"""For how long the log shows what was sent or given up."""


def get(connection: sqlite3.Connection, name: str) -> NotificationList | None:
    """The list of that name."""
    return rows.first(
        connection, NotificationList, "FROM notification_lists WHERE name = ?", (tenancy.typed(connection, name),)
    )


def page(connection: sqlite3.Connection, after: str = "", limit: int = 1000) -> list[NotificationList]:
    """Lists by name, above `after`."""
    tail = "FROM notification_lists WHERE name > ? ORDER BY name LIMIT ?"
    return rows.every(connection, NotificationList, tail, (after, limit))


def put(connection: sqlite3.Connection, found: NotificationList) -> None:
    """Make a list, or replace the one of that name."""
    names = found.__struct_fields__
    connection.execute("DELETE FROM notification_lists WHERE name = ?", (tenancy.stored(connection, found.name),))
    rows.insert(connection, "notification_lists", {name: getattr(found, name) for name in names})


def delete(connection: sqlite3.Connection, name: str) -> None:
    """Remove a list; what waits for its receivers goes too."""
    name = tenancy.stored(connection, name)
    connection.execute("DELETE FROM notification_lists WHERE name = ?", (name,))
    connection.execute("DELETE FROM notification_deliveries WHERE list = ? AND state = 'waiting'", (name,))


def missing(connection: sqlite3.Connection, names: Iterable[str]) -> list[str]:
    """Those of the names that are no list."""
    return [name for name in dict.fromkeys(names) if get(connection, name) is None]


def jobs_of(connection: sqlite3.Connection, name: str, limit: int = 20) -> list[str]:
    """Names of jobs that name the list."""
    query = (
        "SELECT name FROM jobs j WHERE deleted_at_us IS NULL AND instr(job_monitors, :quoted) AND"
        " (EXISTS (SELECT 1 FROM json_each(j.job_monitors, '$.notify') WHERE value = :name) OR"
        " EXISTS (SELECT 1 FROM json_each(j.job_monitors, '$.notify_failed') WHERE value = :name))"
        " ORDER BY name LIMIT :limit"
    )
    found = connection.execute(query, {"quoted": f'"{name}"', "name": name, "limit": limit})
    return [str(row[0]) for row in found]


def smtp(connection: sqlite3.Connection) -> Smtp | None:
    """The mail server, once somebody named one."""
    return rows.first(connection, Smtp, "FROM smtp")


def put_smtp(connection: sqlite3.Connection, server: Smtp) -> None:
    """Send mail over this server from now on."""
    connection.execute("DELETE FROM smtp")
    rows.insert(connection, "smtp", {name: getattr(server, name) for name in server.__struct_fields__})


def enqueue(
    connection: sqlite3.Connection, names: Iterable[str], what: str, key: str, subject: str, text: str, now_us: int
) -> int:
    """One delivery for each receiver of the lists; returns how many are new. `key` says what it is about, once."""
    added = 0
    for name in dict.fromkeys(names):
        found, stored = get(connection, name), tenancy.stored(connection, name)
        if found is None:
            continue
        receivers = [(MAIL, one) for one in found.emails]
        receivers += [(WEBHOOK, one) for one in found.webhooks]
        receivers += [(TRAP, one) for one in found.traps]
        for kind, address in receivers:
            cursor = connection.execute(
                "INSERT OR IGNORE INTO notification_deliveries"
                " (list, kind, address, what, key, subject, text, created_at_us, next_us)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (stored, kind, address, what, key, subject[:200], text[:TEXT_MAX], now_us, now_us),
            )
            added += cursor.rowcount
    return added


def enqueue_alarm(connection: sqlite3.Connection, message_id: int, text: str, now_us: int) -> None:
    """A system message that is an alarm goes to the lists that want alarms."""
    query = "SELECT name FROM notification_lists WHERE alarms = 1 AND tenant = '' ORDER BY name"
    found = connection.execute(query).fetchall()  # the host's alarms to the host's lists, a tenant's to its own
    names = [str(row[0]) for row in found]
    if names:
        enqueue(connection, names, "alarm", f"message {message_id}", "Understudy: alarm", text, now_us)


def enqueue_over(connection: sqlite3.Connection, message_id: int, text: str, now_us: int) -> None:
    """What an alarm said is over: the lists that were told of it hear so."""
    query = "SELECT DISTINCT list FROM notification_deliveries WHERE what = 'alarm' AND key = ?"
    names = [str(row[0]) for row in connection.execute(query, (f"message {message_id}",))]
    if names:
        enqueue(connection, names, "alarm over", f"message {message_id}", "Understudy: over", text, now_us)


def due(connection: sqlite3.Connection, now_us: int, limit: int) -> list[Delivery]:
    """What is to be sent now, the oldest first."""
    tail = "FROM notification_deliveries WHERE state = 'waiting' AND next_us <= ? ORDER BY next_us, id LIMIT ?"
    return rows.every(connection, Delivery, tail, (now_us, limit))


def next_us(connection: sqlite3.Connection) -> int | None:
    """When the next one is to be sent."""
    row = connection.execute("SELECT min(next_us) FROM notification_deliveries WHERE state = 'waiting'").fetchone()
    return None if row[0] is None else int(row[0])


def delivery(connection: sqlite3.Connection, number: int) -> Delivery | None:
    """One of the queue or the log."""
    return rows.first(connection, Delivery, "FROM notification_deliveries WHERE id = ?", (number,))


def update(connection: sqlite3.Connection, found: Delivery) -> None:
    """Write what became of an attempt."""
    names = ("state", "attempts", "next_us", "error", "ended_at_us")
    values = {name: getattr(found, name) for name in names}
    rows.update(connection, "notification_deliveries", values, {"id": found.id})


def prune(connection: sqlite3.Connection, now_us: int, limit: int = 100) -> None:
    """Forget what ended long ago."""
    query = (
        "DELETE FROM notification_deliveries WHERE id IN"
        " (SELECT id FROM notification_deliveries WHERE ended_at_us < ? ORDER BY ended_at_us LIMIT ?)"
    )
    connection.execute(query, (now_us - KEPT_US, limit))


def log(
    connection: sqlite3.Connection, name: str = "", state: str = "", after: int | None = None, limit: int = 100
) -> list[Delivery]:
    """Deliveries, the newest first, going on below `after`; of one list or state when given."""
    conditions, values = ["id < ?"], [after if after is not None else 2**62]
    filters: list[object] = [*values]
    for column, value in (("list", name), ("state", state)):
        if value:
            conditions.append(f"{column} = ?")
            filters.append(value)
    tail = f"FROM notification_deliveries WHERE {' AND '.join(conditions)} ORDER BY id DESC LIMIT ?"
    return rows.every(connection, Delivery, tail, (*filters, limit))
