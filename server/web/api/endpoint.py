"""One line for each operation of the API, and the adapter that makes a handler of it: who, what, once,
answered.

A handler takes a `Call` and returns what is to be sent as JSON. A write goes through `Call.write`, which
keeps the answer under its Idempotency-Key in the same transaction: sent twice, it is done once and answered
twice.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec
from aiohttp import web

from server.actions import outcomes
from server.actions.change import for_tenant
from server.core.model import Principal
from server.errors import Invalid
from server.ports.numbers import NUMBER_MAX, is_number
from server.site import CONFIRMED, IDEMPOTENCY_KEY, SEQUENCE, Site, site_of
from server.web.csrf import SAFE_METHODS
from server.web.session import new_token, principal, require_principal

T = TypeVar("T")
KEY_HEADER = "Idempotency-Key"
KEY_LENGTH_MAX = 200
LIMIT_DEFAULT = 100
LIMIT_MAX = 1000
NOBODY = Principal("", "")


@dataclass(frozen=True, slots=True)
class Number:
    """A whole number behind the question mark, as the description says it; the handler checks the bounds again."""

    name: str
    low: int = 0
    high: int = NUMBER_MAX


def number(name: str) -> Number:
    """A parameter of that name."""
    return Number(name)


AFTER = Number("after")
"""The key of the last row that one has, in lists that go by numbers."""


@dataclass(frozen=True, slots=True)
class Shape:
    """An answer that is an object with these fields and no others: name to type."""

    fields: Mapping[str, Any]


def shape(**fields: Any) -> Shape:
    """The object that a handler writes out by hand."""
    return Shape(fields)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a handler may return instead of the bare value: another status, or headers."""

    value: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Call:
    """One request, read and checked. `by` is NOBODY on public endpoints without sign-in. `key` is "" for safe
    methods."""

    request: web.Request
    site: Site
    by: Principal
    now_us: int
    body: Any
    raw: bytes
    key: str

    def path(self, name: str) -> str:
        """A part of the path."""
        return self.request.match_info[name]

    def number(self, name: str) -> int:
        """A part of the path that is a number."""
        text = self.path(name)
        if not is_number(text):
            raise Invalid(f"{text!r} is not a whole number up to {NUMBER_MAX}.")
        return int(text)

    def query(self, name: str, default: str = "") -> str:
        """A parameter behind the question mark."""
        return self.request.query.get(name, default)

    def limit(self) -> int:
        """How many rows are asked for: `limit`, 1 to 1000."""
        return self.query_number("limit", LIMIT_DEFAULT, 1, LIMIT_MAX)

    def query_number(self, name: str, default: int, low: int, high: int) -> int:
        """A whole number behind the question mark, within bounds."""
        text = self.query(name)
        if not text:
            return default
        if not is_number(text) or not low <= int(text) <= high:
            raise Invalid(f"{name} must be a whole number from {low} to {high}", field=name)
        return int(text)

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """Run a query on committed rows and remember the sequence for the answer's header."""
        value, sequence, confirmed = await self.site.read(query, self.by.tenant)
        self.request[SEQUENCE], self.request[CONFIRMED] = sequence, confirmed
        return value

    async def write(
        self,
        change: Callable[[Any], T],
        render: Callable[[T], Any] = lambda value: value,
        status: int = 200,
        secret: Callable[[Any], Mapping[str, Any]] | None = None,
        is_secret: bool = False,
    ) -> Answer:
        """Do a change once and answer when it is durable. `render` makes the JSON answer that is kept with
        the key.

        `secret` makes of the kept answer what is added to the one sent and never stored; with `Site.derive_secret` a
        repetition gets the same. `is_secret`: the body holds one, so the hash that is kept of it needs the cluster's
        key: nobody finds a short secret by trying.
        """
        request_hash = self.request_hash()
        if is_secret:
            request_hash = self.site.derive_secret("request", self.by.name, request_hash)
        made = for_tenant(self.by.tenant, lambda transaction: render(change(transaction)))
        once = outcomes.once(self.key, self.by, request_hash, status, made, lambda value: value, self.now_us)
        (kept_status, kept), sequence = await self.site.store().write(once, self.key)
        self.request[SEQUENCE] = sequence
        value = msgspec.json.decode(kept)
        if secret is not None and isinstance(value, dict):
            value |= secret(value)
        return Answer(value, kept_status, {KEY_HEADER: self.key})

    def request_hash(self) -> str:
        """SHA-256 of method, path and body: what the same key must come with again."""
        return hashlib.sha256(f"{self.request.method} {self.request.path_qs}\n".encode() + self.raw).hexdigest()


Handle = Callable[[Call], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`body` and `answer` are types for msgspec and for OpenAPI. `public` needs no sign-in; `query` are parameters.

    `media`: what the answer is, when it is no JSON; `unwell`: 503 answers in the same way, and is no error.
    """

    method: str
    path: str
    handle: Handle
    summary: str
    body: Any = None
    answer: Any = None
    status: int = 200
    public: bool = False
    query: tuple[str | Number, ...] = ()
    media: str = "application/json"
    unwell: bool = False

    def handler(self) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        """The aiohttp handler of this endpoint."""

        async def handler(request: web.Request) -> web.StreamResponse:
            call = await self._call(request)
            return respond(await self.handle(call), self.status)

        return handler

    async def _call(self, request: web.Request) -> Call:
        by = principal(request) or NOBODY if self.public else require_principal(request)
        raw = await request.read() if request.body_exists else b""
        key = ""
        if request.method not in SAFE_METHODS:
            key = request.headers.get(KEY_HEADER) or new_token()
            if len(key) > KEY_LENGTH_MAX:
                raise Invalid(f"{KEY_HEADER} may have at most {KEY_LENGTH_MAX} characters")
            request[IDEMPOTENCY_KEY] = key
        site = site_of(request)
        return Call(request, site, by, site.clock.utc_us(), self._body(raw), raw, key)

    def _body(self, raw: bytes) -> Any:
        if self.body is None:
            return None
        try:
            return msgspec.json.decode(raw or b"{}", type=self.body)
        except msgspec.ValidationError as error:
            raise Invalid(f"The body is not as it should be: {error}. See GET /api/v1/openapi.json.") from error
        except (msgspec.DecodeError, UnicodeError, RecursionError) as error:  # nested too deep
            raise Invalid(f"The body is no JSON: {error}.") from error


def respond(value: Any, status: int) -> web.StreamResponse:
    """JSON of a value, an `Answer`, or a response that is one already."""
    if isinstance(value, web.StreamResponse):
        return value
    headers: Mapping[str, str] = {}
    if isinstance(value, Answer):
        value, status, headers = value.value, value.status, value.headers
    return web.Response(
        body=msgspec.json.encode(value), status=status, headers=headers, content_type="application/json"
    )
