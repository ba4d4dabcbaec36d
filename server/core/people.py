"""People as rows: who may sign in, who is signed in, and the tokens of programs."""

from __future__ import annotations

from server.core.model import Row


class User(Row, frozen=True, kw_only=True):
    id: int
    name: str
    password: str
    role: str
    created_at_us: int
    disabled_at_us: int | None = None
    tenant: str = ""


class Session(Row, frozen=True, kw_only=True):
    token_hash: str
    user_id: int
    created_at_us: int
    expires_at_us: int
    address: str
    user_agent: str
    ended_at_us: int | None = None


class ApiToken(Row, frozen=True, kw_only=True):
    id: int
    user_id: int
    name: str
    token_hash: str
    created_at_us: int
    expires_at_us: int | None = None
    revoked_at_us: int | None = None
