"""OpenAPI 3.1 of the API, made from the table of endpoints and the types that they name."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec
from aiohttp import web

from server import __version__
from server.web.api.endpoint import KEY_HEADER, Endpoint
from server.web.csrf import SAFE_METHODS

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
                "not_found",
                "conflict",
                "not_master",
                "unavailable",
                "too_many_attempts",
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


def document(endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The whole description. Pure."""
    types = [kind for endpoint in endpoints for kind in (endpoint.body, endpoint.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    found = iter(schemas)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in endpoints:
        body = next(found) if endpoint.body is not None else None
        answer = next(found) if endpoint.answer is not None else {}
        place = paths.setdefault(_PART.sub(r"{\1}", endpoint.path), {})
        place[endpoint.method.lower()] = _operation(endpoint, body, answer)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Understudy",
            "version": __version__,
            "description": "A write answered 2xx is durable wherever the mode promises. Times ending in _us are "
            "microseconds since 1970 UTC. Every answer carries the header Understudy-Sequence.",
        },
        "paths": paths,
        "components": {
            "schemas": {**components, "Problem": PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "__Host-understudy"},
            },
        },
        "security": [{"token": []}, {"session": []}],
    }


def _operation(endpoint: Endpoint, body: Any, answer: Any) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PART.findall(endpoint.path)
    ]
    parameters += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in endpoint.query]
    if endpoint.method not in SAFE_METHODS:
        parameters.append({"name": KEY_HEADER, "in": "header", "schema": {"type": "string", "maxLength": 200}})
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    operation: dict[str, Any] = {
        "operationId": endpoint.handle.__name__,
        "summary": endpoint.summary,
        "description": (endpoint.handle.__doc__ or "").strip(),
        "parameters": parameters,
        "responses": {
            str(endpoint.status): {
                "description": "Done" if endpoint.method not in SAFE_METHODS else "Found",
                **({} if endpoint.status == 204 else {"content": {"application/json": {"schema": answer}}}),
            },
            "default": {"description": "A problem document (RFC 9457)", "content": problem},
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": {"schema": body}}}
    if endpoint.public:
        operation["security"] = []
    return operation


def handler(endpoints: Sequence[Endpoint]) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Serves the description; it is made once."""
    made = msgspec.json.encode(document(endpoints))

    async def show(request: web.Request) -> web.Response:
        return web.Response(body=made, content_type="application/json")

    return show
