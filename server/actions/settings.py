"""Settings that both nodes share. Permission: settings.change."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from server.actions.change import Change, Transaction, record, require
from server.core.model import Principal
from server.core.people import SESSION_IDLE_MINUTES
from server.core.request_quota import PER_MINUTE
from server.errors import Invalid, NotFound
from server.storage import settings


@dataclass(frozen=True, slots=True)
class Known:
    """A setting people may change: whole numbers from `least` to `most`."""

    default: int
    least: int
    most: int
    sentence: str


KNOWN = {
    "order_validity_days": Known(7, 1, 31, "Days for which agents hold standing orders in advance."),
    "session_hours": Known(12, 1, 720, "Hours after which a browser must sign in again."),
    "session_idle_minutes": Known(
        SESSION_IDLE_MINUTES, 5, 43200, "Minutes without a request after which a browser must sign in again."
    ),
    "sign_in_failures_max": Known(10, 3, 100, "Failed sign-ins in a row after which an account is locked for a while."),
    "lockout_minutes": Known(15, 1, 1440, "Minutes for which an account stays locked."),
    "swap_reminder_days": Known(60, 1, 366, "Days after which Home reminds of the next role swap."),
    "notification_hours": Known(24, 1, 720, "Hours after which a notification that cannot be delivered is given up."),
    "audit_days": Known(3650, 30, 36500, "Days for which the audit history is kept."),
    "message_days": Known(365, 1, 36500, "Days for which system messages are kept once somebody acknowledged them."),
    "requests_per_minute": Known(
        PER_MINUTE, 600, 10_000_000, "Requests in a minute that one API token or one session may send."
    ),
    "join_token_hours": Known(24, 1, 720, "Hours for which a join token can be used."),
}


def number(connection: sqlite3.Connection, name: str) -> int:
    """A query: the value in force."""
    return int(settings.get(connection, name, str(KNOWN[name].default)))


def put(name: str, value: str, by: Principal, now_us: int) -> Change[str]:
    """Change a setting; returns the value before.

    Raises NotFound for an unknown name, Invalid for a bad value.
    """
    require(by, "settings.change")
    known = KNOWN.get(name)
    if known is None:
        raise NotFound(f"There is no setting {name}. See the list of settings.")
    if not value.isdecimal() or not known.least <= int(value) <= known.most:
        wrong = f"must be a whole number from {known.least} to {known.most}"
        raise Invalid(f"{name} {wrong}. Correct it and try again.", field=name)

    def change(transaction: Transaction) -> str:
        connection = transaction.connection
        before = settings.get(connection, name, str(known.default))
        if before != value:
            settings.put(connection, name, value)
            record(connection, by, now_us, "settings.put", name, before, value)
        return before

    return change
