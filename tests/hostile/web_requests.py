"""Requests that no browser and no program means: each from a seed, as the bytes that are sent."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from functools import cache
from urllib.parse import quote

from server.web.pages import add_routes
from server.web.routes import ENDPOINTS
from tests.hostile.mutations import TEXTS

TRICKS = (
    "..",
    "../..",
    "../../../../etc/passwd",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "..\\..\\etc",
    "%00",
    "a%00b",
    "%2F",
    "//",
    ".",
    "%",
    "%zz",
    "%ff%fe",
    "\u202e",
    "CON",
    "~root",
    "$(id)",
    "`id`",
    "%0d%0aX: y",
    "x" * 300,
    "-1",
    "0",
    "99999999999999999999",
    "1e9",
    "NaN",
    "9" * 5000,
    "\u0661",
    "'--",
    "<b>",
    "{}",
    "[]",
    "null",
    "1;2",
)
BODIES = (
    b"",
    b"{",
    b"[",
    b"nul",
    b'"',
    b"{}",
    b"[]",
    b"null",
    b"1",
    b'"x"',
    b"\xff\xfe",
    b'{"a":"\xff"}',
    b'{"a":"\\ud800"}',
    b"[" * 20_000,
    b'{"a":' * 20_000,
    b'{"name":1e999}',
    b'{"name":' + b"9" * 5000 + b"}",
    b'{"name":"\\u0000"}',
    b"\x00" * 100,
    b'{"name":"a","name":"b"}',
    b"<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
    b"name=%ff&x=%zz&&&==",
    b'--x\r\nContent-Disposition: form-data; name="../../x"; filename="/etc/passwd"\r\n\r\nx\r\n--x--',
)
TYPES = (
    "application/json",
    "text/plain",
    "application/x-www-form-urlencoded",
    "multipart/form-data; boundary=x",
    "multipart/form-data",
    "application/xml",
    "application/json; charset=utf-16",
    "text/html; charset=nothing",
    "/",
    "",
    "application/octet-stream",
    "image/png",
    "x" * 2000,
)
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "X" * 30)
COOKIES = (
    "__Host-understudy=x",
    "__Host-understudy=" + "y" * 3000,
    "__Host-understudy-tenant=../x",
    "a=b; a=c",
    ";;;=",
    "\x80",
)
HEADERS: tuple[tuple[float, str, tuple[str, ...]], ...] = (
    (0.1, "Cookie", COOKIES),
    (0.1, "Authorization", ("Bearer us_" + "x" * 43, "Bearer", "Basic eDp5", "Bearer " + "z" * 4000)),
    (0.1, "Idempotency-Key", ("", "k" * 500, "../x", "same")),
    (0.1, "Understudy-Tenant", ("acme", "../x", "x" * 500, "%00")),
    (0.2, "Accept", ("text/html", "*/*", "application/json", ";;;", "x" * 500)),
    (0.1, "Origin", ("https://evil", "null", "https://[", "://", "https://north:99999")),
    (0.05, "X-Forwarded-For", ("127.0.0.1", "::1", "x" * 500, ", ,")),
    (0.05, "If-None-Match", ("*",)),
    (0.05, "Sec-Fetch-Site", ("cross-site", "none", "x")),
)
UPGRADE = b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
BROKEN = (
    b"\x00\x01\x02",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/9.9\r\n\r\n",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\r\n\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\n\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
    b"GET http://evil/ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost : x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET  /  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 9x\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\nx\r\n0\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1;"
    + b"x" * 9000
    + b"\r\nx\r\n0\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Encoding: br\r\nContent-Length: 4\r\n\r\nabcd",
    b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 20000\r\n\r\n",
    b"POST /api/v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 5000000\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000 + b"\r\n\r\n",
    b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 2000 + b"\r\n",
    b"GET / HTTP/1.1\r\n" * 500,
    UPGRADE + b"Sec-WebSocket-Version: 99\r\n\r\n",
    UPGRADE + b"Origin: https://evil\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 9\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nExpect: y\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\nRange: bytes=0-,0-,0-,9-1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: \r\n\r\n",
)


@cache
def paths() -> tuple[str, ...]:
    """Of the API and of the pages, with their parameters in braces."""
    found = {endpoint.path for endpoint in ENDPOINTS}

    class Router:
        def add_get(self, path: str, *_: object, **__: object) -> None:
            found.add(path)

        add_post = add_get

        def add_route(self, method: str, path: str, *_: object, **__: object) -> None:
            found.add(path)

        def __getattr__(self, name: str) -> Callable[..., None]:
            return lambda *_, **__: None

    class App(dict[object, object]):
        router = Router()

        def __getattr__(self, name: str) -> list[object]:
            return []

    add_routes(App())  # type: ignore[arg-type]  # only routes are looked at
    return tuple(sorted(found))


def request(choice: random.Random, token: str = "") -> bytes:
    """One hostile request. With a token it comes as its owner."""
    if choice.random() < 0.2:
        return choice.choice(BROKEN)
    target = _target(choice)
    method = choice.choice(METHODS) if choice.random() < 0.3 else choice.choice(("GET", "GET", "POST", "PUT", "DELETE"))
    body = _body(choice) if method not in ("GET", "HEAD") or choice.random() < 0.1 else b""
    lines = [f"{method} {target} HTTP/1.1".encode(), b"Host: north", f"Content-Length: {len(body)}".encode()]
    lines.append(f"Content-Type: {choice.choice(TYPES)}".encode())
    if token and choice.random() < 0.7:
        lines.append(f"Authorization: Bearer {token}".encode())
    for chance, name, values in HEADERS:
        if choice.random() < chance:
            lines.append(f"{name}: {choice.choice(values)}".encode("utf-8", "surrogateescape"))
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _target(choice: random.Random) -> str:
    path = choice.choice(paths())
    while "{" in path:
        before, _, rest = path.partition("{")
        path = before + _trick(choice) + _behind(rest)
    if choice.random() < 0.1:
        path = choice.choice(("/static/", "/", "/api/v1/", "/docs/", "//", "/static/..", "/.git/")) + _trick(choice)
    if choice.random() < 0.4:
        names = (
            "limit",
            "after",
            "before",
            "match",
            "state",
            "all",
            "tenant",
            "reason",
            "at",
            "from",
            "to",
            "q",
            "node",
            "zone",
        )
        path += "?" + "&".join(f"{choice.choice(names)}={_trick(choice)}" for _ in range(choice.randint(1, 4)))
    return (
        path.encode("ascii", "replace").decode().replace(" ", "+")
        if choice.random() < 0.9
        else quote(path, safe="/%?=&")
    )


def _behind(rest: str) -> str:
    depth = 1
    for at, letter in enumerate(rest):
        depth += (letter == "{") - (letter == "}")
        if not depth:
            return rest[at + 1 :]
    return ""


def _trick(choice: random.Random) -> str:
    return choice.choice(TRICKS) if choice.random() < 0.7 else str(choice.randrange(3))


def _body(choice: random.Random) -> bytes:
    if choice.random() < 0.5:
        return choice.choice(BODIES)
    names = (
        "name",
        "command",
        "agent",
        "schedules",
        "text",
        "cron",
        "zone",
        "reason",
        "user",
        "password",
        "value",
        "role",
        "id",
    )
    values: tuple[object, ...] = (
        *TEXTS,
        0,
        -1,
        2**63,
        2**64,
        1e308,
        None,
        True,
        [],
        {},
        [[[]]],
        {"a": [1, {"b": "c"}]},
        "x" * 100_000,
    )
    made = {choice.choice(names): choice.choice(values) for _ in range(choice.randint(0, 6))}
    return json.dumps(made).encode()
