"""Passkeys of people. Permission: sessions.own for one's own; `second_factor.reset` takes away those of others.

What a browser sends is checked outside; that no challenge is good twice is decided in the change that uses it.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from server.actions import second_factor
from server.actions.change import Change, Transaction, record, require
from server.actions.users import find
from server.core.model import Principal
from server.core.people import Passkey
from server.errors import Conflict, Invalid, NotFound, Unauthenticated
from server.storage import passkeys, second_factors, sessions

EACH_MAX = 10
NAME_LENGTH_MAX = 60


def register(
    made: Passkey,
    challenge: tuple[str, int],
    code_hashes: Sequence[str],
    by: Principal,
    now_us: int,
    keep: str = "",
    fresh: str = "",
) -> Change[tuple[int, bool]]:
    """Keep a new passkey of `by`; (its id, whether `code_hashes` are the recovery codes now).

    They are when there was no second factor before; then the sessions of `by` end but `keep`, which goes on as `fresh`
    when that is given. `challenge` is the hash of what was signed and when it ends.
    """
    require(by, "sessions.own")
    _check_name(made.name)

    def change(transaction: Transaction) -> tuple[int, bool]:
        connection = transaction.connection
        user = find(connection, by.name)
        if not passkeys.spend(connection, *challenge, now_us):
            raise Unauthenticated("That was used already. Begin again.")
        if len(passkeys.of_user(connection, user.id)) >= EACH_MAX:
            raise Conflict(f"There are {EACH_MAX} passkeys already. Remove one first.")
        if passkeys.by_credential(connection, made.credential) is not None:
            raise Conflict("This passkey is registered already.")
        is_first = not second_factor.has_one(connection, user.id)
        number = passkeys.insert(connection, msgspec.structs.replace(made, user_id=user.id, created_at_us=now_us))
        if is_first:
            second_factors.put_codes(connection, user.id, code_hashes)
            sessions.end_others(connection, user.id, now_us, keep, fresh)
        after = {"name": made.name, "for": made.rp_id, "alone": made.alone}
        record(connection, by, now_us, "passkeys.register", user.name, "", after)
        return number, is_first

    return change


def rename(number: int, name: str, by: Principal, now_us: int) -> Change[None]:
    """Call one's own another name."""
    require(by, "sessions.own")
    _check_name(name)

    def change(transaction: Transaction) -> None:
        known = _own(transaction, number, by)
        passkeys.update(transaction.connection, number, name=name)
        record(transaction.connection, by, now_us, "passkeys.rename", by.name, known.name, name)

    return change


def remove(number: int, by: Principal, now_us: int) -> Change[None]:
    """Forget one's own. With the last second factor the recovery codes go, too."""
    require(by, "sessions.own")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        known = _own(transaction, number, by)
        passkeys.remove(connection, number)
        if not second_factor.has_one(connection, known.user_id):
            second_factors.put_codes(connection, known.user_id, ())
        record(connection, by, now_us, "passkeys.remove", by.name, {"name": known.name, "for": known.rp_id})

    return change


def _own(transaction: Transaction, number: int, by: Principal) -> Passkey:
    known = passkeys.get(transaction.connection, number)
    if known is None or known.user_id != find(transaction.connection, by.name).id:
        raise NotFound(f"You have no passkey {number}. See the list on your page Second Factor.")
    return known


def _check_name(name: str) -> None:
    if not name.strip() or len(name) > NAME_LENGTH_MAX or not name.isprintable():
        raise Invalid(f"A passkey needs a name of 1 to {NAME_LENGTH_MAX} characters.", field="name")
