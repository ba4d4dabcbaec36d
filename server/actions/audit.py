"""The audit history: every action writes into it; here is what only notes.

Reading needs the permission audit.read.
"""

from __future__ import annotations

from server.actions.change import Change, Transaction, record
from server.core.model import Principal


def note(action: str, object_: str, by: Principal, now_us: int, after: str = "", reason: str = "") -> Change[None]:
    """Record something that was done outside of the rows: a promotion, a leave to write alone, a look by SQL."""

    def change(transaction: Transaction) -> None:
        record(transaction.connection, by, now_us, action, object_, "", after, reason)

    return change
