"""Who somebody is: the password, and the code of a second factor, with the guard before both."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

import msgspec

from replication.errors import ReplicationError
from server.actions import roles, second_factor, settings
from server.actions import users as user_actions
from server.actions.second_factor import WRONG as WRONG_CODE
from server.actions.second_factor import Proof, Sealed
from server.actions.sign_in_ways import UNKNOWN
from server.core.model import MINUTE_US, Principal
from server.core.people import GIVEN_PASSWORD_DAYS, User
from server.core.sign_in_guard import Limits
from server.errors import SecondFactorNeeded, Unauthenticated, UnderstudyError
from server.people.door import too_many
from server.people.second_factor import matching_step, normal_recovery_code
from server.storage import passkeys, second_factors, users
from server.trust.signed_text import opened, sign
from server.trust.tls import secret_hash, unseal

if TYPE_CHECKING:
    from server.site import Site

FAILURE_PAUSE_S = 1.0
"""A refused password, code or token is answered this late: guessing over the network is slow."""
WRONG = "The name or the password is wrong. Try again."
ENDED = (
    f"This password was given to you, and not changed within {GIVEN_PASSWORD_DAYS} days: it is good no more. Ask an"
    " administrator for another."
)
TICKET = "second factor"
TICKET_GOOD_FOR_US = 5 * MINUTE_US


@dataclass(frozen=True, slots=True)
class Checked:
    """Who gave the right password, `password` as it is kept, and the confirmed second factor, if there is one.

    `is_factor_missing`: the role asks for one. Once all is checked the caller makes the guard forget the account.
    `way` says for the audit history how: `password`, or who vouched.
    """

    by: Principal
    password: str
    factor: Sealed | None
    is_factor_missing: bool
    way: str = "password"
    has_passkeys: bool = False
    is_password_given: bool = False
    """Somebody else set it: nothing is done with it but setting another."""

    @property
    def has_factor(self) -> bool:
        """Whether a code or a passkey is asked for."""
        return self.factor is not None or self.has_passkeys


class Ticket(msgspec.Struct, frozen=True):
    """Stands for a password that was right a moment ago. `password` is the SHA-256 (hex) of it as it is kept."""

    user: str
    password: str
    made_at_us: int
    way: str = "password"


@dataclass(frozen=True, slots=True)
class _Account:
    user: User | None
    by: Principal | None
    factor: Sealed | None
    is_factor_missing: bool
    limits: Limits
    has_passkeys: bool = False

    def checked(self, way: str) -> Checked:
        """What is known of somebody who gave the right password, or was vouched for."""
        assert self.user is not None
        assert self.by is not None
        is_given = way == "password" and self.user.password_given_at_us is not None
        known = self.by, self.user.password, self.factor, self.is_factor_missing
        return Checked(*known, way, self.has_passkeys, is_given)


async def check_password(site: Site, name: str, password: str, address: str) -> Checked:
    """Who this is. `address` "" is the local socket, which is never made to wait.

    Raises `Unauthenticated`, a second late, without saying whether name or password was wrong; `TooManyAttempts` at
    once, also for the right password, and for names that there are not just so.
    """
    with _entering(site, name, address):
        account = await _account(site, name, address)
        user = account.user
        stored = user.password if user is not None and user.disabled_at_us is None else None
        is_right = await site.passwords.verify(password, stored, bounded=bool(address))
        if not is_right or account.by is None or stored is None:
            await _refuse(site, name, address, account, WRONG)
        assert user is not None
        if address and user.password_ends_at_us is not None and user.password_ends_at_us <= site.clock.utc_us():
            raise Unauthenticated(ENDED)
        return account.checked("password")


async def check_ticket(site: Site, text: str, address: str) -> Checked:
    """Who this ticket was given to. Raises `Unauthenticated` when it is old, or the password was changed since."""
    ticket = opened(site.seal_key, TICKET, text, Ticket)
    if ticket is None or abs(site.clock.utc_us() - ticket.made_at_us) > TICKET_GOOD_FOR_US:
        raise Unauthenticated("That took too long. Sign in again.")
    account = await _account(site, ticket.user, address)
    user = account.user
    if user is None or account.by is None or user.disabled_at_us or secret_hash(user.password) != ticket.password:
        raise Unauthenticated("That took too long. Sign in again.")
    return account.checked(ticket.way)


async def vouched(site: Site, name: str, address: str, way: str) -> Checked:
    """Who this is by the word of a trusted proxy or provider, named in `way`. Nothing was guessed, so nothing waits;
    a lock of the account holds. Raises `Unauthenticated` when there is no open account of that name.
    """
    account = await _account(site, name, address)
    user = account.user
    if user is None or account.by is None or user.disabled_at_us is not None:
        site.door.failures.add(name if user is not None else None, address, site.clock.utc_us())
        raise Unauthenticated(UNKNOWN)
    return account.checked(way)


async def check_code(site: Site, checked: Checked, code: str, address: str) -> Proof | None:
    """What the code proves; None for who needs none. The change that signs in uses it up.

    Raises `SecondFactorNeeded` with a ticket when there is no code, `Unauthenticated` a second late for a wrong one.
    """
    if not checked.has_factor:
        return None
    name = checked.by.name
    if not code.strip():
        ticket = Ticket(name, secret_hash(checked.password), site.clock.utc_us(), checked.way)
        text = "Type the six digits that your authenticator app shows, or a recovery code."
        raise SecondFactorNeeded(text, ticket=sign(site.seal_key, TICKET, ticket))
    return await prove(site, name, checked.factor, code, address)


async def prove(site: Site, name: str, factor: Sealed | None, code: str, address: str) -> Proof:
    """What the code proves. Guarded like a password; raises `Unauthenticated` a second late for a wrong one.

    Without a `factor` there are passkeys alone, and a code is a recovery code.
    """
    with _entering(site, name, address):
        found = proof_of(site, factor, code)
        if found is None:
            await _refuse(site, name, address, await _account(site, name, address), WRONG_CODE)
        return found


async def refused(site: Site, name: str, address: str, text: str) -> NoReturn:
    """Count a failure at the account, whatever was wrong, and raise `Unauthenticated` a second late."""
    with _entering(site, name, address):
        await _refuse(site, name, address, await _account(site, name, address), text)


def proof_of(site: Site, factor: Sealed | None, code: str) -> Proof | None:
    """What a code proves, or None for a wrong one; that it was not used before the change says."""
    recovery = normal_recovery_code(code)
    if recovery and (factor is None or factor.factor.confirmed_at_us is not None):
        return Proof(code_hash=secret_hash(recovery))
    if factor is None:
        return None
    name = second_factors.sealed_name(factor.user.id)
    secret = unseal(site.seal_key, name, factor.nonce, factor.ciphertext)
    step = matching_step(secret, code, site.clock.utc_us())
    return Proof(step=step) if step is not None and step > factor.factor.last_step else None


def _entering(site: Site, name: str, address: str) -> contextlib.AbstractContextManager[None]:
    return site.door.entering(name, address, site.clock.monotonic()) if address else contextlib.nullcontext()


async def _account(site: Site, name: str, address: str) -> _Account:
    """Look the account up; a lock of it raises before anything is checked."""
    account = await site.read_now(lambda connection: _read(connection, name, address))
    locked_us = (account.user.locked_until_us or 0) - site.clock.utc_us() if account.user is not None else 0
    if address and locked_us > 0:
        raise too_many(locked_us / 1e6)
    return account


def _read(connection: sqlite3.Connection, name: str, address: str) -> _Account:
    number = settings.number
    limits = Limits(number(connection, "sign_in_failures_max"), number(connection, "lockout_minutes") * 60.0)
    user = users.by_name(connection, name)
    if user is None:
        return _Account(None, None, None, False, limits)
    factor = second_factor.of_user(connection, name)
    if factor is not None and factor.factor.confirmed_at_us is None:
        factor = None
    is_missing = second_factor.is_missing(connection, user.id, user.role)
    has_passkeys = bool(passkeys.of_user(connection, user.id))
    return _Account(user, roles.principal(connection, user, address), factor, is_missing, limits, has_passkeys)


async def _refuse(site: Site, name: str, address: str, account: _Account, text: str) -> NoReturn:
    if address:
        await _note_failure(site, name, address, account)
    await asyncio.sleep(FAILURE_PAUSE_S)
    raise Unauthenticated(text)


async def _note_failure(site: Site, name: str, address: str, account: _Account) -> None:
    now_us, limits = site.clock.utc_us(), account.limits
    site.door.failures.add(name if account.user is not None else None, address, now_us)
    if not site.door.guard.failed(name, address, site.clock.monotonic(), limits) or account.user is None:
        return
    change = user_actions.lock(name, now_us + int(limits.lock_s * 1e6), limits.failures_max, address, now_us)
    with contextlib.suppress(UnderstudyError, ReplicationError):
        await site.store().write_ungated(change)
