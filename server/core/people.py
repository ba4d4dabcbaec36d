"""People as rows: who may sign in, who is signed in, and the tokens of programs."""

from __future__ import annotations

from typing import ClassVar

from server.core.model import DAY_US, Row

GIVEN_PASSWORD_DAYS = 7
"""So long a password is good that an administrator gave: its first use is to set one of one's own."""


class User(Row, frozen=True, kw_only=True):
    """`password_given_at_us`: when an administrator gave the password; None: it is their own, or there is none."""

    id: int
    name: str
    password: str
    role: str
    created_at_us: int
    disabled_at_us: int | None = None
    tenant: str = ""
    locked_until_us: int | None = None
    password_given_at_us: int | None = None

    @property
    def password_ends_at_us(self) -> int | None:
        """When a password that was given is good no more; None for one's own."""
        given = self.password_given_at_us
        return None if given is None else given + GIVEN_PASSWORD_DAYS * DAY_US


class Session(Row, frozen=True, kw_only=True):
    token_hash: str
    user_id: int
    created_at_us: int
    expires_at_us: int
    address: str
    user_agent: str
    ended_at_us: int | None = None
    seen_at_us: int | None = None
    must_change_password: bool = False
    proved_at_us: int | None = None


SESSION_IDLE_MINUTES = 240
"""After so long without a request a session is over, unless the setting `session_idle_minutes` says otherwise."""


class ApiToken(Row, frozen=True, kw_only=True):
    id: int
    user_id: int
    name: str
    token_hash: str
    created_at_us: int
    expires_at_us: int | None = None
    revoked_at_us: int | None = None
    scope: str = ""
    last_used_at_us: int | None = None
    warned_at_us: int | None = None


class SecondFactor(Row, frozen=True, kw_only=True):
    """Asked for at sign-in once it is confirmed. Codes up to `last_step` are used up."""

    user_id: int
    created_at_us: int
    confirmed_at_us: int | None = None
    last_step: int = 0


class Passkey(Row, frozen=True, kw_only=True):
    """A key in somebody's device, of which the public half is here. `credential` is its id (base64url).

    `rp_id` is the name of this server that it is good for; `alone`: it signs in without a password.
    """

    id: int
    user_id: int
    credential: str
    public_key: bytes
    name: str
    rp_id: str
    sign_count: int
    alone: bool
    created_at_us: int
    last_used_at_us: int | None = None


class LinkedAccount(Row, frozen=True, kw_only=True):
    """Whom a provider names: `subject` is what it calls the person. `made`: the account was made for it."""

    issuer: str
    subject: str
    user_id: int
    made: bool
    created_at_us: int


class OwnRole(Row, frozen=True, kw_only=True):
    """A role that the cluster made itself: a name for permissions of `core.access`."""

    JSON: ClassVar[frozenset[str]] = frozenset({"permissions"})

    name: str
    permissions: tuple[str, ...]
    description: str = ""
    created_at_us: int
    created_by: str
