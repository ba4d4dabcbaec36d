"""The description of the API and the API agree: what is described is asked for, what is answered is described."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import msgspec
import pytest

from server.ports.numbers import NUMBER_MAX, is_number
from server.web.api.endpoint import Number
from server.web.api.openapi import document, refusals
from server.web.routes import ENDPOINTS
from tests.process.api_cases import ask_all
from tests.unit.role_stage import ALL, BODIES, SIGN_INS, Cast, open_cast
from tests.unit.tenant_kinds import API_KINDS, PARAMETER, kinds

TOO_LARGE = str(2**63)
SLOW = {f"POST {route}" for route in SIGN_INS}


@pytest.fixture(scope="module")
def cast() -> Iterator[Cast]:
    """Everybody and everything; nothing that is asked lasts."""
    with open_cast() as made:
        yield made


def described() -> Any:
    """The description as a program reads it."""
    found: dict[str, Any] = json.loads(msgspec.json.encode(document(ENDPOINTS)))
    return found


@pytest.mark.parametrize(("role", "looks"), [("administrator", False), ("auditor", True)])
def test_every_operation_answers_as_described(cast: Cast, role: str, looks: bool) -> None:
    """An example of each, right and wrong, by schemathesis; ./scripts/soak api asks a real pair far more."""
    found = ask_all(
        f"http://127.0.0.1:{cast.desk.port}",
        described(),
        f"us_{role}",
        1,
        without=SLOW,
        only=lambda operation: operation.startswith("GET ") == looks,
        phases=["fuzzing"],
    )
    assert not found.faults, "\n".join(f"{where}: {what}" for where, what in found.faults.items())
    described_here = {f"{one.method} {one.path}" for one in ENDPOINTS if (one.method == "GET") == looks}
    assert len(found.operations) == len(described_here - SLOW)


def test_every_operation_says_what_it_asks_for_and_how_it_refuses() -> None:
    """Each has a name of its own, its permission, and no `default` behind which any status could hide."""
    paths = described()["paths"]
    operations = [operation for place in paths.values() for operation in place.values()]
    assert len({operation["operationId"] for operation in operations}) == len(operations) == len(ENDPOINTS)
    for operation in operations:
        assert "default" not in operation["responses"], operation
        assert operation["x-permission"]
        assert operation["summary"]
    assert all(403 in refusals(one) for one in ENDPOINTS if not one.public)


def test_numbers_that_no_row_can_hold_are_refused(cast: Cast) -> None:
    """In a path, behind a question mark and in a body: refused with a sentence, never an error of this program."""
    wrong = []
    for one in ENDPOINTS:
        path = f"{one.method} {one.path}"
        if path in SLOW:
            continue
        asked = [
            cast.path(one.path) + f"?{name}={number}" for name in names(one.query) for number in (TOO_LARGE, "%C2%B2")
        ]
        asked += [PARAMETER.sub(quote(text), one.path) for text in (TOO_LARGE, "\u00b2", "9" * 4500)]
        bodies = [json.dumps(BODIES.get((one.method, one.path), {}))]
        bodies += [json.dumps(body) for body in too_large(one.body)]
        answers = [cast.send(one.method, where, bodies[0]) for where in asked]
        answers += [cast.send(one.method, cast.path(one.path), body) for body in bodies if one.method != "GET"]
        wrong += [f"{path}: {status} {said}" for status, said in answers if status >= 500 and status != 503]
    assert not wrong, "\n".join(wrong)


def names(query: tuple[str | Number, ...]) -> list[str]:
    """The parameters behind the question mark."""
    return [one if isinstance(one, str) else one.name for one in query]


def too_large(kind: object) -> Iterator[dict[str, object]]:
    """A body for each number in a type, with that number too large."""
    info = msgspec.inspect.type_info(kind) if kind is not None else None
    for one in getattr(info, "fields", ()):
        parts = one.type.types if isinstance(one.type, msgspec.inspect.UnionType) else (one.type,)
        if any(isinstance(part, msgspec.inspect.IntType) for part in parts):
            yield {"name": "x", one.encode_name: 2**70}


def test_numbers_of_pages_that_no_row_can_hold(cast: Cast) -> None:
    """An address of a page with such a number is refused in words."""
    wrong = []
    for method, route, is_page in ALL:
        if not is_page or method != "GET":
            continue
        asked = [f"{route}?after={TOO_LARGE}", f"{route}?after=%C2%B2"] if "{" not in route else []
        asked += [PARAMETER.sub(text, route) for text in (TOO_LARGE, "%C2%B2")] if ":" in route else []
        for where in asked:
            status, said = cast.send(method, where, None, "text/html")
            if status >= 500 and status != 503:
                wrong.append(f"{where}: {status} {said}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(("text", "is_one"), [("0", True), (str(NUMBER_MAX), True), (TOO_LARGE, False),
    ("\u00b2", False), ("\u0661", False), ("", False), ("-1", False), ("9" * 5000, False)])  # fmt: skip
def test_what_is_a_number(text: str, is_one: bool) -> None:
    """The digits 0 to 9, up to what a row can hold."""
    assert is_number(text) == is_one


def test_a_method_that_there_is_not_says_which_there_are(cast: Cast) -> None:
    """405 names the methods that are possible."""
    assert cast.allowed("PATCH", "/api/v1/jobs") == (405, {"GET", "POST"})


def test_every_parameter_of_a_path_is_described() -> None:
    """A number is described as one, a name as text."""
    paths = described()["paths"]
    for path, place in paths.items():
        for operation in place.values():
            there = [one["name"] for one in operation["parameters"] if one["in"] == "path"]
            assert len(there) == len(kinds(path, API_KINDS)), path
