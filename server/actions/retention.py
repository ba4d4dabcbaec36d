"""What is kept for how long (SKY-19): entries of the audit history, and system messages that somebody acknowledged.

By the scheduler, in small batches. A message that nobody acknowledged is never removed; of the audit history the newest
entry stays, and its chain of hashes goes on from the last that was removed (`core.audit_chain`).
"""

from __future__ import annotations

import sqlite3

from server.actions.change import Change, Transaction
from server.actions.settings import number
from server.core.model import DAY_US
from server.storage import audit, system_messages


def has_work(connection: sqlite3.Connection, now_us: int) -> bool:
    """A query: is something to be removed that is a day older than it must be? So it is done once a day."""
    audit_us, messages_us = _limits(connection, now_us - DAY_US)
    return audit.oldest_us(connection) < audit_us or system_messages.oldest_read_us(connection) < messages_us


def prune(now_us: int) -> Change[int]:
    """Remove a small batch of each; returns how many. Entries whose chain is broken are named in an alarm first."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        audit_us, messages_us = _limits(connection, now_us)
        walk = audit.prune(connection, audit_us, now_us)
        if walk.problems:
            text = "The audit history was changed: " + " ".join(problem.text for problem in walk.problems)
            system_messages.insert(connection, "alarm", text, now_us)
        return walk.entries + system_messages.prune(connection, messages_us)

    return change


def _limits(connection: sqlite3.Connection, now_us: int) -> tuple[int, int]:
    audit_days, message_days = (number(connection, name) for name in ("audit_days", "message_days"))
    return now_us - audit_days * DAY_US, now_us - message_days * DAY_US
