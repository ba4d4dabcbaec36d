"""A client of the public API that knows both addresses: standard library only, one connection per node."""

from __future__ import annotations

import contextlib
import http.client
import json
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

TIMEOUT_S = 10.0
PAGE = 1000
BUSY = 503
"""A node that cannot answer now and changed nothing: between two modes, or its copy is held by what is applied."""
BUSY_S = 30.0
PAUSE_S = 0.1


class NoAnswer(Exception):
    """Nobody answered: refused, reset, timed out, or no HTTP."""


@dataclass(frozen=True)
class Answer:
    """Status and decoded JSON of one request; `value` is the text when it was no JSON."""

    status: int
    value: Any
    headers: dict[str, str]

    @property
    def code(self) -> str:
        """The stable code of a problem document, else ""."""
        return str(self.value.get("code", "")) if isinstance(self.value, dict) else ""


class Api:
    """One node's API. `authority` is the cluster's CA certificate; the node's name is checked against it."""

    def __init__(self, host: str, port: int, authority: Path, token: str = "", timeout_s: float = TIMEOUT_S) -> None:
        self.host = host
        self.port = port
        self.authority = authority
        self.token = token
        self.timeout_s = timeout_s
        self._connection: http.client.HTTPSConnection | None = None

    def request(self, method: str, path: str, body: Any = None, key: str = "") -> Answer:
        """One request, not repeated. Raises NoAnswer."""
        headers = {"Accept": "application/json"}
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        if key:
            headers["Idempotency-Key"] = key
        payload = None if body is None else json.dumps(body).encode()
        if payload is not None:
            headers["Content-Type"] = "application/json"
        try:
            connection = self._connect()
            connection.request(method, path, payload, headers)
            response = connection.getresponse()
            raw = response.read()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise NoAnswer(f"{self.host}:{self.port} {type(error).__name__}: {error}") from error
        return Answer(response.status, _decoded(raw), {k.lower(): v for k, v in response.getheaders()})

    def get(self, path: str, **query: Any) -> Any:
        """The value of a GET, repeated for a while at a busy node; an assertion error when the answer is not 200."""
        where = f"{path}?{urlencode(query)}" if query else path
        answer = self._repeated("GET", where)
        assert answer.status == 200, f"GET {where} at {self.host}: {answer.status} {answer.value}"
        return answer.value

    def post(self, path: str, body: Any = None, key: str = "") -> Any:
        """The value of a POST that must be answered 2xx; with a key it is repeated for a while at a busy node."""
        repeated = self._repeated if key else self.request
        answer = repeated("POST", path, {} if body is None else body, key)
        assert 200 <= answer.status < 300, f"POST {path} at {self.host}: {answer.status} {answer.value}"
        return answer.value

    def _repeated(self, method: str, path: str, body: Any = None, key: str = "") -> Answer:
        """As `request`, again and again while the node says that it is busy."""
        end_s = time.monotonic() + BUSY_S
        while (answer := self.request(method, path, body, key)).status == BUSY and time.monotonic() < end_s:
            time.sleep(PAUSE_S)
        return answer

    def pages(self, path: str, key: str, **query: Any) -> Iterator[Any]:
        """All rows of a list, page by page; `key` is the field that the next page continues from."""
        after: dict[str, Any] = {}
        while rows := self.get(path, limit=PAGE, **query, **after):
            yield from rows
            after = {"after": rows[-1][key]}

    def status(self) -> dict[str, Any] | None:
        """GET /api/v1/status, or None when nobody answers."""
        try:
            answer = self.request("GET", "/api/v1/status")
        except NoAnswer:
            return None
        return answer.value if answer.status == 200 and isinstance(answer.value, dict) else None

    def close(self) -> None:
        """Close the connection; the next request opens another."""
        if self._connection is not None:
            with contextlib.suppress(OSError):
                self._connection.close()
        self._connection = None

    def _connect(self) -> http.client.HTTPSConnection:
        if self._connection is None:
            context = ssl.create_default_context(cafile=str(self.authority))
            self._connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=self.timeout_s, context=context
            )
        return self._connection


def _decoded(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except ValueError:
        return raw.decode(errors="replace")
