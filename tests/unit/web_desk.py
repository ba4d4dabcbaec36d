"""The web port's application over a ledger, on a unix socket in a directory: API, pages and commands in one process.

Nobody replicates; everybody who asks is the local administrator. For tests of what handlers and commands do with rows.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import sqlite3
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import urlencode

from aiohttp import web
from click.testing import CliRunner, Result

from replication.core.types import Status
from scripts.client import Client, CommandError
from scripts.understudy import understudy
from server.actions.change import Change
from server.config import Config
from server.log_lines import http_logger
from server.people.passwords import Passwords
from server.site import Site
from server.web.routes import make_app
from tests.storybook.fixture import status
from tests.unit.ledger import HandClock, Ledger, LocalStore

T = TypeVar("T")


class DeskStore(LocalStore):
    async def write(self, change: Change[T], key: str = "") -> tuple[T, int]:
        """As the store takes it, with the key of an outcome."""
        return await super().write(change)

    _copy: tuple[int, sqlite3.Connection] | None = None

    async def write_ungated(self, change: Change[T]) -> tuple[T, int]:
        """Nobody is waited for anyhow."""
        return await super().write(change)

    async def read_unconfirmed(
        self,
        query: Callable[[sqlite3.Connection], T],
        wait_s: float = 1.0,
        dress: Callable[[sqlite3.Connection], None] | None = None,
    ) -> tuple[T, int, bool]:
        """Everything is confirmed. A dressed connection is another one: a copy, made again after a change."""
        return query(self.ledger.connection if dress is None else self._dressed(dress)), self.sequence, True

    def _dressed(self, dress: Callable[[sqlite3.Connection], None]) -> sqlite3.Connection:
        now = self.ledger.connection.total_changes
        if self._copy is None or self._copy[0] != now:
            made = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
            made.deserialize(self.ledger.connection.serialize())
            dress(made)
            self._copy = now, made
        return self._copy[1]


class DeskSite(Site):
    """A node in office without a pair."""

    rows: DeskStore

    def status(self) -> Status:
        """The one of the storybook."""
        return status()

    @property
    def in_office(self) -> bool:
        """Always."""
        return True

    def store(self) -> Any:
        """The ledger's."""
        return self.rows

    def _store(self) -> Any:
        return self.rows


class Desk:
    """Asks the application: `client` as programs do, `run` as people type."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.port = port
        self.client = Client([f"unix:{directory / 'understudy.sock'}"])

    def call(
        self, method: str, path: str, token: str = "", accept: str = "application/json", body: Any = None
    ) -> tuple[int, Any, Mapping[str, str]]:
        """Status, body (JSON decoded) and headers of a call over TCP, as a program of whoever the token is of sends."""
        asks = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Accept": accept, "Content-Type": "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        asks.request(method, path, None if body is None else json.dumps(body), headers)
        answer = asks.getresponse()
        raw = answer.read()
        asks.close()
        is_json = answer.headers.get_content_type().endswith("json")
        return answer.status, json.loads(raw) if is_json else raw.decode(), dict(answer.headers.items())

    def run(self, *arguments: str, stdin: str = "") -> tuple[int, str]:
        """Exit code and all that a command printed."""
        result: Result = CliRunner().invoke(understudy, [*arguments, "--data", str(self.directory)], input=stdin)
        if isinstance(result.exception, CommandError):
            return result.exception.exit_code, f"{result.output}{result.exception}"
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result.exit_code, result.output

    def page(self, path: str, fields: Mapping[str, str] | None = None) -> tuple[int, str]:
        """Status and text of a page as a browser gets it, or of a form that it sends; of a redirect its target."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.connect(str(self.directory / "understudy.sock"))
        asks = http.client.HTTPConnection("localhost")
        asks.sock = connection
        headers = {"Accept": "text/html", "Content-Type": "application/x-www-form-urlencoded"}
        asks.request("GET" if fields is None else "POST", path, urlencode(fields or {}) or None, headers)
        answer = asks.getresponse()
        text = answer.read().decode()
        asks.close()
        return answer.status, answer.getheader("Location") or text


class Answered(NamedTuple):
    """What was answered: `head` is the status and every header."""

    status: int
    head: str
    body: bytes


class Visitor:
    """Asks over TCP, as somebody with a token."""

    def __init__(self, port: int, token: str) -> None:
        self._port, self._token = port, token

    def ask(self, method: str, path: str, body: object = None, accept: str = "application/json") -> Answered:
        """One request: a mapping is sent as JSON, text as the fields of a form."""
        headers = {"Authorization": f"Bearer {self._token}", "Accept": accept}
        sent = None if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
        if isinstance(body, str):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
        asks = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            asks.request(method, path, sent, headers)
            answer = asks.getresponse()
            return Answered(answer.status, f"{answer.status} {answer.getheaders()}", answer.read())
        finally:
            asks.close()


@contextmanager
def open_desk(ledger: Ledger, directory: Path, rows: DeskStore | None = None) -> Iterator[Desk]:
    """The application, until the block ends. Meanwhile the ledger belongs to its thread."""
    site = DeskSite(Config(data=directory), HandClock(), Passwords())
    site.rows = DeskStore(ledger) if rows is None else rows
    site.ready, site.loop_seen_s = True, site.clock.monotonic()
    site.seal_key = bytes(32)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(make_app(site), logger=http_logger())
        await runner.setup()
        await web.UnixSite(runner, str(directory / "understudy.sock")).start()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner

    runner = asyncio.run_coroutine_threadsafe(start(), loop).result(30)
    try:
        yield Desk(directory, next(at[1] for at in runner.addresses if isinstance(at, tuple)))
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
