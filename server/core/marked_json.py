"""JSON as a tree in which everything knows its line and column. Pure; bounded like `marked_text`."""

from __future__ import annotations

import json
import re
from bisect import bisect_right

from server.core.marked_text import (
    DEPTH_MAX,
    Mistake,
    Node,
    Unreadable,
    check_characters,
    check_scalar,
    put,
    too_deep,
)

_BLANK = re.compile(r"[ \t\n\r]*")
_STRING = re.compile(r'"(?:[^"\\\x00-\x1f]|\\.)*"')
_WORD = re.compile(r"true|false|null|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def read_json(text: str) -> tuple[Node | None, list[Mistake]]:
    """The tree, None when the text cannot be read, and what is wrong."""
    reader = _Reader(text)
    try:
        check_characters(text)
        node = reader.value(1)
        reader.end()
    except Unreadable as error:
        return None, [*reader.mistakes, error.mistake]
    return node, reader.mistakes


class _Reader:
    def __init__(self, text: str) -> None:
        self.mistakes: list[Mistake] = []
        self._text = text
        self._at = 0
        self._lines = [0, *(match.end() for match in re.finditer("\n", text))]

    def value(self, level: int) -> Node:
        """The value that begins behind blanks; `level` is how deep it is."""
        sign = self._peek()
        line, column = self._place()
        if level > DEPTH_MAX:
            raise too_deep(line, column)
        if sign == "{":
            return self._mapping(Node("mapping", line, column), level)
        if sign == "[":
            return self._list(Node("list", line, column), level)
        if sign == '"':
            return self._string()
        word = _WORD.match(self._text, self._at)
        if word is None:
            found = repr(sign) if sign else "the end of the text"
            raise self._wrong(f"a value is missing: {found} is none. Text has double quotes in JSON")
        self._at = word.end()
        return Node("scalar", line, column, word.group(), plain=True)

    def end(self) -> None:
        """Nothing may follow."""
        if self._peek():
            raise self._wrong("something follows the end of the workflow")

    def _mapping(self, node: Node, level: int) -> Node:
        self._at += 1
        if self._peek() == "}":
            self._at += 1
            return node
        while True:
            if self._peek() != '"':
                raise self._wrong("a key in double quotes is missing; behind the last pair is no comma")
            key = self._string()
            self._expect(":", f"a colon is missing behind the key {key.text!r}")
            value = self.value(level + 1)
            node.add(value)
            put(node, key, value, self.mistakes)
            if self._next("}"):
                return node

    def _list(self, node: Node, level: int) -> Node:
        self._at += 1
        if self._peek() == "]":
            self._at += 1
            return node
        while True:
            value = self.value(level + 1)
            node.add(value)
            node.items.append(value)
            if self._next("]"):
                return node

    def _next(self, end: str) -> bool:
        """Past a comma: False; past the end: True."""
        if self._peek() == end:
            self._at += 1
            return True
        self._expect(",", f"a comma or {end} is missing")
        return False

    def _string(self) -> Node:
        line, column = self._place()
        found = _STRING.match(self._text, self._at)
        if found is None:
            raise self._wrong("the text in quotes that begins here has no end in this line; write \\n for a new line")
        try:
            value = json.loads(found.group())
        except ValueError:
            raise self._wrong("the text in quotes that begins here has an escape that JSON does not know") from None
        self._at = found.end()
        check_scalar(value, line, column)
        return Node("scalar", line, column, value)

    def _expect(self, sign: str, otherwise: str) -> None:
        if self._peek() != sign:
            raise self._wrong(otherwise)
        self._at += 1

    def _peek(self) -> str:
        """The next character behind blanks; "" at the end."""
        blank = _BLANK.match(self._text, self._at)
        self._at = blank.end() if blank else self._at
        return self._text[self._at : self._at + 1]

    def _place(self) -> tuple[int, int]:
        line = bisect_right(self._lines, self._at)
        return line, self._at - self._lines[line - 1] + 1

    def _wrong(self, text: str) -> Unreadable:
        line, column = self._place()
        return Unreadable(line, column, f"this is no JSON: {text}")
