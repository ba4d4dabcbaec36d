"""People are told of agents that do not answer, and when that is over (SKY-15). By the program itself.

Once for each silence: a row remembers it, so the next master says nothing twice. Agents that fall silent together make
one message, and one notification of each list that wants alarms.
"""

from __future__ import annotations

import sqlite3

from server.actions.change import Change, Transaction
from server.core.silence_notices import BY, NAMED_MAX, TELL_US, closed, told
from server.storage import notifications, silence_notices, system_messages


def has_work(connection: sqlite3.Connection, now_us: int) -> bool:
    """A query: would `look` do something?"""
    return bool(silence_notices.over(connection, 1) or silence_notices.untold(connection, now_us - TELL_US, 1))


def look(now_us: int) -> Change[int]:
    """Close what is over, then tell of what is new; returns how many agents that were."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        over = silence_notices.over(connection)
        for agent_id, _ in over:
            silence_notices.remove(connection, agent_id)
        for message in dict.fromkeys(message for _, message in over):
            if not silence_notices.has(connection, message):
                _close(connection, message, now_us)
        silent = silence_notices.untold(connection, now_us - TELL_US)
        if silent:
            names = [one.name for one in silent[:NAMED_MAX]]
            text = told(names, len(silent), silent[0].silent_since_us)
            message = system_messages.insert(connection, "alarm", text, now_us)
            for one in silent:
                silence_notices.put(connection, one, message)
        return len(over) + len(silent)

    return change


def _close(connection: sqlite3.Connection, message: int, now_us: int) -> None:
    """Nobody has to look at it any more; whoever was alarmed hears that it is over."""
    found = system_messages.get(connection, message)
    if found is None:
        return
    if found.acknowledged_at_us is None:
        system_messages.acknowledge(connection, message, BY, now_us)
    notifications.enqueue_over(connection, message, closed(found.text), now_us)
