"""System messages (SKY-19): what the program tells people. Permission to acknowledge: messages.acknowledge."""

from __future__ import annotations

from server.actions.change import Change, Transaction, record, require
from server.core.model import Principal
from server.errors import NotFound
from server.storage import system_messages


def add(severity: str, text: str, now_us: int) -> Change[int]:
    """Say something: severity is info | warning | alarm. The same open text is not said twice.

    Returns its id.
    """

    def change(transaction: Transaction) -> int:
        return system_messages.insert(transaction.connection, severity, text, now_us)

    return change


def acknowledge(message_id: int, by: Principal, now_us: int) -> Change[None]:
    """Somebody has read it. Again is the same. Raises NotFound."""
    require(by, "messages.acknowledge")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        message = system_messages.get(connection, message_id)
        if message is None:
            raise NotFound(f"There is no message {message_id}. See the list of messages.")
        if message.acknowledged_at_us is None:
            system_messages.acknowledge(connection, message_id, by.name, now_us)
            record(connection, by, now_us, "messages.acknowledge", str(message_id), "", message.text)

    return change
