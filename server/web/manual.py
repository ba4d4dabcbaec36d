"""The description of the API as people read it: operations with what they take and answer, and an example to type.

Made of the OpenAPI document alone, so that it says what programs are told. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

METHODS = ("get", "post", "put", "delete")
DEPTH_MAX = 6
"""How far an example goes into types within types."""
AUTHORIZED = '-H "Authorization: Bearer $TOKEN"'
PLACES = {"path": "in the address", "query": "behind the ?", "header": "header"}


@dataclass(frozen=True, slots=True)
class Field:
    """A parameter, or a field of a body or an answer: its type in words, and whether it has to be there."""

    name: str
    words: str
    required: bool
    note: str = ""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, when it is given, and the fields of what is answered then."""

    status: str
    meaning: str
    words: str = ""
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One method of one address. `curl` can be typed once HOST and TOKEN are set."""

    id: str
    topic: str
    method: str
    path: str
    summary: str
    description: str
    permission: str
    parameters: tuple[Field, ...]
    body: tuple[Field, ...]
    answer: Answer
    refusals: tuple[Answer, ...]
    curl: str

    def has(self, text: str) -> bool:
        """Whether all words of `text` are found in what it is."""
        said = f"{self.method} {self.path} {self.summary} {self.description} {self.permission}".lower()
        return all(word in said for word in text.lower().split())


def operations(document: Mapping[str, Any]) -> tuple[Operation, ...]:
    """All of them, by topic and then in the order of the document."""
    found = [
        _operation(document, path, method, place[method])
        for path, place in document["paths"].items()
        for method in METHODS
        if method in place
    ]
    return tuple(sorted(found, key=lambda one: (one.topic, one.path.count("/") > 3, one.path)))


def _operation(document: Mapping[str, Any], path: str, method: str, said: Mapping[str, Any]) -> Operation:
    schema = said.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")
    given = [_resolved(document, one) | {"at": status} for status, one in said["responses"].items()]
    done = next(one for one in given if one["at"].startswith("2"))
    return Operation(
        said["operationId"],
        said["tags"][0],
        method.upper(),
        path,
        said["summary"],
        said["description"].replace("`", ""),
        said["x-permission"],
        tuple(_parameter(document, one) for one in said["parameters"]),
        tuple(_fields(document, schema)) if schema is not None else (),
        _answer(document, done),
        tuple(Answer(one["at"], one["description"]) for one in given if one is not done),
        _curl(document, path, method, said["parameters"], schema),
    )


def _resolved(document: Mapping[str, Any], value: Mapping[str, Any]) -> dict[str, Any]:
    """What a reference points at; anything else as it is."""
    while "$ref" in value:
        _, _, kind, name = value["$ref"].split("/")
        value = document["components"][kind][name]
    return dict(value)


def _parameter(document: Mapping[str, Any], one: Mapping[str, Any]) -> Field:
    schema, place = _resolved(document, one["schema"]), PLACES[one["in"]]
    return Field(one["name"], _words(document, schema), bool(one.get("required")), place)


def _fields(document: Mapping[str, Any], schema: Mapping[str, Any]) -> Iterator[Field]:
    """The fields of an object, or of each entry of a list."""
    found = _object(document, schema)
    required = found.get("required", ())
    for name, one in found.get("properties", {}).items():
        note = f"otherwise {json.dumps(one['default'])}" if one.get("default") else ""
        yield Field(name, _words(document, one), name in required, note)


def _object(document: Mapping[str, Any], schema: Mapping[str, Any]) -> dict[str, Any]:
    found = _resolved(document, schema)
    if "items" in found:
        return _object(document, found["items"])
    if "anyOf" in found:
        known = [_object(document, one) for one in found["anyOf"] if one.get("type") != "null"]
        return next((one for one in known if "properties" in one), found)
    return found


def _words(document: Mapping[str, Any], schema: Mapping[str, Any]) -> str:
    """A type in words: `text`, `list of JobLine`, `number 1 to 1000, or null`."""
    if "$ref" in schema:
        return re.split(r"[/.]", schema["$ref"])[-1]
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_words(document, one) for one in schema["anyOf"]))
    if "enum" in schema or "const" in schema:
        return " | ".join(map(str, schema.get("enum", [schema.get("const")])))
    kind = schema.get("type")
    if kind == "array":
        return f"list of {_words(document, schema.get('items') or {})}"
    if kind in ("integer", "number"):
        low, high = schema.get("minimum"), schema.get("maximum")
        word = "whole number" if kind == "integer" else "number"
        return f"{word} {low} to {high}" if low is not None and high is not None and high < 2**53 else word
    return {"string": "text", "boolean": "true or false", "object": "object", "null": "null"}.get(str(kind), "anything")


def _answer(document: Mapping[str, Any], done: Mapping[str, Any]) -> Answer:
    media = next(iter(done.get("content", {})), "")
    if not media:
        return Answer(done["at"], "no body")
    if media != "application/json":
        return Answer(done["at"], media)
    schema = done["content"][media]["schema"]
    return Answer(done["at"], "", _words(document, schema), tuple(_fields(document, schema)))


def _curl(
    document: Mapping[str, Any], path: str, method: str, asked: list[dict[str, Any]], schema: Mapping[str, Any] | None
) -> str:
    for one in asked:
        if one["in"] == "path":
            is_number = one["schema"].get("type") == "integer"
            path = path.replace(f"{{{one['name']}}}", "1" if is_number else one["name"].upper())
    where = f"{path}?limit=10" if any(one["name"] == "limit" for one in asked) else path
    lines = [f'curl --cacert ca.crt -X {method.upper()} "https://$HOST:8008{where}"', AUTHORIZED]
    if schema is not None:
        body = json.dumps(_example(document, schema, 0), ensure_ascii=False).replace("'", "")
        lines += ['-H "Content-Type: application/json"', f"-d '{body}'"]
    return " \\\n  ".join(lines)


def _example(document: Mapping[str, Any], schema: Mapping[str, Any], depth: int) -> Any:
    """The least that a type takes, with names where a text is asked for; `reason` as well, for the audit history."""
    found = _resolved(document, schema)
    if "anyOf" in found:
        return _example(document, next((one for one in found["anyOf"] if one.get("type") != "null"), {}), depth)
    if "enum" in found:
        return found["enum"][0]
    kind = found.get("type")
    if kind == "object":
        wanted = [name for name in found.get("properties", {}) if name in found.get("required", ()) or name == "reason"]
        if depth > DEPTH_MAX:
            return {}
        return {name: _named(document, name, found["properties"][name], depth + 1) for name in wanted}
    simple: dict[str, Any] = {"string": "…", "integer": 1, "number": 1.0, "boolean": True, "array": []}
    return simple.get(str(kind))


def _named(document: Mapping[str, Any], name: str, schema: Mapping[str, Any], depth: int) -> Any:
    made = _example(document, schema, depth)
    return f"{name.upper()}" if made == "…" and name != "reason" else made
