"""Patterns that are looked for in lines of output, in time linear in their length whatever they are. Pure, by bytes.

The syntax is the common part of regular expressions: literals, `.`, `[a-z]`, `[^...]`, `\\d \\w \\s` and their
opposites, `^ $` of a line, `( )`, `(?: )`, `|`, `* + ?`, `{m,n}`, and `(?i)` in front. What needs backtracking is
refused by name. A pattern becomes states; which of them are possible is computed once for each set of them and byte.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

PATTERN_CHARS_MAX = 500
NODES_MAX = 500
DEPTH_MAX = 20
SETS_MAX = 500
"""Sets of states remembered at once; then it begins anew."""
_SETS = {
    "d": frozenset(b"0123456789"),
    "s": frozenset(b" \t\r\f\v"),
    "w": frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"),
}
_ALL = frozenset(range(256)) - {10}
_CONTROL = {"t": 9, "r": 13, "f": 12, "v": 11}
Tree = tuple[object, ...]
"""("set", bytes) | ("chain", trees) | ("either", trees) | ("repeat", tree, least, most or None) | ("line", which)."""


class BadPattern(ValueError):
    """The pattern is none; the text says why, and where."""


class _Reader:
    def __init__(self, text: str) -> None:
        self.folds = text.startswith("(?i)")
        self._text = text
        self._at = 4 if self.folds else 0
        self._depth = 0

    def whole(self) -> Tree:
        tree = self._either()
        if self._at < len(self._text):
            self._refuse("there is a ) without its (")
        return tree

    def _refuse(self, why: str) -> NoReturn:
        raise BadPattern(f"{why}, at character {self._at + 1}")

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        if not char:
            self._refuse("it ends too early")
        self._at += 1
        return char

    def _either(self) -> Tree:
        branches = [self._chain()]
        while self._peek() == "|":
            self._at += 1
            branches.append(self._chain())
        return branches[0] if len(branches) == 1 else ("either", branches)

    def _chain(self) -> Tree:
        parts: list[Tree] = []
        while self._peek() not in ("", "|", ")"):
            parts.append(self._repeated(self._one()))
        return ("chain", parts)

    def _repeated(self, tree: Tree) -> Tree:
        while self._peek() and self._peek() in "*+?{":
            char = self._take()
            if char == "{":
                least, most = self._bounds()
            else:
                least, most = {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
            if self._peek() == "?":  # a lazy repetition finds the same lines
                self._at += 1
            tree = ("repeat", tree, least, most)
        return tree

    def _bounds(self) -> tuple[int, int | None]:
        end = self._text.find("}", self._at)
        least, comma, most = self._text[self._at : max(end, self._at)].partition(",")
        if end < 0 or not least.isdigit() or (most and not most.isdigit()):
            self._refuse(r"a { begins a repetition like {2} or {2,5}; write \{ for the character")
        self._at = end + 1
        low, high = int(least), int(most) if most else (None if comma else int(least))
        if low > NODES_MAX or (high is not None and not low <= high <= NODES_MAX):
            self._refuse("the bounds of a repetition are not in order, or too large")
        return low, high

    def _one(self) -> Tree:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return ("set", self._class())
        if char == ".":
            return ("set", _ALL)
        if char in "^$":
            return ("line", char)
        if char == "\\":
            return ("set", self._escape())
        if char in "*+?{":
            self._at -= 1
            self._refuse(f"there is nothing before {char} to repeat")
        return ("chain", [("set", self._fold({byte})) for byte in char.encode()])

    def _group(self) -> Tree:
        if self._peek() == "?":
            if self._text[self._at : self._at + 2] != "?:":
                self._refuse("of groups with (? only (?: is known, and (?i) in front")
            self._at += 2
        self._depth += 1
        if self._depth > DEPTH_MAX:
            self._refuse(f"there are more than {DEPTH_MAX} groups in one another")
        tree = self._either()
        if self._take() != ")":
            self._refuse("a ( has no )")
        self._depth -= 1
        return tree

    def _escape(self) -> frozenset[int]:
        char = self._take()
        if char.lower() in _SETS:
            return _SETS[char] if char in _SETS else _ALL - _SETS[char.lower()]
        if char in _CONTROL:
            return frozenset({_CONTROL[char]})
        if char.isalnum() or not char.isascii():
            self._refuse(f"\\{char} is not known here")
        return frozenset({ord(char)})

    def _class(self) -> frozenset[int]:
        is_not = self._peek() == "^"
        self._at += is_not
        found: set[int] = set()
        is_first = True
        while is_first or self._peek() != "]":
            is_first = False
            low = self._member()
            if len(low) == 1 and self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("]", ""):
                self._at += 1
                high = self._member()
                if len(high) != 1 or max(high) < max(low):
                    self._refuse("a range in [ ] is not in order")
                low = frozenset(range(max(low), max(high) + 1))
            found |= low
        self._at += 1
        folded = self._fold(found)
        return _ALL - folded if is_not else folded

    def _fold(self, chosen: set[int]) -> frozenset[int]:
        text = bytes(chosen)
        return frozenset(text.lower() + text.upper()) if self.folds else frozenset(text)

    def _member(self) -> frozenset[int]:
        char = self._take()
        if char == "\\":
            return self._escape()
        if not char.isascii():
            self._refuse("in [ ] only ASCII characters are known")
        return frozenset({ord(char)})


_EDGE = -1
_MATCH = -2
_BEGIN, _END = -3, -4


class LinePattern:
    """A compiled pattern. Raises BadPattern. `seen_in` may be called often; not from several threads at once."""

    def __init__(self, text: str) -> None:
        if not 0 < len(text) <= PATTERN_CHARS_MAX:
            raise BadPattern(f"it must have 1 to {PATTERN_CHARS_MAX} characters")
        reader = _Reader(text)
        self._kinds: list[int] = []
        self._made = 0
        self._sets: list[frozenset[int]] = []
        self._next: list[tuple[int, ...]] = []
        self._first = self._compile(reader.whole(), self._node(_MATCH))
        self._forget()

    def seen_in(self, data: bytes) -> bool:
        """Whether a line of `data` holds it; a line ends with a line feed, a carriage return before it aside."""
        return any(self._seen_in_line(line.removesuffix(b"\r")) for line in data.split(b"\n"))

    def _seen_in_line(self, line: bytes) -> bool:
        state = self._begin
        for byte in line:
            if state.is_match:
                return True
            following = state.after[byte]
            state = following if following is not None else self._step(state, byte)
        return state.is_match or state.is_match_at_end

    def _node(self, kind: int, following: tuple[int, ...] = (), chosen: frozenset[int] = frozenset()) -> int:
        if len(self._kinds) >= NODES_MAX:
            raise BadPattern(f"it stands for more than {NODES_MAX} characters: its repetitions are too large")
        self._kinds.append(kind)
        self._next.append(following)
        self._sets.append(chosen)
        return len(self._kinds) - 1

    def _compile(self, tree: Tree, then: int) -> int:
        """The node at which `tree`, followed by the node `then`, begins."""
        self._made += 1
        if self._made > 10 * NODES_MAX:
            raise BadPattern("its repetitions are too large")
        match tree:
            case ("set", frozenset() as chosen):
                return self._node(0, (then,), chosen)
            case ("line", str() as which):
                return self._node(_BEGIN if which == "^" else _END, (then,))
            case ("chain", list() as parts):
                for part in reversed(parts):
                    then = self._compile(part, then)
                return then
            case ("either", list() as branches):
                return self._node(_EDGE, tuple(self._compile(branch, then) for branch in branches))
            case ("repeat", tuple() as part, int() as least, most):
                return self._repeat(part, least, most if isinstance(most, int) else None, then)
        raise AssertionError("the reader makes no other tree")

    def _repeat(self, part: Tree, least: int, most: int | None, then: int) -> int:
        if most is None:
            again = self._node(_EDGE)
            self._next[again] = (self._compile(part, again), then)
            then = again
        for _ in range((most or least) - least if most is not None else 0):
            then = self._node(_EDGE, (self._compile(part, then), then))
        for _ in range(least):
            then = self._compile(part, then)
        return then

    def _forget(self) -> None:
        self._known: dict[frozenset[int], _State] = {}
        self._begin = self._state(self._reach((self._first,), {_BEGIN}), True)

    def _reach(self, nodes: Iterable[int], passed: set[int]) -> frozenset[int]:
        """All nodes that these lead to without a byte, through the conditions in `passed`."""
        found: set[int] = set()
        ahead = list(nodes)
        while ahead:
            node = ahead.pop()
            if node not in found:
                found.add(node)
                if self._kinds[node] == _EDGE or self._kinds[node] in passed:
                    ahead.extend(self._next[node])
        return frozenset(found)

    def _state(self, nodes: frozenset[int], is_begin: bool) -> _State:
        at_end = self._reach(nodes, {_END, _BEGIN} if is_begin else {_END})
        return _State(nodes, self._has_match(nodes), self._has_match(at_end))

    def _has_match(self, nodes: frozenset[int]) -> bool:
        return any(self._kinds[node] == _MATCH for node in nodes)

    def _step(self, state: _State, byte: int) -> _State:
        ahead = [self._next[node][0] for node in state.nodes if byte in self._sets[node]]
        nodes = self._reach([*ahead, self._first], set())
        following = self._known.get(nodes)
        if following is None:
            if len(self._known) >= SETS_MAX:
                self._forget()
            following = self._known[nodes] = self._state(nodes, False)
        state.after[byte] = following
        return following


class _State:
    """Which nodes are possible after what was read of a line, and what follows each byte, as far as it is known."""

    __slots__ = ("after", "is_match", "is_match_at_end", "nodes")

    def __init__(self, nodes: frozenset[int], is_match: bool, is_match_at_end: bool) -> None:
        self.nodes = nodes
        self.is_match = is_match
        self.is_match_at_end = is_match_at_end
        self.after: list[_State | None] = [None] * 256
