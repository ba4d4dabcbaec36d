"""YAML as a tree in which everything knows its line and column. Pure.

Read event by event, not by recursion: bounded in size, in depth, and in what aliases stand for, before anything is
unfolded. A key that is there twice, an alias of nothing, a tag and a second document are mistakes with their line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import msgspec
import yaml

TEXT_MAX = 256 * 1024
DEPTH_MAX = 20
NODES_MAX = 20_000
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRANGE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Mistake(msgspec.Struct, frozen=True, order=True):
    """What is wrong in a text, and where: line and column count from 1; line 0 when there is no text."""

    line: int
    column: int
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.text}" if self.line else self.text


class Unreadable(Exception):
    """The text cannot be read any further."""

    def __init__(self, line: int, column: int, text: str) -> None:
        super().__init__(text)
        self.mistake = Mistake(line, column, text)


@dataclass(slots=True, eq=False)
class Node:
    """One value. kind: scalar | list | mapping. A `plain` scalar has no quotes: it may be a number, true or null.

    `pairs` are keys and values by the text of the key; `merged` those that come from another mapping by `<<`. `weight`
    and `depth` count what it unfolds to. Aliases of one anchor are the same node.
    """

    kind: str
    line: int
    column: int
    text: str = ""
    plain: bool = False
    items: list[Node] = field(default_factory=list)
    pairs: dict[str, tuple[Node, Node]] = field(default_factory=dict)
    merged: set[str] = field(default_factory=set)
    weight: int = 1
    depth: int = 1

    def add(self, other: Node) -> None:
        """Count one more value inside; raises Unreadable beyond the bounds."""
        self.weight += other.weight
        self.depth = max(self.depth, other.depth + 1)
        if self.weight > NODES_MAX:
            raise Unreadable(other.line, other.column, f"this stands for more than {NODES_MAX} values; write less")
        if self.depth > DEPTH_MAX:
            raise too_deep(other.line, other.column)

    def is_null(self) -> bool:
        """Whether there is no value."""
        return self.plain and self.text in ("", "~", "null", "Null", "NULL")


def too_deep(line: int, column: int) -> Unreadable:
    """The mistake of more levels than are read."""
    return Unreadable(line, column, f"this is nested too deep; at most {DEPTH_MAX} levels are read")


def check_characters(text: str) -> None:
    """Raise Unreadable for a text that is too long, or has a character that no text file has."""
    if len(text) > TEXT_MAX:
        raise Unreadable(1, 1, f"the text has {len(text)} characters; at most {TEXT_MAX} are read")
    strange = _STRANGE.search(text)
    if strange:
        line, column = place(text, strange.start())
        raise Unreadable(line, column, f"the character U+{ord(strange.group()):04X} is not allowed in a text")


def check_scalar(text: str, line: int, column: int) -> None:
    """Raise Unreadable for half of a character, which an escape can make."""
    if _SURROGATE.search(text):
        raise Unreadable(line, column, "an escape here stands for half of a character; write the character itself")


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1, of a character."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


def read_yaml(text: str) -> tuple[Node | None, list[Mistake]]:
    """The tree of the only document, None when it is empty or cannot be read, and what is wrong."""
    reader = _Reader()
    try:
        check_characters(text)
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except Unreadable as error:
        return None, [*reader.mistakes, error.mistake]
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = f"this is no YAML: {error.problem or error.context or 'it cannot be read'}"
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        return None, [*reader.mistakes, Mistake(line, column, said)]
    except yaml.YAMLError as error:
        return None, [*reader.mistakes, Mistake(1, 1, f"this is no YAML: {error}")]
    return reader.root, reader.mistakes


class _Reader:
    """Builds the tree from events; `open` are the lists and mappings that have not ended."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.mistakes: list[Mistake] = []
        self._open: list[Node] = []
        self._keys: list[Node | None] = []
        self._anchors: dict[str, Node] = {}
        self._named: list[str | None] = []
        self._documents = 0

    def take(self, event: Any) -> None:
        """One more event of yaml."""
        mark = event.start_mark
        line, column = mark.line + 1, mark.column + 1
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                raise Unreadable(line, column, "a second document begins here; write one workflow in a text")
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line, column)
        elif isinstance(event, yaml.NodeEvent):
            self._node(event, line, column)
        elif isinstance(event, yaml.CollectionEndEvent):
            node = self._open.pop()
            self._keys.pop()
            self._done(node, self._named.pop())

    def _node(self, event: Any, line: int, column: int) -> None:
        if event.tag:
            self.mistakes.append(Mistake(line, column, f"tags such as {event.tag} are not allowed"))
        if isinstance(event, yaml.ScalarEvent):
            check_scalar(event.value, line, column)
            node = Node("scalar", line, column, event.value, bool(event.implicit[0]) and not event.tag)
            self._done(node, event.anchor)
            return
        kind = "mapping" if isinstance(event, yaml.MappingStartEvent) else "list"
        if len(self._open) >= DEPTH_MAX:
            raise too_deep(line, column)
        self._open.append(Node(kind, line, column))
        self._keys.append(None)
        self._named.append(event.anchor)

    def _alias(self, anchor: str, line: int, column: int) -> None:
        node = self._anchors.get(anchor)
        if node is None:
            raise Unreadable(line, column, f"*{anchor} stands for nothing: no &{anchor} ends above it")
        self._done(node, None)

    def _done(self, node: Node, anchor: str | None) -> None:
        """A value is complete: it is a key, or belongs to what is open."""
        if anchor:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.add(node)
        if parent.kind == "list":
            parent.items.append(node)
        elif self._keys[-1] is None:
            self._keys[-1] = node
        else:
            self._pair(parent, self._keys[-1], node)
            self._keys[-1] = None

    def _pair(self, parent: Node, key: Node, value: Node) -> None:
        if key.kind != "scalar":
            self.mistakes.append(Mistake(key.line, key.column, "a key is a word, not a list or a mapping"))
        elif key.plain and key.text == "<<":
            self._merge(parent, value)
        else:
            put(parent, key, value, self.mistakes)

    def _merge(self, parent: Node, value: Node) -> None:
        """`<<`: what one mapping, or a list of them, says and this mapping does not say itself, above or below."""
        for source in value.items if value.kind == "list" else [value]:
            if source.kind != "mapping":
                self.mistakes.append(Mistake(source.line, source.column, "<< takes a mapping, or a list of mappings"))
                continue
            for name, pair in source.pairs.items():
                if name not in parent.pairs:
                    parent.pairs[name] = pair
                    parent.merged.add(name)
                    parent.add(pair[1])


def put(parent: Node, key: Node, value: Node, mistakes: list[Mistake]) -> None:
    """Give a mapping a pair, and note a key that it has already; one that was merged gives way."""
    if key.text in parent.merged:
        parent.merged.discard(key.text)
    elif key.text in parent.pairs:
        first = parent.pairs[key.text][0].line
        mistakes.append(Mistake(key.line, key.column, f"{key.text!r} is there twice; the first is in line {first}"))
    parent.pairs[key.text] = (key, value)
