"""People and their passwords. Permission: users.manage; nothing for one's own password.

Nobody gives a role that may more than they may themselves, nor changes the account of somebody who may more.

Passwords arrive as Argon2id PHC strings: hashing takes memory and time and is done in a thread outside of the
writer.
"""

from __future__ import annotations

import re
import sqlite3

from server.actions import roles
from server.actions.change import Change, Transaction, record, require
from server.core.model import SYSTEM, Principal
from server.core.people import User
from server.errors import Conflict, Invalid, NotFound
from server.storage import api_tokens, sessions, system_messages, tenancy, users

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
NOT_OF_PEOPLE = frozenset({"local", SYSTEM.name})
"""Who comes by the local socket, and the program itself: what they did is told apart from what people did."""


def create(name: str, password: str, role: str, by: Principal, now_us: int) -> Change[int]:
    """Add a user; returns the id. `password` is a PHC string; unless the program itself adds the user it is given: they
    have to set one of their own within `GIVEN_PASSWORD_DAYS`. Raises Invalid, Conflict.
    """
    require(by, "users.manage")
    _check_name(name)
    _check_phc(password)

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        roles.check_exists(connection, role)
        roles.check_within(connection, role, tenancy.tenant_of(connection), by)
        stored = tenancy.stored(connection, name)
        if users.by_name(connection, stored) is not None:
            raise Conflict(f"There is a user {stored} already. Choose another name.")
        user_id = users.insert(connection, stored, password, role, now_us, _given_at_us("", by, now_us))
        record(connection, by, now_us, "users.create", stored, "", {"role": role})
        return user_id

    return change


def update_role(name: str, role: str, by: Principal, now_us: int) -> Change[None]:
    """Give a user another role. Conflict when nobody could manage users then."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, name)
        roles.check_exists(connection, role)
        if user.role == role:
            return
        roles.check_within(connection, role, user.tenant, by)
        roles.check_within(connection, user.role, user.tenant, by)
        users.update(connection, user.id, role=role)
        roles.keep_a_manager(connection)
        record(connection, by, now_us, "users.update_role", name, user.role, role)

    return change


def disable(name: str, by: Principal, now_us: int) -> Change[None]:
    """Close a user's account, end the sessions, revoke the tokens. Conflict when nobody could manage users then."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, name)
        if user.disabled_at_us is not None:
            return
        roles.check_within(connection, user.role, user.tenant, by)
        users.update(connection, user.id, disabled_at_us=now_us)
        roles.keep_a_manager(connection)
        sessions.end_of_user(connection, user.id, now_us)
        api_tokens.revoke_of_user(connection, user.id, now_us)
        record(connection, by, now_us, "users.disable", name)

    return change


def enable(name: str, by: Principal, now_us: int) -> Change[None]:
    """Open a closed account again; tokens and sessions stay gone."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, name)
        if user.disabled_at_us is not None:
            roles.check_within(connection, user.role, user.tenant, by)
            users.update(connection, user.id, disabled_at_us=None)
            record(connection, by, now_us, "users.enable", name)

    return change


def change_password(
    name: str, password: str, by: Principal, now_us: int, keep: str = "", fresh: str = ""
) -> Change[int]:
    """Set a password (PHC string): one's own, or anybody's with users.manage.

    Ends the user's sessions but `keep`, the asker's; that of who changes the own goes on as `fresh` when it is given.
    One that somebody else sets is given, as in `create`.

    Returns how many sessions were ended. The caller has checked the old password of `by`.
    """
    if by.name != name:
        require(by, "users.manage")
    _check_phc(password)

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        user = find(connection, name)
        if by.name != name:
            roles.check_within(connection, user.role, user.tenant, by)
        given_at_us = _given_at_us(name, by, now_us)
        users.update(connection, user.id, password=password, password_given_at_us=given_at_us)
        if given_at_us is None and keep:
            sessions.note_own_password(connection, keep)
        record(connection, by, now_us, "users.change_password", name)
        return sessions.end_others(connection, user.id, now_us, keep, fresh)

    return change


def lock(name: str, until_us: int, failures: int, address: str, now_us: int) -> Change[None]:
    """Nobody signs in as `name` until then: too many attempts failed. The program itself does it."""

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = users.by_name(connection, name)
        if user is None or (user.locked_until_us or 0) >= until_us:
            return
        users.update(connection, user.id, locked_until_us=until_us)
        record(connection, SYSTEM, now_us, "users.lock", name, "", {"failures": failures, "from": address})
        text = f"The account {name} is locked for a while: {failures} sign-ins failed. understudy user unlock {name}"
        system_messages.insert(connection, "warning", text, now_us)

    return change


def unlock(name: str, by: Principal, now_us: int) -> Change[None]:
    """Let a locked account sign in again. Again is the same. The caller makes the node's guard forget it, too."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, name)
        if user.locked_until_us is not None:
            users.update(connection, user.id, locked_until_us=None)
            record(connection, by, now_us, "users.unlock", name)

    return change


def find(connection: sqlite3.Connection, name: str) -> User:
    """The user of that name; raises NotFound."""
    user = users.by_name(connection, tenancy.stored(connection, name))
    if user is None:
        raise NotFound(f"There is no user {name}. See the list of users.")
    return user


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        wrong = "must begin with a letter or digit and have up to 64 letters, digits, . _ @ -"
        raise Invalid(f"The user name {wrong}.", field="name")
    if name in NOT_OF_PEOPLE:
        raise Invalid(f"{name} is the program's own name in the audit history. Choose another.", field="name")


def _given_at_us(name: str, by: Principal, now_us: int) -> int | None:
    """When a password was given that `by` sets for the user `name`; None for one's own, and what the program sets."""
    return None if by.name in (name, SYSTEM.name) else now_us


def _check_phc(password: str) -> None:
    if not password.startswith("$argon2id$"):
        raise Invalid("The password was not hashed with Argon2id.", field="password")
