"""API tokens: made, used, warned about, revoked.

Permissions: tokens.own for one's own; users.manage for those of others.

A token may what its scope says and what its owner may at the time of use, never more.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from datetime import UTC, datetime

import msgspec

from server.actions import roles
from server.actions.change import Change, Transaction, record, require
from server.actions.users import find
from server.core import access
from server.core.model import DAY_US, HOUR_US, Principal
from server.errors import Forbidden, Invalid, NotFound
from server.storage import api_tokens, system_messages, tenants, users

WARNED_BEFORE_US = 14 * DAY_US
USE_NOTED_US = HOUR_US
"""The last use is kept to the hour: a request writes nothing."""


class Bearer(msgspec.Struct, frozen=True):
    """Who sent a token, and which one."""

    principal: Principal
    token_id: int


def create(
    user: str, name: str, token_hash: str, expires_at_us: int | None, by: Principal, now_us: int, scope: str = ""
) -> Change[int]:
    """Add an API token by the SHA-256 (hex) of its secret; returns its id.

    `scope` is words of `core.access.scope_of`, "" for all that the owner may. Raises Invalid; Forbidden when the token
    could do more than `by`.
    """
    _own(user, by)
    if not name.strip() or len(name) > 100:
        raise Invalid("A token needs a name of 1 to 100 characters.", field="name")
    if expires_at_us is not None and expires_at_us <= now_us:
        raise Invalid("The token would be expired already.", field="expires_at")
    _check_scope(scope)

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        owner = find(connection, user)
        whole = roles.principal(connection, owner, "")
        lacking = sorted(access.permissions_of(scoped(whole, scope)) - access.permissions_of(by))
        if lacking:
            raise Forbidden(
                f"{by.name} lacks {', '.join(lacking)}, and nobody gives more than they have. Name a scope."
            )
        token_id = api_tokens.insert(connection, owner.id, name, token_hash, now_us, expires_at_us, scope)
        record(connection, by, now_us, "users.create_token", f"{user}/{name}", "", scope)
        return token_id

    return change


def revoke(token_id: int, by: Principal, now_us: int) -> Change[None]:
    """Revoke an API token: one's own, or anybody's with users.manage. Again is the same."""

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        token = api_tokens.get(connection, token_id)
        if token is None:
            raise NotFound(f"There is no token {token_id}. See the list of tokens.")
        owner = users.get(connection, token.user_id)
        require(by, "tokens.own" if owner is not None and owner.name == by.name else "users.manage")
        if token.revoked_at_us is None:
            api_tokens.revoke(connection, token_id, now_us)
            record(connection, by, now_us, "users.revoke_token", f"{owner.name if owner else ''}/{token.name}")

    return change


def authenticate(connection: sqlite3.Connection, token_hash: str, now_us: int, address: str) -> Bearer | None:
    """A query: who sends this token (SHA-256, hex)? None when unknown, revoked, expired or the owner's is closed."""
    found = api_tokens.by_hash(connection, token_hash)
    if found is None or found.revoked_at_us is not None:
        return None
    if found.expires_at_us is not None and found.expires_at_us <= now_us:
        return None
    owner = users.get(connection, found.user_id)
    if owner is None or owner.disabled_at_us is not None or not tenants.is_open(connection, owner.tenant):
        return None
    return Bearer(scoped(roles.principal(connection, owner, address), found.scope), found.id)


def scoped(whole: Principal, scope: str) -> Principal:
    """The same person with no more than the scope allows."""
    if not scope:
        return whole
    return msgspec.structs.replace(whole, granted=access.permissions_of(whole) & access.scope_of(scope))


def note_uses(used_at_us: Mapping[int, int]) -> Change[int]:
    """Keep when tokens were used last, where what is kept is older than an hour; returns how many were written."""

    def change(transaction: Transaction) -> int:
        return sum(api_tokens.note_use(transaction.connection, *use, USE_NOTED_US) for use in used_at_us.items())

    return change


def is_use_due(connection: sqlite3.Connection, used_at_us: Mapping[int, int]) -> bool:
    """A query: would `note_uses` write anything?"""
    found = (api_tokens.get(connection, token_id) for token_id in used_at_us)
    return any(one is not None and (one.last_used_at_us or 0) <= used_at_us[one.id] - USE_NOTED_US for one in found)


def is_warning_due(connection: sqlite3.Connection, now_us: int) -> bool:
    """A query: is there a token to be warned about?"""
    return bool(api_tokens.expiring(connection, now_us + WARNED_BEFORE_US, limit=1))


def warn_expiring(now_us: int) -> Change[int]:
    """Say once of each token that ends within 14 days that it does, 100 at a time; returns how many."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        found = api_tokens.expiring(connection, now_us + WARNED_BEFORE_US)
        for token, owner in found:
            api_tokens.warned(connection, token.id, now_us)
            day = datetime.fromtimestamp((token.expires_at_us or 0) / 1e6, UTC).strftime("%Y-%m-%d")
            text = (
                f"The API token {token.name} of {owner} ends on {day}. "
                f"Make another: understudy user token create {owner}"
            )
            if (token.expires_at_us or 0) > now_us:
                system_messages.insert(connection, "warning", text, now_us)
        return len(found)

    return change


def _own(user: str, by: Principal) -> None:
    require(by, "tokens.own")
    if user != by.name and not access.may(by, "users.manage"):
        raise Forbidden(f"{by.name} may make tokens for {by.name} only. Ask an administrator.")


def _check_scope(scope: str) -> None:
    if not scope:
        return
    try:
        access.scope_of(scope)
    except ValueError as error:
        wrong = f"There is no permission {error}" if str(error) else "A scope names at least one permission"
        raise Invalid(f"{wrong}. See: understudy role list", field="scope") from None
