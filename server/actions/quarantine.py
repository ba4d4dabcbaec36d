"""One bad row stops nothing: what cannot be done is put aside, and the rest goes on. By the program itself.

A defect that rows bring about would be met by every later master too, so it must end no process. What was written of
the row is undone, nobody looks at it any more, and it is listed (`actions.asides`), with an alarm that says what to
type.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from typing import TypeVar

import structlog

from server.actions.change import Change, Transaction
from server.core.asides import WORDS
from server.core.model import Row
from server.storage import asides, system_messages
from server.storage.rows import Unreadable

R = TypeVar("R", bound=Row)
log = structlog.get_logger()

_OF_THE_ROW = (sqlite3.IntegrityError, sqlite3.ProgrammingError, sqlite3.DataError, sqlite3.InterfaceError)


def is_of_the_disk(error: Exception) -> bool:
    """No room, a broken file, no memory: nothing that a row could be blamed for."""
    if isinstance(error, sqlite3.OperationalError) and "malformed JSON" in str(error):
        return False
    is_database = isinstance(error, sqlite3.Error) and not isinstance(error, _OF_THE_ROW)
    return is_database or isinstance(error, MemoryError)


def guarded(
    connection: sqlite3.Connection,
    work: str,
    subject: int | str,
    job_id: int | None,
    now_us: int,
    do: Callable[[], object],
) -> bool:
    """Do one piece of `work` (a key of `core.asides.WORDS`) inside the caller's change; False when it was put aside.

    Raises what the disk is to blame for.
    """
    connection.execute("SAVEPOINT guarded")
    try:
        do()
    except Exception as error:  # whatever it is: it must not stop what else there is to do
        if is_of_the_disk(error):
            raise
        connection.execute("ROLLBACK TO guarded")
        put_aside(connection, work, str(subject), job_id, error, now_us)
        connection.execute("RELEASE guarded")
        return False
    connection.execute("RELEASE guarded")
    asides.clear(connection, work, str(subject))
    return True


def put_aside(
    connection: sqlite3.Connection,
    work: str,
    subject: str,
    job_id: int | None,
    error: Exception | str,
    now_us: int,
    was: str = "",
    what: str = "",
) -> None:
    """Park the subject, list it and raise an alarm; inside the caller's change. `was`, `what`: instead of its own."""
    why = error if isinstance(error, str) else f"{type(error).__name__}: {error}"
    log.error("put aside", work=work, subject=subject, exc_info=error if isinstance(error, Exception) else None)
    before = asides.park(connection, work, subject)
    number = asides.put(connection, work, subject, job_id, was or before, why, now_us)
    said = what or WORDS[work].format(subject, asides.job_name(connection, job_id) or "a job")
    text = (
        f"{said}, because of a defect: {why[:300]}. It is put aside and the rest goes on. Type: "
        f"understudy scheduler aside list, then aside retry {number} or aside dismiss {number}"
    )
    system_messages.insert(connection, "alarm", text, now_us)


def readable(connection: sqlite3.Connection, work: str, page: Sequence[R | Unreadable], now_us: int) -> list[R]:
    """The rows of a page that decode; each other is put aside by its `id`, inside the caller's change."""
    found: list[R] = []
    for one in page:
        if isinstance(one, Unreadable):
            put_aside(connection, work, str(one.row["id"]), one.row.get("job_id"), one.error, now_us)
        else:
            found.append(one)
    return found


def put_unreadable(work: str, subject: int, job_id: int, error: Exception, now_us: int) -> Change[None]:
    """A row that whoever looked at it could not read."""

    def change(transaction: Transaction) -> None:
        put_aside(transaction.connection, work, str(subject), job_id, error, now_us)

    return change


def stick(name: str, error: Exception, now_us: int) -> Change[None]:
    """A whole kind of work of the scheduler fails, and no row can be blamed: it is left alone for a while."""

    def change(transaction: Transaction) -> None:
        put_aside(transaction.connection, "step", name, None, error, now_us)

    return change


def unstick(name: str) -> Change[None]:
    """It works again."""

    def change(transaction: Transaction) -> None:
        asides.clear(transaction.connection, "step", name)

    return change
