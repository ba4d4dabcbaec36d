"""Patterns of output: what they find, held to the standard library's, and that nothing makes them slow."""

from __future__ import annotations

import random
import re

import pytest

from server.core import line_patterns
from server.core.line_patterns import BadPattern, LinePattern

PIECES = ("a", "b", ".", "[ab]", "[^a]", "^", "$", "(a|b)", "(?:ab|)", r"\d", r"\w", r"\s", r"\.", "a*", "(ab)+", "b?")
TAILS = ("", "*", "+", "?", "{2}", "{1,3}", "{2,}", "+?")


def test_it_finds_what_the_standard_library_finds() -> None:
    """3,000 random patterns over random lines: the same answer, anchors, repetitions and case folding included."""
    chance = random.Random(7)
    found = 0
    for _ in range(3000):
        parts = [chance.choice(PIECES) for _ in range(chance.randint(1, 4))]
        text = "".join(p if p in "^$" else f"(?:{p}){chance.choice(TAILS)}" for p in parts)
        text = chance.choice(("", "", "(?i)")) + chance.choice((text, f"{text}|{chance.choice(PIECES)}c"))
        line = "".join(chance.choice("abcAB 1.") for _ in range(chance.randint(0, 7)))
        expected = re.search(text.encode(), line.encode()) is not None
        assert LinePattern(text).seen_in(line.encode()) == expected, (text, line)
        found += expected
    assert 500 < found < 2800


def test_lines_are_looked_at_one_by_one() -> None:
    """`^` and `$` are those of a line, which may end with a carriage return; nothing spans two lines."""
    assert LinePattern("^ERROR$").seen_in(b"ok\nERROR\r\nend")
    assert not LinePattern("ok.*end").seen_in(b"ok\nend")
    assert not LinePattern("[^x]end").seen_in(b"\nend")
    assert LinePattern("^$").seen_in(b"a\n\nb")
    assert LinePattern("größe").seen_in("die größe".encode())


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "1 to 500"),
        ("x" * 501, "1 to 500"),
        ("(a", "too early"),
        ("a)", "without its"),
        ("[a", "too early"),
        ("*a", "nothing before"),
        ("a{x}", "repetition like"),
        ("a{3,1}", "not in order"),
        ("[z-a]", "not in order"),
        (r"(a)\1", "not known"),
        ("(?=a)", "only (?:"),
        ("[é]", "ASCII"),
        ("(a{400}){400}", "too large"),
        ("(){500}{500}{500}", "too large"),
        ("(" * 21 + ")" * 21, "in one another"),
    ],
)
def test_what_is_no_pattern_is_refused_in_words(text: str, why: str) -> None:
    """Each names what is wrong; none of them takes long or exhausts the stack."""
    with pytest.raises(BadPattern, match=re.escape(why)):
        LinePattern(text)


def test_what_takes_others_for_ever_is_looked_at_once_for_each_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pattern that backtracks exponentially: steps computed are no more than bytes, and sets stay within bounds."""
    pattern = LinePattern("(a|b)*a(a|b){12}c(a+)+$")
    steps = 0
    step = LinePattern._step

    def counted(self: LinePattern, state: line_patterns._State, byte: int) -> line_patterns._State:
        nonlocal steps
        steps += 1
        assert len(self._known) <= line_patterns.SETS_MAX
        return step(self, state, byte)

    monkeypatch.setattr(LinePattern, "_step", counted)
    data = bytes(random.Random(1).choice(b"ab") for _ in range(5000))
    assert not pattern.seen_in(data)
    assert 0 < steps <= len(data)
