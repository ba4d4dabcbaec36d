"""One of everything, people and programs of every kind, and a store that undoes what they do: to ask every route.

`WHO` names who asks: each role of the host, a role of the cluster's own, a token with a narrow scope, the
administrator of a tenant, and nobody.
"""

from __future__ import annotations

import http.client
import json
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from server.actions import roles, tokens, users
from server.actions.change import Change, Transaction
from server.core.access import ROLES
from server.core.model import SYSTEM, Principal
from server.trust.tls import secret_hash
from server.web.permissions import DECLARED, asked_of
from server.web.routes import ENDPOINTS
from tests.unit.ledger import START_US, Ledger
from tests.unit.tenant_kinds import API_KINDS, PAGE_KINDS, PARAMETER, ROUTES, kinds
from tests.unit.tenant_stage import PHC, Stage, fill, people
from tests.unit.web_desk import Desk, DeskStore, open_desk

T = TypeVar("T")
CUSTOM, NARROW, TENANT, NOBODY = "night", "narrow", "tenant", "nobody"
SCOPES = {"+".join(way) for asked in DECLARED.values() for way in asked.ways}
"""Every set of permissions that some route asks for."""

WHO: dict[str, Principal | None] = {
    **{role: Principal(f"host-{role}", role) for role in ROLES},
    CUSTOM: Principal("host-night", CUSTOM, granted=frozenset({"read", "sessions.own", "runs.start"})),
    NARROW: Principal("host-administrator", "administrator", granted=frozenset({"read", "runs.stop"})),
    TENANT: Principal("acme:apple-administrator", "administrator", tenant="acme"),
    NOBODY: None,
}
"""Who asks, as the rules see them; each has the token `us_<word>`."""


class TrialStore(DeskStore):
    """Once `trying`, what a change writes is undone as soon as its answer is known."""

    trying = False

    async def write(self, change: Change[T], key: str = "") -> tuple[T, int]:
        """As the store takes it."""
        return await super().write(self._undone(change) if self.trying else change, key)

    async def write_ungated(self, change: Change[T]) -> tuple[T, int]:
        """The same."""
        return await self.write(change)

    @staticmethod
    def _undone(change: Change[T]) -> Change[T]:
        def trial(transaction: Transaction) -> T:
            rows: sqlite3.Connection = transaction.connection
            rows.execute("SAVEPOINT trial")
            try:
                return change(transaction)
            finally:
                rows.execute("ROLLBACK TO trial")
                rows.execute("RELEASE trial")

        return trial


@dataclass
class Cast:
    """Asks each route for things there are, with the least body that its type allows."""

    desk: Desk
    ids: dict[str, str]

    def __post_init__(self) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", self.desk.port, timeout=30)

    def ask(self, token: str, method: str, route: str, is_page: bool) -> tuple[int, str]:
        """Status, and where a redirect leads or why it was refused."""
        headers = {"Accept": "text/html" if is_page else "application/json"}
        headers |= {"Authorization": f"Bearer {token}"} if token else {}
        body = None
        if method != "GET" and is_page:
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urlencode({**FORM, **FORMS.get(route, {}), "schedule": self.ids["schedule"]}).encode()
        elif method != "GET":
            body = json.dumps(BODIES.get((method, route), {})).encode()
        self._connection.request(method, self.filled(route, is_page), body, headers)
        answer = self._connection.getresponse()
        said = answer.read().decode(errors="replace")
        return answer.status, answer.getheader("Location") or (said if answer.status == 403 else "")

    def send(self, method: str, path: str, body: str | None, accept: str = "application/json") -> tuple[int, str]:
        """Status and the beginning of what is answered to an administrator."""
        headers = {"Authorization": "Bearer us_administrator", "Accept": accept}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read().decode(errors="replace")[:300]

    def allowed(self, method: str, path: str) -> tuple[int, set[str]]:
        """Status and the methods that `Allow` names."""
        self._connection.request(method, path, None, {"Authorization": "Bearer us_administrator"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status, set(answer.getheader("Allow", "").split(","))

    def get(self, token: str, path: str, is_page: bool) -> int:
        """The status of an answer that was read to its end."""
        accept = "text/html" if is_page else "application/json"
        self._connection.request("GET", path, None, {"Accept": accept, "Authorization": f"Bearer {token}"})
        answer = self._connection.getresponse()
        answer.read()
        return answer.status

    def path(self, route: str) -> str:
        """A route of the API for things that there are."""
        return self.filled(route, False)

    def filled(self, path: str, is_page: bool) -> str:
        """A route with the things that there are in the place of its parameters."""
        for text, kind in kinds(path, PAGE_KINDS if is_page else API_KINDS):
            value = kind[1:] if kind.startswith("=") else self.ids.get(kind, "nobody")
            path = path.replace(text, quote(value, safe=""), 1)
        return path


def asked(method: str, route: str) -> Any:
    """What the table declares for a route as it is registered."""
    return asked_of(method, PARAMETER.sub(r"{\1}", route))


@contextmanager
def open_cast(add: Callable[[Ledger], None] = lambda _: None) -> Iterator[Cast]:
    """The application with everybody, everything and what `add` adds; nothing that is asked of it afterwards lasts."""
    ledger = Ledger()
    people(ledger)
    _host_people(ledger)
    with tempfile.TemporaryDirectory() as directory:
        rows = TrialStore(ledger)
        with open_desk(ledger, Path(directory), rows) as desk:
            stage = Stage(desk)
            fill(ledger, stage)
            ids = stage.ids["acme"]
            found = ledger.connection.execute("SELECT id FROM schedules WHERE job_id = ?", (int(ids["job id"]),))
            ids["schedule"] = str(found.fetchone()[0])
            add(ledger)
            rows.trying = True
            yield Cast(desk, ids)


def _host_people(ledger: Ledger) -> None:
    ledger.do(roles.create(CUSTOM, {"runs.start"}, "", SYSTEM, START_US))
    for role in (*ROLES, CUSTOM):
        ledger.do(users.create(f"host-{role}", PHC, role, SYSTEM, START_US))
        ledger.do(tokens.create(f"host-{role}", "t", secret_hash(f"us_{role}"), None, SYSTEM, START_US))
    owner, tenant = "host-administrator", "acme:apple-administrator"
    ledger.do(tokens.create(owner, "n", secret_hash(f"us_{NARROW}"), None, SYSTEM, START_US, "runs.stop"))
    ledger.do(tokens.create(tenant, "m", secret_hash(f"us_{TENANT}"), None, SYSTEM, START_US))
    for scope in SCOPES:
        hashed = secret_hash(f"us_{scope}")
        ledger.do(tokens.create(owner, scope, hashed, None, SYSTEM, START_US, scope.replace("+", " ")))


def least(kind: Any) -> Any:
    """The least JSON value that a type takes."""
    return _least(msgspec.inspect.type_info(kind))


def _least(info: Any) -> Any:
    found = msgspec.inspect
    if isinstance(info, found.StructType):
        return {one.encode_name: _least(one.type) for one in info.fields if one.required}
    if isinstance(info, found.UnionType):
        return _least(next(one for one in info.types if not isinstance(one, found.NoneType)))
    if isinstance(info, found.EnumType):
        return next(iter(info.cls)).value
    if isinstance(info, found.LiteralType):
        return info.values[0]
    simple = {found.StrType: "x", found.BoolType: True, found.IntType: 1, found.FloatType: 1.0, found.DictType: {}}
    return simple.get(type(info), [])


FLOW = '{"name": "w", "steps": [{"name": "a", "command": "x", "agent": "north"}]}'
BODIES: dict[tuple[str, str], Any] = {
    (one.method, one.path): least(one.body) for one in ENDPOINTS if one.body is not None
} | {
    ("POST", "/api/v1/agents/{name}/maintenance"): {"phase": "draining"},
    ("POST", "/api/v1/agents/{name}/requests/withdraw"): {"kind": "cancel", "run": 1},
    ("POST", "/api/v1/workflows"): {"text": FLOW, "format": "json"},
    ("PUT", "/api/v1/workflows/{name}"): {"text": FLOW, "format": "json"},
    ("POST", "/api/v1/users"): {"name": "eve", "password": "long enough"},
    ("PUT", "/api/v1/users/{name}"): {"disabled": True},
    ("POST", "/api/v1/import/all"): {"text": "understudy: 1"},
}
"""What is sent as JSON."""
FORM = {"reason": "x", "kind": "banner", "up_to": "1", "version": "1", "what": "save", "text": FLOW, "way": "wait"}
FORMS = {
    "/agents/{name}/withdraw": {"kind": "cancel", "run": "1"},
    "/agents/{name}/capacity": {"capacity": "1"},
    "/maintenance/start": {"way": "on"},
    r"/jobs/{id:\d+}/exceptions": {"kind": "skip", "at": "1790035200000000"},
    r"/jobs/{id:\d+}/exceptions/remove": {"at": "1790035200000000"},
}
"""What is sent as a form's fields, by route."""
SIGN_INS = frozenset({"/login", "/api/v1/login", "/api/Account/Authenticate"})
ALL = [(method, route, is_page) for method, route, is_page in ROUTES if route not in SIGN_INS]
"""Every route but those of signing in, which answer a wrong password a second late; they are open to everybody."""
