"""OpenAPI 3.1 of the API, made from the table of endpoints and the types that they name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
from aiohttp import web

from server import __version__
from server.core.request_quota import is_free
from server.ports.numbers import NUMBER_MAX
from server.web.api.endpoint import KEY_HEADER, KEY_LENGTH_MAX, LIMIT_MAX, Endpoint, Number, Shape
from server.web.csrf import SAFE_METHODS
from server.web.permissions import asked_of

JSON = "application/json"
SEQUENCE = {"Understudy-Sequence": {"$ref": "#/components/headers/Understudy-Sequence"}}
KEPT = {KEY_HEADER: {"description": "The key under which the answer is kept for 7 days", "schema": {"type": "string"}}}
PROBLEM = {
    "type": "object",
    "required": ["status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {
            "type": "string",
            "enum": [
                "invalid",
                "unauthenticated",
                "second_factor_needed",
                "forbidden",
                "proof_needed",
                "not_found",
                "conflict",
                "not_master",
                "unavailable",
                "too_many_attempts",
                "too_many_requests",
                "maintenance",
                "unknown_outcome",
                "internal",
            ],
        },
        "detail": {"type": "string"},
        "fields": {"type": "object", "additionalProperties": {"type": "string"}},
        "master": {"type": "string"},
        "idempotency_key": {"type": "string"},
        "reason": {"type": "string"},
    },
}
_PART = re.compile(r"\{(\w+)[^}]*\}")
_TEXT_IDS = ("/api/v1/sessions/", "/api/v1/nodes/")
"""Paths whose `{id}` is a text; elsewhere it is a number, as `{number}` and `{version}` are."""
_NUMBERS = ("id", "number", "version")
_PASSWORDS = ("/api/v1/login", "/api/Account/Authenticate", "/api/v1/users", "/api/v1/second-factor", "/api/v1/prove")
"""Where passwords and codes are checked, and too many wrong ones are answered 429."""

REFUSALS = {
    400: "The request is not as described",
    401: "Nobody is signed in, or the token is not valid",
    403: "Who asks may not",
    404: "There is no such thing",
    405: "A maintenance refuses new work; Allow says what is possible",
    409: "What there is stands against it",
    411: "Say how long the body is",
    413: "The body is too long",
    421: "This node is not the master; its document names the master",
    422: "The Idempotency-Key came with another request before",
    429: "Too many attempts or requests; Retry-After says when to try again",
    503: "Not now; Retry-After says when to try again",
    504: "The outcome is not known yet; ask for it by the Idempotency-Key",
}
"""What an operation may be refused with, as a problem document (RFC 9457)."""


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description. Pure."""
    types = [kind for endpoint in endpoints for kind in _types(endpoint)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    found = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        body = next(found) if endpoint.body is not None else None
        answer = _answer(endpoint, found)
        place = paths.setdefault(_plain(endpoint.path), {})
        place[endpoint.method.lower()] = _operation(endpoint, body, answer)
    for path, place in paths.items():
        _link(path, place, paths)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Understudy",
            "version": __version__,
            "description": "A write answered 2xx is durable wherever the mode promises. Times ending in _us are "
            "microseconds since 1970 UTC. Every answer carries the header Understudy-Sequence. "
            "GET /api/v1/events is a WebSocket: what changed, as it changes.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM},
            "responses": {str(status): _problem(status) for status in REFUSALS},
            "headers": {"Understudy-Sequence": {"description": "What was seen", "schema": {"type": "integer"}}},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-understudy"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _plain(path: str) -> str:
    return _PART.sub(r"{\1}", path)


def _types(endpoint: Endpoint) -> list[Any]:
    kinds = [endpoint.body] if endpoint.body is not None else []
    if isinstance(endpoint.answer, Shape):
        return kinds + list(endpoint.answer.fields.values())
    return kinds + ([endpoint.answer] if endpoint.answer is not None else [])


def _answer(endpoint: Endpoint, found: Iterator[Any]) -> dict[str, Any]:
    if endpoint.media == "application/schema+json" or (endpoint.answer is None and endpoint.media == JSON):
        return {"type": "object"}
    if endpoint.media != JSON:
        return {} if endpoint.media == "application/yaml" else {"type": "string"}
    if not isinstance(endpoint.answer, Shape):
        made: dict[str, Any] = next(found)
        return made
    properties = {name: next(found) for name in endpoint.answer.fields}
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _problem(status: int) -> dict[str, Any]:
    schema = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {"description": REFUSALS[status], "headers": SEQUENCE, "content": schema}


def refusals(endpoint: Endpoint) -> list[int]:
    """The statuses that an operation may be refused with."""
    asked = asked_of(endpoint.method, _plain(endpoint.path))
    is_safe, has_place = endpoint.method in SAFE_METHODS, bool(_PART.search(endpoint.path))
    found = {401} if endpoint.unwell else {401, 503}
    if has_place or endpoint.query or not is_safe:
        found |= {400}
    if not asked.is_public:
        found |= {403, 404, 421}
    if not is_safe:
        found |= {403, 404, 405, 409, 413, 421, 422, 504}
    if endpoint.path.startswith(_PASSWORDS) and not is_safe:
        found |= {411, 429}
    if not is_free(endpoint.path):
        found |= {429}
    return sorted(found)


def _operation(endpoint: Endpoint, body: Any, answer: Any) -> dict[str, Any]:
    asked = asked_of(endpoint.method, _plain(endpoint.path))
    headers = SEQUENCE if endpoint.method in SAFE_METHODS else SEQUENCE | KEPT
    done = {"description": "Done" if endpoint.method not in SAFE_METHODS else "Found", "headers": headers}
    content = {} if endpoint.status == 204 else {"content": {endpoint.media: {"schema": answer}}}
    operation: dict[str, Any] = {
        "operationId": operation_id(endpoint),
        "tags": [tag(endpoint.path)],
        "summary": endpoint.summary,
        "description": (endpoint.handle.__doc__ or "").strip(),
        "parameters": _parameters(endpoint),
        "x-permission": str(asked),
        "responses": {
            str(endpoint.status): done | content,
            **({"503": {"description": "It is not so", "headers": SEQUENCE, **content}} if endpoint.unwell else {}),
            **{str(status): {"$ref": f"#/components/responses/{status}"} for status in refusals(endpoint)},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": not _is_optional(endpoint.body), "content": {JSON: {"schema": body}}}
    if asked.is_public:
        operation["security"] = []
    return operation


def _is_optional(kind: Any) -> bool:
    """Whether no body says as much as an empty object."""
    try:
        msgspec.convert({}, kind)
    except msgspec.ValidationError:
        return False
    return True


def operation_id(endpoint: Endpoint) -> str:
    """The name of an operation for programs: its file and its function."""
    return f"{endpoint.handle.__module__.rpartition('.')[2]}.{endpoint.handle.__name__}{_twice(endpoint)}"


def _twice(endpoint: Endpoint) -> str:
    return ".uipath" if endpoint.path == "/api/Status/Get" else ""


def tag(path: str) -> str:
    """What an operation is about: the first word of its address below the version."""
    return path.removeprefix("/api/v1/").split("/")[0] if path.startswith("/api/v1/") else "health"


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    is_text = endpoint.path.startswith(_TEXT_IDS)
    found: list[dict[str, Any]] = []
    for name in _PART.findall(endpoint.path):
        is_number = name in _NUMBERS and not is_text
        schema = {"type": "integer", "minimum": 0, "maximum": NUMBER_MAX} if is_number else {"type": "string"}
        found.append({"name": name, "in": "path", "required": True, "schema": schema})
    for one in endpoint.query:
        if one == "limit":
            one = Number("limit", 1, LIMIT_MAX)
        if isinstance(one, Number):
            schema = {"type": "integer", "minimum": one.low, "maximum": one.high}
            found.append({"name": one.name, "in": "query", "schema": schema})
        else:
            found.append({"name": one, "in": "query", "schema": {"type": "string"}})
    if endpoint.method not in SAFE_METHODS:
        found.append({"name": KEY_HEADER, "in": "header", "schema": {"type": "string", "maxLength": KEY_LENGTH_MAX}})
    return found


def _link(path: str, place: dict[str, Any], paths: Mapping[str, dict[str, Any]]) -> None:
    """What was made at `path` can be asked for and changed below it: links for programs that follow them."""
    made = place.get("post", {}).get("responses", {}).get("201")
    below = next((one for one in paths if re.fullmatch(re.escape(path) + r"/\{\w+\}", one)), None)
    if made is None or below is None:
        return
    name = _PART.findall(below)[-1]
    made["links"] = {
        method: {"operationId": operation["operationId"], "parameters": {f"path.{name}": f"$response.body#/{name}"}}
        for method, operation in paths[below].items()
    }


def handler(endpoints: Sequence[Endpoint]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Serves the description; it is made once."""
    made = msgspec.json.encode(document(endpoints))

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=made, content_type="application/json")

    return show
