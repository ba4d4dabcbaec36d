"""Sign-in and sign-out. Permissions: sessions.own for one's own, sessions.manage for everybody's.

The password is checked outside (Argon2id in a thread), from `users.by_name`; then `create` writes the
session.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

from server.actions import roles, second_factor
from server.actions import settings as settings_action
from server.actions.change import Change, Transaction, record, require
from server.actions.second_factor import Proof
from server.core import access
from server.core.maintenance import Phase
from server.core.model import HOUR_US, MINUTE_US, SYSTEM, Principal
from server.core.people import Session
from server.core.sign_in_guard import Failures
from server.errors import Conflict, Forbidden, Unauthenticated, Unavailable
from server.storage import maintenance, sessions, settings, swaps, tenants, users
from server.storage import roles as role_rows


def create(
    name: str,
    password: str,
    token_hash: str,
    by: Principal,
    now_us: int,
    user_agent: str,
    proof: Proof | None = None,
    replaced: str = "",
    way: str = "password",
) -> Change[Session]:
    """Sign in a user whose password was checked against the PHC string `password`, and whose code gave `proof`.

    `by` gives the address. `token_hash` is the SHA-256 (hex) of the cookie, `replaced` that of the session that the
    browser had before: it ends. `way` says for the audit history how it was known who this is. Raises Unauthenticated
    when the account is closed, the password was changed since it was checked, or the code was used; Conflict for a
    non-administrator while a swap runs.
    """

    def change(transaction: Transaction) -> Session:
        connection = transaction.connection
        user = users.by_name(connection, name)
        if user is None or user.disabled_at_us is not None or user.password != password:
            raise Unauthenticated("The name or the password is wrong. Try again.")
        if not tenants.is_open(connection, user.tenant):
            raise Forbidden(f"The tenant {user.tenant} is closed. Ask an administrator of the host.")
        second_factor.spend(connection, user, proof, now_us)
        signed = roles.principal(connection, user, by.address)
        refuse_while_swapping(connection, signed)
        refuse_while_suspended(connection, signed)
        hours = int(settings.get(connection, "session_hours", "12"))
        session = Session(
            token_hash=token_hash,
            user_id=user.id,
            created_at_us=now_us,
            expires_at_us=now_us + hours * HOUR_US,
            address=by.address,
            user_agent=user_agent[:200],
            must_change_password=way == "password" and user.password_given_at_us is not None,
        )
        sessions.insert(connection, session)
        if replaced:
            sessions.end(connection, replaced, now_us)
        record(connection, signed, now_us, "sessions.create", user.name, "", {"factors": _factors(way, proof)})
        return session

    return change


def _factors(way: str, proof: Proof | None) -> list[str]:
    """What was given to sign in, for the audit history."""
    if proof is None or way == "passkey alone":
        return [way]
    if proof.passkey is not None:
        return [way, "passkey"]
    return [way, "recovery code" if proof.code_hash else "code"]


def prove_again(
    token_hash: str, name: str, address: str, now_us: int, password: str = "", proof: Proof | None = None
) -> Change[None]:
    """Note that who has this session has just said again who they are: by the password, which was checked against the
    PHC string `password`, or by a code that gave `proof`. Raises Unauthenticated when any of that is no more so.
    """

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found, user = sessions.signed_in(connection, token_hash, now_us), users.by_name(connection, name)
        if found is None or user is None or found.user_id != user.id:
            raise Unauthenticated("That session is over. Sign in.")
        if proof is None and user.password != password:
            raise Unauthenticated("The password is wrong. Try again.")
        if proof is not None:
            if not second_factor.has_one(connection, user.id):
                raise Unauthenticated(second_factor.WRONG)
            second_factor.spend(connection, user, proof, now_us)
        sessions.note_proved(connection, token_hash, now_us)
        by = Principal(user.name, user.role, address, user.tenant)
        factor = "password" if proof is None else "recovery code" if proof.code_hash else "code"
        record(connection, by, now_us, "sessions.prove_again", user.name, "", {"factors": [factor]})

    return change


def hand_over(token_hash: str, new_hash: str, by: Principal, now_us: int, user_agent: str) -> Change[Session]:
    """End a session and make another of the same user that ends at the same time, for the same browser at this node.

    The caller has checked who vouches for it. So it is good once. Raises Unauthenticated when it is over, Conflict for
    who may not sign in while a swap runs.
    """

    def change(transaction: Transaction) -> Session:
        connection = transaction.connection
        found = sessions.signed_in(connection, token_hash, now_us)
        if found is None:
            raise Unauthenticated("That session is over. Sign in.")
        signed = Principal(found.name, found.role, by.address, found.tenant, roles.granted(connection, found.role))
        refuse_while_swapping(connection, signed)
        refuse_while_suspended(connection, signed)
        sessions.end(connection, token_hash, now_us)
        session = Session(
            token_hash=new_hash,
            user_id=found.user_id,
            created_at_us=now_us,
            expires_at_us=found.expires_at_us,
            address=by.address,
            user_agent=user_agent[:200],
            must_change_password=found.must_change_password,
            proved_at_us=found.proved_at_us,
        )
        sessions.insert(connection, session)
        record(connection, signed, now_us, "sessions.hand_over", found.name)
        return session

    return change


def seen_apart_us(connection: sqlite3.Connection) -> int:
    """A query: how fine the last use of sessions is kept: an eighth of the idle time, at most 10 minutes."""
    return min(10 * MINUTE_US, settings_action.number(connection, "session_idle_minutes") * MINUTE_US // 8)


def is_seen_due(connection: sqlite3.Connection, seen_at_us: Mapping[str, int]) -> bool:
    """A query: would `note_seen` write anything?"""
    apart_us = seen_apart_us(connection)
    for token_hash, at_us in seen_at_us.items():
        found = sessions.get(connection, token_hash)
        if found is not None and (found.seen_at_us or found.created_at_us) <= at_us - apart_us:
            return True
    return False


def note_seen(seen_at_us: Mapping[str, int]) -> Change[int]:
    """Keep when sessions were used last, by the hashes of their tokens; returns how many were written."""

    def change(transaction: Transaction) -> int:
        apart_us = seen_apart_us(transaction.connection)
        return sum(sessions.note_seen(transaction.connection, *seen, apart_us) for seen in seen_at_us.items())

    return change


def refuse_while_swapping(connection: sqlite3.Connection, signed: Principal) -> None:
    """SKY-13: while a swap runs only who may swap signs in. Raises Conflict."""
    if not access.may(signed, "swap.run") and swaps.open_swap(connection) is not None:
        raise Conflict("A role swap is running; only administrators can sign in. Try again in a few minutes.")


def refuse_while_suspended(connection: sqlite3.Connection, signed: Principal) -> None:
    """UIP-3: while it is Suspended administrators sign in, as often as they want, and others are told. 503 for them."""
    session = maintenance.concerning(connection, signed.tenant)
    if session is None or session.phase is not Phase.SUSPENDED or access.may(signed, "maintenance.change"):
        return
    why = f" ({session.reason})" if session.reason else ""
    raise Unavailable(
        f"Maintenance{why}: only administrators can sign in until it ends. Try again later.", retry_after_s=60
    )


def end(token_hash: str, by: Principal, now_us: int) -> Change[bool]:
    """Sign out: one's own session, or anybody's with sessions.manage. False when it was over already."""

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        found = sessions.signed_in(connection, token_hash, now_us)
        if found is None:
            return False
        require(by, "sessions.own" if found.name == by.name else "sessions.manage")
        sessions.end(connection, token_hash, now_us)
        record(connection, by, now_us, "sessions.end", found.name)
        return True

    return change


def end_ordinary(by: Principal, now_us: int, reason: str) -> Change[int]:
    """Sign out everybody who may not swap roles; returns how many (SKY-13)."""
    require(by, "sessions.manage")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        own = [role.name for role in role_rows.every(connection) if "swap.run" in role.permissions]
        ended = sessions.end_ordinary(connection, now_us, [*access.roles_with("swap.run"), *own])
        if ended:
            record(connection, by, now_us, "sessions.end_ordinary", "all but administrators", ended, 0, reason)
        return ended

    return change


def end_all(by: Principal, now_us: int, keep: str = "", reason: str = "") -> Change[int]:
    """Sign out everybody but the session `keep` (the caller's own); returns how many (SKY-13)."""
    require(by, "sessions.manage")

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        ended = sessions.end_all(connection, now_us, keep)
        if ended:
            record(connection, by, now_us, "sessions.end_all", "everybody", ended, 0, reason)
        return ended

    return change


def authenticate(connection: sqlite3.Connection, token_hash: str, now_us: int, address: str) -> Principal | None:
    """A query: whose browser is this? None when the session is over or unknown."""
    found = sessions.signed_in(connection, token_hash, now_us)
    if found is None:
        return None
    if found.must_change_password:
        return Principal(found.name, found.role, address, found.tenant, access.ENROL_ONLY, must_change_password=True)
    if second_factor.is_missing(connection, found.user_id, found.role):
        return Principal(found.name, found.role, address, found.tenant, access.ENROL_ONLY)
    return Principal(found.name, found.role, address, found.tenant, roles.granted(connection, found.role))


def record_failures(found: Mapping[str, Failures], now_us: int) -> Change[int]:
    """Audit failed sign-ins, one line for each account; returns how many lines."""

    def change(transaction: Transaction) -> int:
        for name, failed in found.items():
            what = {"failures": failed.count, "from": failed.addresses, "first_us": failed.first_us}
            record(transaction.connection, SYSTEM, now_us, "sessions.failed", name, "", what)
        return len(found)

    return change


def prune(by: Principal, now_us: int) -> Change[int]:
    """Forget sessions that expired 7 days ago, in a small batch; returns how many."""
    if by.role != "administrator":
        raise Forbidden("Only the program itself forgets old sessions.")

    def change(transaction: Transaction) -> int:
        return sessions.prune(transaction.connection, now_us - 7 * 24 * HOUR_US)

    return change
