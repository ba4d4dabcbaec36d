"""Accounts that a provider names. Permission: sessions.own to link one's own; users.manage to unlink anybody's.

An account is linked by issuer and subject: never by a name or a mail, which a provider may give to somebody else.
"""

from __future__ import annotations

import re
import sqlite3

import msgspec

from server.actions import roles
from server.actions.change import Change, Transaction, record, require
from server.actions.users import find
from server.core.model import SYSTEM, Principal
from server.core.people import LinkedAccount, User
from server.core.sign_in_ways import NO_PASSWORD
from server.errors import Conflict, Unauthenticated
from server.storage import linked_accounts, passkeys, users

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
USED = "That sign-in was used already. Begin again."
NOT_LINKED = "The provider knows you, but no account here is linked with it. Sign in"
HOW = " with name and password and link it on Second Factor, or ask an administrator."


class Person(msgspec.Struct, frozen=True):
    """Whom a provider names, as its checked token says it. `makes`: an account may be made, as `name`.

    `role` "": the token gives none; `has_roles`: whether the provider says roles at all. `state` (hash, end) is spent.
    """

    issuer: str
    subject: str
    state: tuple[str, int]
    name: str = ""
    role: str = ""
    makes: bool = False
    has_roles: bool = False


def enter(person: Person, address: str, now_us: int) -> Change[str]:
    """The name of the account that a provider's person has here; made, and given its role, where that is set."""

    def change(transaction: Transaction) -> str:
        connection = transaction.connection
        if not passkeys.spend(connection, *person.state, now_us):
            raise Unauthenticated(USED)
        by = Principal(SYSTEM.name, SYSTEM.role, address)
        linked = linked_accounts.get(connection, person.issuer, person.subject)
        if linked is None:
            return _make(connection, person, by, now_us)
        user = users.get(connection, linked.user_id)
        assert user is not None, "a row of linked_accounts names a user"
        if linked.made and person.has_roles:
            _give_role(connection, user, person.role, by, now_us)
        return user.name

    return change


def link(person: Person, by: Principal, now_us: int) -> Change[None]:
    """Link one's own account; Conflict when the person is linked with another."""
    require(by, "sessions.own")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, by.name)
        if not passkeys.spend(connection, *person.state, now_us):
            raise Unauthenticated(USED)
        known = linked_accounts.get(connection, person.issuer, person.subject)
        if known is not None and known.user_id != user.id:
            raise Conflict("That account of the provider is linked with somebody else here.")
        if known is None:
            _insert(connection, person, user.id, False, now_us)
            record(connection, by, now_us, "linked_accounts.link", user.name, "", _said(person))

    return change


def unlink(name: str, by: Principal, now_us: int) -> Change[int]:
    """Forget whom a provider names as this user; returns how many were linked."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        user = find(connection, name)
        roles.check_within(connection, user.role, user.tenant, by)
        gone = linked_accounts.remove_of_user(connection, user.id)
        if gone:
            record(connection, by, now_us, "linked_accounts.unlink", user.name, gone)
        return gone

    return change


def _make(connection: sqlite3.Connection, person: Person, by: Principal, now_us: int) -> str:
    if not person.makes:
        raise Unauthenticated(NOT_LINKED + HOW)
    if not _NAME.match(person.name):
        raise Unauthenticated("The provider gives you no name that can be used here. Ask an administrator.")
    if users.by_name(connection, person.name) is not None:
        raise Unauthenticated(f"There is an account {person.name} here that is not linked with you. Sign in{HOW}")
    if not person.role:
        raise Unauthenticated(NO_ROLE)
    roles.check_exists(connection, person.role)
    user_id = users.insert(connection, person.name, NO_PASSWORD, person.role, now_us)
    _insert(connection, person, user_id, True, now_us)
    after = {"role": person.role, **_said(person)}
    record(connection, by, now_us, "linked_accounts.make", person.name, "", after)
    return person.name


NO_ROLE = "The provider gives you no role here. Ask an administrator."


def _give_role(connection: sqlite3.Connection, user: User, role: str, by: Principal, now_us: int) -> None:
    if not role:
        raise Unauthenticated(NO_ROLE)
    if role != user.role:
        roles.check_exists(connection, role)
        users.update(connection, user.id, role=role)
        roles.keep_a_manager(connection)
        record(connection, by, now_us, "linked_accounts.give_role", user.name, user.role, role)


def _insert(connection: sqlite3.Connection, person: Person, user_id: int, made: bool, now_us: int) -> None:
    linked_accounts.insert(
        connection,
        LinkedAccount(issuer=person.issuer, subject=person.subject, user_id=user_id, made=made, created_at_us=now_us),
    )


def _said(person: Person) -> dict[str, str]:
    return {"issuer": person.issuer, "subject": person.subject}
