"""The second factor of people. Permission: sessions.own for one's own; users.manage to reset that of others.

Codes are checked outside (the secret is sealed, the clock is the caller's); that none is good twice is decided here, in
the change that uses it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from server.actions import roles
from server.actions.change import Change, Transaction, record, require
from server.actions.users import find
from server.core.model import Principal
from server.core.people import SecondFactor, User
from server.errors import Conflict, NotFound, Unauthenticated
from server.storage import passkeys, sealed, second_factors, sessions, users

WRONG = "The code is wrong or was used already. Wait for the next one and try again."
NO_PASSKEY = "This passkey is not known here any more. Use another way to sign in."
COPIED = "This passkey counted backwards: there may be a copy of it. Sign in another way, remove it and make a new one."


class Asserted(msgspec.Struct, frozen=True):
    """What a passkey signed: `sign_count` is what its device counts, `challenge_hash` what may not be used again."""

    credential: str
    sign_count: int
    challenge_hash: str
    expires_at_us: int


class Proof(msgspec.Struct, frozen=True):
    """What was checked: the step of time of a code, the SHA-256 (hex) of a recovery code, or what a passkey signed."""

    step: int = 0
    code_hash: str = ""
    passkey: Asserted | None = None


class Sealed(msgspec.Struct, frozen=True):
    """The second factor of a user with the sealed secret."""

    user: User
    factor: SecondFactor
    nonce: bytes
    ciphertext: bytes


def begin(secret: tuple[bytes, bytes], by: Principal, now_us: int) -> Change[None]:
    """Keep a new sealed secret of `by` that is not asked for before `confirm`. Conflict when there is one already."""
    require(by, "sessions.own")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, by.name)
        known = second_factors.get(connection, user.id)
        if known is not None and known.confirmed_at_us is not None:
            raise Conflict("There is a second factor already. Remove it first, then set up another.")
        second_factors.begin(connection, user.id, now_us)
        sealed.put(connection, second_factors.sealed_name(user.id), *secret)
        record(connection, by, now_us, "second_factor.begin", user.name)

    return change


def confirm(
    begun_at_us: int,
    step: int,
    code_hashes: Sequence[str],
    by: Principal,
    now_us: int,
    keep: str = "",
    fresh: str = "",
) -> Change[None]:
    """The program shows the right codes: ask for one from now on.

    Ends the sessions of `by` but `keep`, which goes on as `fresh` when that is given: both are hashes of tokens.
    `begun_at_us` is that of the secret against which the code was checked; Conflict when another was begun since.
    """
    require(by, "sessions.own")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, by.name)
        known = second_factors.get(connection, user.id)
        if known is None or known.confirmed_at_us is not None or known.created_at_us != begun_at_us:
            raise Conflict("There is nothing to confirm. Set the second factor up anew.")
        second_factors.confirm(connection, user.id, step, code_hashes, now_us)
        sessions.end_others(connection, user.id, now_us, keep, fresh)
        record(connection, by, now_us, "second_factor.confirm", user.name)

    return change


def remove(proof: Proof, by: Principal, now_us: int) -> Change[None]:
    """Take one's own away, with a code of it."""
    require(by, "sessions.own")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        user = find(connection, by.name)
        spend(connection, user, proof, now_us)
        sealed.remove(connection, second_factors.sealed_name(user.id))
        second_factors.remove(connection, user.id, keep_codes=bool(passkeys.of_user(connection, user.id)))
        record(connection, by, now_us, "second_factor.remove", user.name)

    return change


def reset(name: str, by: Principal, now_us: int) -> Change[bool]:
    """Take away that of somebody who lost it; False when there was none. Ends that user's sessions."""
    require(by, "users.manage")

    def change(transaction: Transaction) -> bool:
        connection = transaction.connection
        user = find(connection, name)
        roles.check_within(connection, user.role, user.tenant, by)
        if not _forget(connection, user):
            return False
        sessions.end_of_user(connection, user.id, now_us)
        record(connection, by, now_us, "second_factor.reset", name)
        return True

    return change


def require_of_role(role: str, required: bool, by: Principal, now_us: int) -> Change[None]:
    """Who has the role must have a second factor: without one, all they may do is to set it up."""
    roles.require_host(by)

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        roles.check_exists(connection, role)
        roles.check_within(connection, role, "", by)
        if second_factors.is_required(connection, role) != required:
            second_factors.require(connection, role, required)
            record(connection, by, now_us, "second_factor.require_of_role", role, not required, required)

    return change


def spend(connection: sqlite3.Connection, user: User, proof: Proof | None, now_us: int) -> None:
    """Part of a change: use a checked code up. Raises Unauthenticated without one, or when it was used before.

    Nothing is asked of who has no second factor.
    """
    if not has_one(connection, user.id):
        return
    if proof is None:
        raise Unauthenticated(WRONG)
    if proof.passkey is not None:
        _spend_passkey(connection, user, proof.passkey, now_us)
        return
    is_new = (
        second_factors.spend_code(connection, user.id, proof.code_hash, now_us)
        if proof.code_hash
        else second_factors.spend_step(connection, user.id, proof.step)
    )
    if not is_new:
        raise Unauthenticated(WRONG)


def spending(proof: Proof, by: Principal, now_us: int) -> Change[None]:
    """`spend` as a change of its own, to go before one that `by` proved with a code. Writes no entry: that one does."""

    def change(transaction: Transaction) -> None:
        spend(transaction.connection, find(transaction.connection, by.name), proof, now_us)

    return change


def is_missing(connection: sqlite3.Connection, user_id: int, role: str) -> bool:
    """A query: must this user set one up before anything else?"""
    if not second_factors.is_required(connection, role):
        return False
    return not has_one(connection, user_id)


def has_one(connection: sqlite3.Connection, user_id: int) -> bool:
    """A query: is this user asked for a code or a passkey?"""
    known = second_factors.get(connection, user_id)
    return (known is not None and known.confirmed_at_us is not None) or bool(passkeys.of_user(connection, user_id))


def _spend_passkey(connection: sqlite3.Connection, user: User, asserted: Asserted, now_us: int) -> None:
    known = passkeys.by_credential(connection, asserted.credential)
    if known is None or known.user_id != user.id:
        raise Unauthenticated(NO_PASSKEY)
    if not passkeys.spend(connection, asserted.challenge_hash, asserted.expires_at_us, now_us):
        raise Unauthenticated("That was used already. Begin again.")
    if (known.sign_count or asserted.sign_count) and asserted.sign_count <= known.sign_count:
        raise Unauthenticated(COPIED)
    passkeys.update(connection, known.id, sign_count=asserted.sign_count, last_used_at_us=now_us)


def of_user(connection: sqlite3.Connection, name: str) -> Sealed | None:
    """A query: the second factor of a user, confirmed or begun."""
    user = users.by_name(connection, name)
    known = second_factors.get(connection, user.id) if user is not None else None
    if user is None or known is None:
        return None
    secret = sealed.get(connection, second_factors.sealed_name(user.id))
    if secret is None:
        raise NotFound(f"The secret of {name} is not there. Reset it: understudy user reset-second-factor {name}")
    return Sealed(user, known, *secret)


def _forget(connection: sqlite3.Connection, user: User) -> bool:
    sealed.remove(connection, second_factors.sealed_name(user.id))
    gone = passkeys.remove_of_user(connection, user.id)
    return second_factors.remove(connection, user.id) or gone > 0
