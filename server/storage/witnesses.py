"""Who has a seat among the witnesses, as rows. The rule of the two sets is in `core.witness_seats`."""

from __future__ import annotations

import sqlite3

from server.core import witness_seats
from server.core.witness_seats import Pending, Seated
from server.storage import migrate, rows, settings

CHANGE = "witness_change"
"""Counts the changes of the set: the drop names the change that it ends."""
SETS_SINCE = 2
"""The schema that brought the former set."""


def seated(connection: sqlite3.Connection) -> list[Seated]:
    """Everybody with a seat in either set, by name, removed agents included.

    Also from the copy of a master of the release before, whose table knows one set only.
    """
    former = "former_witness" if migrate.version(connection) >= SETS_SINCE else "0"
    query = (
        f"SELECT id, name, witness, {former}, removed_at_us FROM agents"
        f" WHERE witness != 0 OR {former} != 0 ORDER BY name, id"
    )
    names = Seated.__struct_fields__
    return [rows.build(Seated, names, tuple(row)) for row in connection.execute(query)]


def number(connection: sqlite3.Connection) -> int:
    """How many changes of the set there were."""
    return int(settings.get(connection, CHANGE, "0"))


def pending(connection: sqlite3.Connection) -> Pending | None:
    """The change whose former set is still on record."""
    return witness_seats.pending(seated(connection), number(connection))
