"""The banner and the login message. Permission: messages.change; to dismiss the latter, sessions.own.

`kind` is one of `core.announcements.KINDS`. Neither touches the other, nor maintenance (CRY-6).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Collection

import msgspec

from server.actions.change import Change, Transaction, record, require
from server.core.access import ROLES
from server.core.announcements import LOGIN_MESSAGE, WORDS, Announcement, AnnouncementSpec, next_version
from server.core.model import Principal
from server.errors import Conflict, Invalid, NotFound
from server.storage import announcements, roles, users


def show(connection: sqlite3.Connection, kind: str, by: Principal) -> Announcement:
    """A query: the row, whether it is on or not, for those who may change it."""
    require(by, "messages.change")
    return announcements.get(connection, kind)


def put(kind: str, spec: AnnouncementSpec, by: Principal, now_us: int, reason: str = "") -> Change[Announcement]:
    """Set the text and what goes with it; whether it is switched on stays. Again is the same. Raises Invalid.

    Another title or body is another text: a login message is then shown again to who had dismissed it.
    """
    require(by, "messages.change")

    def change(transaction: Transaction) -> Announcement:
        connection = transaction.connection
        refuse_wrong(spec, role_names(connection))
        before = announcements.get(connection, kind)
        values = msgspec.structs.asdict(spec) | {"version": next_version(before, spec)}
        after = msgspec.structs.replace(before, **values)
        if after != before:
            after = msgspec.structs.replace(after, changed_by=by.name, changed_at_us=now_us)
            announcements.put(connection, after)
            record(connection, by, now_us, "messages.put", WORDS[kind], _said(before), _said(after), reason)
        return after

    return change


def role_names(connection: sqlite3.Connection) -> tuple[str, ...]:
    """The roles that an audience may name: the built-in ones and those of this cluster."""
    return (*ROLES, *(role.name for role in roles.every(connection)))


def refuse_wrong(spec: AnnouncementSpec, known: Collection[str]) -> None:
    """Raise Invalid with what is wrong, by field; `known` are the roles that there are."""
    wrong = spec.wrong(known)
    if wrong:
        raise Invalid(" ".join(wrong.values()), fields=wrong)


def switch(kind: str, on: bool, by: Principal, now_us: int, reason: str = "") -> Change[bool]:
    """Switch it on or off; False when it was so already. Raises Conflict for one that was never set."""
    require(by, "messages.change")

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        before = announcements.get(connection, kind)
        if on and not before.version:
            raise Conflict(f"There is no {WORDS[kind]} yet. Give it a title first.")
        if before.is_on == on:
            return False
        announcements.put(
            connection, msgspec.structs.replace(before, is_on=on, changed_by=by.name, changed_at_us=now_us)
        )
        words = ("on", "off") if on else ("off", "on")
        record(
            connection, by, now_us, f"messages.{words[0]}", WORDS[kind], words[1], before.title if on else "", reason
        )
        return True

    return change


def dismiss(version: int, by: Principal, now_us: int) -> Change[bool]:
    """`by` has read the login message of `version`; False when that was known. Raises NotFound for who is no user.

    Of an older text than the present one it is kept as that: the present one is still to be read.
    """
    require(by, "sessions.own")

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        user, message = users.by_name(connection, by.name), announcements.get(connection, LOGIN_MESSAGE)
        if user is None:
            raise NotFound("Only a user has login messages; on the local socket there is nothing to dismiss.")
        read = min(version, message.version)
        if read < 1 or not announcements.dismiss(connection, user.id, read, now_us):
            return False
        record(connection, by, now_us, "messages.dismiss", WORDS[LOGIN_MESSAGE], "", f"text {read}")
        return True

    return change


def _said(announcement: Announcement) -> dict[str, object] | str:
    if not announcement.version:
        return ""
    fields = AnnouncementSpec.__struct_fields__
    return {"version": announcement.version} | {name: getattr(announcement, name) for name in fields}
