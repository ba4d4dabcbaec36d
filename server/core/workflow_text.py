"""A workflow read from the text that somebody wrote, with the line of everything in it and of every mistake. Pure.

What may be written is what the structs of `core.workflows` say, and shorter forms of it: `after: dump`,
`after: [dump, check]`, `after: {dump: failed}` and `retry: 3`. Text stays as it is written: 0755 and yes are text where
text is wanted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from typing import Any, get_args, get_origin

import msgspec

from server.core.marked_json import read_json
from server.core.marked_text import Mistake, Node, read_yaml
from server.core.retry import RetryRule
from server.core.workflow_check import Wrong, check, meant
from server.core.workflows import Edge, Path, WorkflowSpec, WorkflowStep, Written

FORMATS = ("yaml", "json")
MISTAKES_MAX = 100
NOUNS = {WorkflowSpec: "a workflow", WorkflowStep: "a step", Edge: "an edge", RetryRule: "a retry rule"}
_WHOLE = re.compile(r"-?[0-9]{1,15}\Z")
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?\Z")

Places = dict[Path, tuple[int, int]]
"""Line and column of each value."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """`written` is there when nothing is wrong; it knows where everything is, for what is found wrong later."""

    written: Written | None
    mistakes: list[Mistake]


def read(text: str, format: str = "") -> Reading:
    """Read and check a text. format: yaml | json, or "" for what it looks like: a text that begins with { is JSON."""
    chosen = format or ("json" if text.lstrip().startswith("{") else "yaml")
    node, mistakes = (read_json if chosen == "json" else read_yaml)(text)
    if node is None:
        empty = Mistake(1, 1, "there is no workflow in this text; it begins with name: and steps:")
        return Reading(written=None, mistakes=mistakes or [empty])
    reader = _Reader(mistakes)
    spec = reader.struct(WorkflowSpec, node, ())
    found = [wrong for wrong in check(spec) if not reader.explains(wrong.path)]
    mistakes = ordered([*reader.mistakes, *placed(found, reader.places)])
    written = None if mistakes else Written(spec=spec, text=text, format=chosen, places=reader.places)
    return Reading(written=written, mistakes=mistakes)


def placed(found: Iterable[Wrong], places: Places) -> list[Mistake]:
    """What is wrong in a specification, with the line of the nearest value that the text has; line 0 without one."""
    return [Mistake(*_place(wrong.path, places), wrong.text) for wrong in found]


def ordered(mistakes: Iterable[Mistake]) -> list[Mistake]:
    """By line, each once, at most so many as somebody reads."""
    return sorted(set(mistakes))[:MISTAKES_MAX]


def _place(path: Path, places: Places) -> tuple[int, int]:
    for length in range(len(path), -1, -1):
        if path[:length] in places:
            return places[path[:length]]
    return 0, 0


class _Reader:
    """Converts nodes to structs; what cannot be converted is noted, and its field keeps its default."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        self.places: Places = {}
        self._wrong: set[Path] = set()

    def explains(self, path: Path) -> bool:
        """Whether a mistake noted here is the cause of what is wrong there."""
        above = any(path[:length] in self._wrong for length in range(len(path) + 1))
        return above or any(len(path) < 3 and wrong[: len(path)] == path for wrong in self._wrong)

    def struct(self, kind: Any, node: Node, path: Path) -> Any:
        """A struct from a mapping: each field by its type; unknown keys are refused by name."""
        self.places[path] = (node.line, node.column)
        fields = {field.name: field for field in msgspec.structs.fields(kind)}
        values = {name: _blank(field.type) for name, field in fields.items() if field.required}
        if node.kind != "mapping":
            self._note(node, path, f"{NOUNS[kind]} is written as keys with values, such as {_example(kind)}")
            return kind(**values)
        for name, (key, value) in node.pairs.items():
            if name in fields:
                values[name] = self._value(fields[name].type, value, (*path, name), key)
            else:
                text = f"{name!r} is not known here{meant(name, list(fields)) or '.'}"
                self._note(key, (*path, name), f"{text} What {NOUNS[kind]} may have: {', '.join(fields)}")
        for name, field in fields.items():
            if field.required and name not in node.pairs:
                self._note(node, (*path, name), f"{NOUNS[kind]} needs {name!r}")
        return kind(**values)

    def _value(self, kind: Any, node: Node, path: Path, key: Node) -> Any:
        """A value of a type that the structs use. `key` has the line when the value is empty."""
        where = key if node.is_null() and not node.text else node
        self.places[path] = (where.line, where.column)
        if node.is_null():
            self._note(where, path, f"{key.text!r} has no value; give it one, or leave it out")
            return _blank(kind)
        if kind == list[Edge]:
            return self._edges(node, path)
        if get_origin(kind) is list:
            return self._list(get_args(kind)[0], node, path)
        if get_origin(kind) is dict:
            return self._dictionary(node, path)
        if kind is RetryRule and node.kind == "scalar":
            return RetryRule(attempts_max=self._scalar(int, node, path))
        if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
            return self.struct(kind, node, path)
        return self._scalar(kind, node, path)

    def _list(self, kind: Any, node: Node, path: Path) -> list[Any]:
        if node.kind != "list":
            self._note(node, path, f"{path[-1]!r} is a list: begin each of its lines with a hyphen")
            return []
        return [self._value(kind, item, (*path, index), item) for index, item in enumerate(node.items)]

    def _dictionary(self, node: Node, path: Path) -> dict[str, str]:
        if node.kind != "mapping":
            self._note(node, path, f"{path[-1]!r} is written as names with values, such as LEVEL: 9")
            return {}
        return {name: self._value(str, value, (*path, name), key) for name, (key, value) in node.pairs.items()}

    def _edges(self, node: Node, path: Path) -> list[Edge]:
        """The edges of a step, in any of their forms."""
        found: list[Edge] = []
        for item in node.items if node.kind == "list" else [node]:
            found += self._edge(item, path, len(found))
        return found

    def _edge(self, node: Node, path: Path, index: int) -> list[Edge]:
        """The edges that one item stands for; the first has that index among those of the step."""
        place = (*path, index)
        if node.kind == "mapping" and "step" in node.pairs:
            return [self.struct(Edge, node, place)]
        if node.kind == "mapping" and node.pairs:
            return [self._short(key, value, (*path, index + n)) for n, (key, value) in enumerate(node.pairs.values())]
        self.places[place] = (node.line, node.column)
        if node.kind == "scalar" and not node.is_null():
            return [Edge(step=node.text)]
        self._note(node, place, "an edge is the name of a step, or a name with an outcome, such as dump: failed")
        return []

    def _short(self, key: Node, value: Node, path: Path) -> Edge:
        """`dump: failed`."""
        kind = msgspec.structs.fields(Edge)[1].type
        edge = Edge(step=key.text, on=self._value(kind, value, (*path, "on"), key))
        self.places[path] = (key.line, key.column)
        return edge

    def _scalar(self, kind: Any, node: Node, path: Path) -> Any:
        word = "an item" if isinstance(path[-1], int) else repr(path[-1])
        if node.kind != "scalar":
            self._note(node, path, f"{word} is one value, not a {node.kind}")
        elif kind is str:
            return node.text
        elif issubclass(kind, StrEnum):
            if node.text in list(kind):
                return kind(node.text)
            allowed = [str(one) for one in kind]
            text = f"{node.text!r} is none of {', '.join(allowed)}{meant(node.text, allowed)}"
            self._note(node, path, text)
        elif kind is bool:
            if node.plain and node.text.lower() in ("true", "false"):
                return node.text.lower() == "true"
            self._note(node, path, f"{word} is true or false, not {node.text[:40]!r}")
        elif node.plain and (_WHOLE if kind is int else _NUMBER).match(node.text):
            return kind(node.text)
        else:
            said = "a whole number" if kind is int else "a number"
            self._note(node, path, f"{word} is {said}, not {node.text[:40]!r}")
        return _blank(kind)

    def _note(self, node: Node, path: Path, text: str) -> None:
        self._wrong.add(path)
        self.mistakes.append(Mistake(node.line, node.column, text))


def _blank(kind: Any) -> Any:
    """A value of a type where the text gives none."""
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return next(iter(kind))
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return kind(**{field.name: _blank(field.type) for field in msgspec.structs.fields(kind) if field.required})
    return 1 if kind is int else (get_origin(kind) or kind)()


def _example(kind: Any) -> str:
    return {WorkflowSpec: "name: nightly", WorkflowStep: "name: dump", Edge: "dump: failed"}.get(
        kind, "attempts_max: 3"
    )
