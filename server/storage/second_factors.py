"""Second factors, recovery codes, and the roles that must have one. The secret itself is a row of `sealed`."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.core.people import SecondFactor
from server.storage import rows


def sealed_name(user_id: int) -> str:
    """The row of `sealed` with the secret of a user."""
    return f"totp/{user_id}"


def get(connection: sqlite3.Connection, user_id: int) -> SecondFactor | None:
    """The second factor of a user, confirmed or only begun."""
    return rows.first(connection, SecondFactor, "FROM second_factors WHERE user_id = ?", (user_id,))


def begin(connection: sqlite3.Connection, user_id: int, now_us: int) -> None:
    """Begin one, in place of one that was begun before."""
    connection.execute(
        "INSERT INTO second_factors (user_id, created_at_us) VALUES (?, ?) ON CONFLICT (user_id) DO UPDATE"
        " SET created_at_us = excluded.created_at_us, confirmed_at_us = NULL, last_step = 0",
        (user_id, now_us),
    )


def confirm(connection: sqlite3.Connection, user_id: int, step: int, code_hashes: Sequence[str], now_us: int) -> None:
    """It is asked for from now on; the recovery codes are these."""
    rows.update(connection, "second_factors", {"confirmed_at_us": now_us, "last_step": step}, {"user_id": user_id})
    put_codes(connection, user_id, code_hashes)


def spend_step(connection: sqlite3.Connection, user_id: int, step: int) -> bool:
    """Remember that the code of this step was used; False when it, or a newer one, was before."""
    query = "UPDATE second_factors SET last_step = :step WHERE user_id = :user AND last_step < :step"
    return connection.execute(query, {"step": step, "user": user_id}).rowcount == 1


def spend_code(connection: sqlite3.Connection, user_id: int, code_hash: str, now_us: int) -> bool:
    """Use a recovery code up; False when there is none, or it was used."""
    query = "UPDATE recovery_codes SET used_at_us = ? WHERE user_id = ? AND code_hash = ? AND used_at_us IS NULL"
    return connection.execute(query, (now_us, user_id, code_hash)).rowcount == 1


def codes_left(connection: sqlite3.Connection, user_id: int) -> int:
    """Recovery codes that are good yet."""
    query = "SELECT count(*) FROM recovery_codes WHERE user_id = ? AND used_at_us IS NULL"
    return rows.number(connection, query, (user_id,))


def put_codes(connection: sqlite3.Connection, user_id: int, code_hashes: Sequence[str]) -> None:
    """The recovery codes are these from now on."""
    connection.execute("DELETE FROM recovery_codes WHERE user_id = ?", (user_id,))
    codes = [(user_id, one) for one in code_hashes]
    connection.executemany("INSERT INTO recovery_codes (user_id, code_hash) VALUES (?, ?)", codes)


def remove(connection: sqlite3.Connection, user_id: int, keep_codes: bool = False) -> bool:
    """Forget it with its codes, unless they are to stay; False when there was none."""
    if not keep_codes:
        put_codes(connection, user_id, ())
    return connection.execute("DELETE FROM second_factors WHERE user_id = ?", (user_id,)).rowcount == 1


def is_required(connection: sqlite3.Connection, role: str) -> bool:
    """Whether who has the role must have one."""
    return rows.number(connection, "SELECT second_factor FROM role_rules WHERE role = ?", (role,)) == 1


def require(connection: sqlite3.Connection, role: str, required: bool) -> None:
    """Set whether who has the role must have one."""
    connection.execute(
        "INSERT INTO role_rules (role, second_factor) VALUES (?, ?)"
        " ON CONFLICT (role) DO UPDATE SET second_factor = excluded.second_factor",
        (role, int(required)),
    )
