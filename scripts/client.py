"""HTTP for commands, by the standard library alone: the node's own socket, or its web port with a token.

A write keeps one Idempotency-Key over all its tries, on both nodes: sent twice, it is done once.
"""

from __future__ import annotations

import hashlib
import http.client
import json
import os
import secrets
import socket
import ssl
import time
import urllib.parse
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

OK, FAILED, USAGE, UNREACHABLE, NOT_NOW, PERMISSION, CONFIGURATION, TIMED_OUT = 0, 1, 2, 69, 75, 77, 78, 124
TIMEOUT_S = 15.0
TRIES = 5
PAUSE_S = 0.5
LONG_S = 10
"""Asking again is left to people when a node says that it takes longer."""
CODES = {
    "invalid": USAGE,
    "unauthenticated": PERMISSION,
    "second_factor_needed": PERMISSION,
    "forbidden": PERMISSION,
    "not_master": NOT_NOW,
    "unavailable": NOT_NOW,
    "maintenance": NOT_NOW,
    "unknown_outcome": TIMED_OUT,
    "unreachable": UNREACHABLE,
    **dict.fromkeys(
        (
            "wrong_port",
            "not_understudy",
            "fingerprint",
            "fingerprint_needed",
            "other_cluster",
            "disk",
            "version",
            "refused",
        ),
        CONFIGURATION,
    ),
}
"""The exit code of each stable code of a problem document; any other is FAILED."""


class CommandError(Exception):
    """A command ends: `exit_code` for scripts, the text for people, `problem` for `--json`."""

    def __init__(self, exit_code: int, text: str, problem: Mapping[str, Any] | None = None) -> None:
        super().__init__(text)
        self.exit_code = exit_code
        self.problem = dict(problem or {"detail": text})


@dataclass(frozen=True)
class Answer:
    """What a node answered: JSON when it was JSON, else bytes."""

    status: int
    value: Any
    headers: Mapping[str, str]


class _LocalConnection(http.client.HTTPConnection):
    """HTTP over the unix socket of a node."""

    def __init__(self, path: str, timeout_s: float) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


class Client:
    """Asks one node, or both by turns.

    `places` are `unix:PATH` or URLs, in the order in which they are tried.
    """

    def __init__(
        self,
        places: list[str],
        token: str = "",
        authority: str = "",
        fingerprint: str = "",
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.more_headers: dict[str, str] = {}
        self._places = places
        self._token = token
        self._authority = authority
        self._fingerprint = fingerprint
        self.timeout_s = timeout_s

    def get(self, path: str) -> Any:
        """The JSON of a GET; raises `CommandError`."""
        return self.ask("GET", path).value

    def post(self, path: str, body: Any = None, key: str = "") -> Any:
        """The JSON of a POST, done once however often it is sent."""
        return self.ask("POST", path, body, key).value

    def pages(self, path: str, key: str) -> Iterator[Any]:
        """All rows of a list, page by page; `key` is the column that `after` names."""
        glue = "&" if "?" in path else "?"
        after = ""
        while True:
            rows = self.get(f"{path}{glue}limit=500{after}")
            yield from rows
            if len(rows) < 500:
                return
            after = "&after=" + urllib.parse.quote(str(rows[-1][key]))

    def ask(self, method: str, path: str, body: Any = None, key: str = "") -> Answer:
        """Send one request and try again where trying again is safe.

        Raises `CommandError` with the exit code.
        """
        headers = {"Accept": "application/json", **self.more_headers}
        if method != "GET":
            headers["Idempotency-Key"] = key or secrets.token_urlsafe(24)
        content = json.dumps(body).encode() if body is not None else None
        places = list(self._places)
        problem = CommandError(UNREACHABLE, "no node answers")
        for _ in range(TRIES):
            place = places.pop(0)
            places.append(place)
            try:
                answer = self._once(place, method, path, content, headers)
            except (OSError, http.client.HTTPException) as error:
                problem = CommandError(UNREACHABLE, _no_answer(place, error))
                if len(places) == 1 and (method == "GET" or _nobody_listens(error)):
                    break
                time.sleep(PAUSE_S)
                continue
            if answer.status < 400:
                return answer
            problem = _as_error(answer)
            code, master = problem.problem.get("code"), str(problem.problem.get("master") or "")
            if code == "not_master" and master and not place.startswith("unix:"):
                places = [master, *(known for known in places if known != master)]
            elif not _may_help(code, answer, len(places)):
                break
            time.sleep(PAUSE_S)
        raise problem

    def download(self, path: str, target: Path) -> int:
        """GET into a new file, in pieces of whatever size; the number of bytes. Raises `CommandError`, no file left."""
        problem = CommandError(UNREACHABLE, "no node answers")
        for place in self._places:
            connection, prefix = self._connect(place)
            bearer = {"Authorization": f"Bearer {self._token}"} if self._token and not place.startswith("unix:") else {}
            try:
                connection.request(
                    "GET", prefix + path, headers={"Accept": "application/json", **self.more_headers, **bearer}
                )
                response = connection.getresponse()
                if response.status < 400:
                    return _written(response, target)
                raw = response.read()
                value = json.loads(raw) if response.headers.get_content_type().endswith("json") else raw
                problem = _as_error(Answer(response.status, value, {}))
            except (OSError, http.client.HTTPException) as error:
                problem = CommandError(UNREACHABLE, _no_answer(place, error))
            finally:
                connection.close()
        raise problem

    def _once(self, place: str, method: str, path: str, content: bytes | None, headers: Mapping[str, str]) -> Answer:
        connection, prefix = self._connect(place)
        sent = dict(headers)
        if content is not None:
            sent["Content-Type"] = "application/json"
        if self._token and not place.startswith("unix:"):
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            connection.request(method, prefix + path, content, sent)
            response = connection.getresponse()
            raw = response.read()
            kind = response.headers.get_content_type()
            value = json.loads(raw) if kind.endswith("json") else raw
            return Answer(response.status, value, dict(response.headers.items()))
        finally:
            connection.close()

    def _connect(self, place: str) -> tuple[http.client.HTTPConnection, str]:
        if place.startswith("unix:"):
            return _LocalConnection(place.removeprefix("unix:"), self.timeout_s), ""
        parts = urllib.parse.urlsplit(place)
        if parts.scheme == "http":
            return http.client.HTTPConnection(parts.netloc, timeout=self.timeout_s), parts.path.rstrip("/")
        context = self._context(parts.hostname or "", parts.port or 8008)
        address = f"{parts.hostname}:{parts.port or 8008}"
        return http.client.HTTPSConnection(address, timeout=self.timeout_s, context=context), parts.path.rstrip("/")

    def _context(self, host: str, port: int) -> ssl.SSLContext:
        """Trust the cluster's authority alone: from a file, or fetched and compared with the fingerprint."""
        if not self._authority and not self._fingerprint:
            raise CommandError(
                CONFIGURATION,
                f"https://{host}:{port}: how is it to be trusted? Give --fingerprint F (Server Properties shows it) "
                "or --ca FILE (ca.crt of a node's data directory)",
            )
        if not self._authority:
            self._authority = _fetch_authority(host, port, self._fingerprint, self.timeout_s)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        if self._authority.startswith("-----BEGIN"):
            context.load_verify_locations(cadata=self._authority)
        else:
            context.load_verify_locations(self._authority)
        return context


def _written(response: http.client.HTTPResponse, target: Path) -> int:
    """Write a body beside `target`, fsync, then give it its name: a broken download leaves no file that looks whole."""
    part = target.with_name(f"{target.name}.part")
    try:
        with part.open("wb") as file:
            while piece := response.read(1 << 20):
                file.write(piece)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        part.rename(target)
        return size
    finally:
        part.unlink(missing_ok=True)


def _fetch_authority(host: str, port: int, fingerprint: str, timeout_s: float) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    connection = http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)
    try:
        connection.request("GET", "/api/v1/ca")
        authority = str(json.loads(connection.getresponse().read())["certificate"])
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(UNREACHABLE, f"{host}:{port} answers, but is no web port of Understudy") from error
    finally:
        connection.close()
    found = hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority)).hexdigest()
    wanted = fingerprint.lower().removeprefix("sha256:").replace(":", "").replace(" ", "")
    if found != wanted:
        raise CommandError(
            CONFIGURATION,
            f"{host}:{port} shows the fingerprint {found}, not {wanted}: another cluster, or somebody in between. "
            "Nothing was sent. Compare with Server Properties on the master",
        )
    return authority


def _as_error(answer: Answer) -> CommandError:
    problem = answer.value if isinstance(answer.value, dict) else {}
    text = str(problem.get("detail") or f"the node answered {answer.status}")
    for name, wrong in (problem.get("fields") or {}).items():
        if wrong not in text:
            text += f"\n  {name}: {wrong}"
    return CommandError(CODES.get(str(problem.get("code")), FAILED), text, problem or {"status": answer.status})


def _may_help(code: Any, answer: Answer, places: int) -> bool:
    """Whether to ask again, or the other node: not where the node says that it takes long, as in a maintenance."""
    wait_s = answer.headers.get("Retry-After", "0")
    if code == "unavailable":
        return not (wait_s.isdigit() and int(wait_s) > LONG_S)
    return bool(code == "not_master" and places > 1)


def _nobody_listens(error: Exception) -> bool:
    return isinstance(error, FileNotFoundError | ConnectionRefusedError)


def _no_answer(place: str, error: Exception) -> str:
    if place.startswith("unix:"):
        data = os.path.dirname(place.removeprefix("unix:"))
        return (
            f"no node answers in {data} ({getattr(error, 'strerror', None) or error}). "
            f"Start it with `understudy serve --data {data}`, or name another directory with --data"
        )
    return f"{place} does not answer ({error}). Check that the node runs, and its address and port"
