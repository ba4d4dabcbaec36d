"""System messages (SKY-19): what the program tells people. Permission to acknowledge: messages.acknowledge."""

from __future__ import annotations

from server.actions.change import Change, Transaction, record, require
from server.core.model import Principal
from server.errors import Invalid, NotFound
from server.storage import system_messages

SEVERITIES = ("info", "warning", "error", "alarm")


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


def acknowledge_all(up_to: int, severity: str, by: Principal, now_us: int, reason: str = "") -> Change[int]:
    """Somebody has read all up to the id `up_to`, of a severity or, with "", of all. Returns how many that were."""
    require(by, "messages.acknowledge")
    if severity and severity not in SEVERITIES:
        raise Invalid(f"{severity} is no severity: {', '.join(SEVERITIES)}.", field="severity")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        count = system_messages.acknowledge_all(connection, up_to, severity, by.name, now_us)
        if count:
            which = f"all{' ' + severity if severity else ''} up to {up_to}"
            record(connection, by, now_us, "messages.acknowledge", which, "", f"{count} messages", reason)
        return count

    return change
