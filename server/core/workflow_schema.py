"""The JSON Schema of a workflow's text, for editors and for programs that write workflows. Pure.

Made from the structs. It knows the short forms and the rules of single fields; that edges lead to steps and that the
graph has no circle, only `understudy workflow check` knows.
"""

from __future__ import annotations

from typing import Any

import msgspec

from server.core.workflow_check import ITEMS_MAX, NAME, RESERVED, STEP, STEPS_MAX, TIMEOUT_S_MAX, VARIABLE
from server.core.workflows import WorkflowSpec

TEXT = {"$ref": "#/$defs/Text"}
"""Text: a number or a word such as yes is taken as it is written."""


def schema() -> dict[str, Any]:
    """The schema, draft 2020-12."""
    made: dict[str, Any] = msgspec.json.schema(WorkflowSpec)
    parts: dict[str, Any] = made["$defs"]
    for part in parts.values():
        part.pop("description", None)
        if part.get("type") == "object":
            part["additionalProperties"] = False
            part["properties"] = {name: _value(value) for name, value in part["properties"].items()}
    parts["Text"] = {"type": ["string", "number", "boolean"]}
    _workflow(parts["WorkflowSpec"])
    _step(parts["WorkflowStep"])
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Workflow of Understudy", **made}


def text() -> str:
    """The schema as it is printed, served and committed."""
    return msgspec.json.format(msgspec.json.encode(schema())).decode() + "\n"


def _value(value: dict[str, Any]) -> dict[str, Any]:
    """A field as people may write it."""
    value = {name: inner for name, inner in value.items() if name != "default"} if "$ref" not in value else value
    if value.get("type") == "string":
        return dict(TEXT)
    if value.get("type") == "object":
        return {"type": "object", "propertyNames": {"pattern": _pattern(VARIABLE)}, "additionalProperties": dict(TEXT)}
    if value.get("type") == "array" and value["items"].get("type") == "string":
        return {"type": "array", "items": dict(TEXT)}
    return value


def _workflow(part: dict[str, Any]) -> None:
    said = part["properties"]
    said["name"] = {**TEXT, "pattern": _pattern(NAME)}
    said["steps"] |= {"minItems": 1, "maxItems": STEPS_MAX}
    said["timeout_s"] |= {"minimum": 0, "maximum": TIMEOUT_S_MAX}
    part["not"] = {"required": ["agent", "group"]}


def _step(part: dict[str, Any]) -> None:
    said = part["properties"]
    said["name"] = {**TEXT, "pattern": _pattern(STEP), "not": {"enum": list(RESERVED)}}
    said["timeout_s"] |= {"minimum": 0, "maximum": TIMEOUT_S_MAX}
    said["for_each"] |= {"maxItems": ITEMS_MAX, "uniqueItems": True}
    said["retry"] = {"anyOf": [{"type": "integer", "minimum": 1, "maximum": 100}, {"$ref": "#/$defs/RetryRule"}]}
    short = {"type": "object", "minProperties": 1, "additionalProperties": {"$ref": "#/$defs/Outcome"}}
    edge = {"anyOf": [dict(TEXT), {"$ref": "#/$defs/Edge"}, short]}
    said["after"] = {"anyOf": [*edge["anyOf"], {"type": "array", "items": edge}]}
    part["oneOf"] = [{"required": [kind]} for kind in ("command", "job", "workflow")]


def _pattern(pattern: Any) -> str:
    """A pattern of Python as ECMA 262 has it."""
    return "^" + str(pattern.pattern).removesuffix(r"\Z") + "$"
