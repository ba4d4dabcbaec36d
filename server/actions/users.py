"""People, their passwords and API tokens.

Permissions: users.manage; tokens.own for one's own tokens and password.

Passwords arrive as Argon2id PHC strings: hashing takes memory and time and is done in a thread outside of the
writer.
"""

from __future__ import annotations

import re
import sqlite3

from server.actions.change import Change, Transaction, record, require
from server.core import access
from server.core.model import Principal
from server.core.people import ApiToken, User
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import api_tokens, sessions, users

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")


def create(name: str, password: str, role: str, by: Principal, now_us: int) -> Change[int]:
    """Add a user; returns the id. `password` is a PHC string. Raises Invalid, Conflict."""
    require(by, "users.manage")
    _check_name(name)
    _check_role(role)
    _check_phc(password)

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        if users.by_name(connection, name) is not None:
            raise Conflict(f"There is a user {name} already. Choose another name.")
        user_id = users.insert(connection, name, password, role, now_us)
        record(connection, by, now_us, "users.create", name, "", {"role": role})
        return user_id

    return change


def update_role(name: str, role: str, by: Principal, now_us: int) -> Change[None]:
    """Give a user another role. Conflict when it would leave no administrator."""
    require(by, "users.manage")
    _check_role(role)

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, name)
        if user.role == role:
            return
        _keep_an_administrator(connection, user)
        users.update(connection, user.id, role=role)
        record(connection, by, now_us, "users.update_role", name, user.role, role)

    return change


def disable(name: str, by: Principal, now_us: int) -> Change[None]:
    """Close a user's account, end the sessions, revoke the tokens. Conflict for the last administrator."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, name)
        if user.disabled_at_us is not None:
            return
        _keep_an_administrator(connection, user)
        users.update(connection, user.id, disabled_at_us=now_us)
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
            users.update(connection, user.id, disabled_at_us=None)
            record(connection, by, now_us, "users.enable", name)

    return change


def change_password(name: str, password: str, by: Principal, now_us: int, keep: str = "") -> Change[int]:
    """Set a password (PHC string): one's own, or anybody's with users.manage.

    Ends the user's sessions but `keep`.

    Returns how many sessions were ended. The caller has checked the old password of `by`.
    """
    if by.name != name:
        require(by, "users.manage")
    _check_phc(password)

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        user = find(connection, name)
        users.update(connection, user.id, password=password)
        record(connection, by, now_us, "users.change_password", name)
        return sessions.end_of_user(connection, user.id, now_us, keep)

    return change


def create_token(
    user: str, name: str, token_hash: str, expires_at_us: int | None, by: Principal, now_us: int
) -> Change[int]:
    """Add an API token by the SHA-256 (hex) of its secret; returns its id. One's own, or with users.manage."""
    _own(user, by)
    if not name.strip() or len(name) > 100:
        raise Invalid("A token needs a name of 1 to 100 characters.", field="name")
    if expires_at_us is not None and expires_at_us <= now_us:
        raise Invalid("The token would be expired already.", field="expires_at")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        owner = find(connection, user)
        token_id = api_tokens.insert(connection, owner.id, name, token_hash, now_us, expires_at_us)
        record(connection, by, now_us, "users.create_token", f"{user}/{name}")
        return token_id

    return change


def revoke_token(token_id: int, by: Principal, now_us: int) -> Change[None]:
    """Revoke an API token: one's own, or anybody's with users.manage. Again is the same."""

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        token = api_tokens.get(connection, token_id)
        if token is None:
            raise NotFound(f"There is no token {token_id}. See the list of tokens.")
        owner = users.get(connection, token.user_id)
        if owner is None or owner.name != by.name:
            require(by, "users.manage")
        if token.revoked_at_us is None:
            api_tokens.revoke(connection, token_id, now_us)
            record(connection, by, now_us, "users.revoke_token", f"{owner.name if owner else ''}/{token.name}")

    return change


def find(connection: sqlite3.Connection, name: str) -> User:
    """The user of that name; raises NotFound."""
    user = users.by_name(connection, name)
    if user is None:
        raise NotFound(f"There is no user {name}. See the list of users.")
    return user


def authenticate_token(connection: sqlite3.Connection, token_hash: str, now_us: int, address: str) -> Principal | None:
    """A query: who sends this token (SHA-256, hex)? None when unknown, revoked, expired or disabled."""
    found: ApiToken | None = api_tokens.by_hash(connection, token_hash)
    if found is None or found.revoked_at_us is not None:
        return None
    if found.expires_at_us is not None and found.expires_at_us <= now_us:
        return None
    owner = users.get(connection, found.user_id)
    if owner is None or owner.disabled_at_us is not None:
        return None
    return Principal(owner.name, owner.role, address, owner.tenant)


def _own(user: str, by: Principal) -> None:
    require(by, "tokens.own")
    if user != by.name and not access.may(by, "users.manage"):
        raise Forbidden(f"{by.name} may make tokens for {by.name} only. Ask an administrator.")


def _check_name(name: str) -> None:
    if not _NAME.match(name):
        wrong = "must begin with a letter or digit and have up to 64 letters, digits, . _ @ -"
        raise Invalid(f"The user name {wrong}.", field="name")


def _check_role(role: str) -> None:
    if role not in access.ROLES:
        wrong = "must be one of " + ", ".join(access.ROLES)
        raise Invalid(f"The role {wrong}.", field="role")


def _check_phc(password: str) -> None:
    if not password.startswith("$argon2id$"):
        raise Invalid("The password was not hashed with Argon2id.", field="password")


def _keep_an_administrator(connection: sqlite3.Connection, user: User) -> None:
    is_last = user.role == "administrator" and users.active_administrators(connection) == 1
    if is_last and user.disabled_at_us is None:
        raise Conflict(f"{user.name} is the last administrator. Make somebody else administrator first.")
