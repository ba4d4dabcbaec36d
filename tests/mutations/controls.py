"""The table of controls: a place in a file, what stands there without the control, and the tests that then fail.

It is written in the files `*.toml` beside this one. `old` stands once in `file`; `new` takes its place. Each of `tests`
(below tests/, with `::` and a name) must fail then. A control that is held twice names the other places in `more`.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Control:
    """One of them."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    more: tuple[tuple[str, str, str], ...] = ()

    @property
    def places(self) -> tuple[tuple[str, str, str], ...]:
        """Each file with what goes and what comes."""
        return ((self.file, self.old, self.new), *self.more)

    @property
    def functions(self) -> set[str]:
        """The tests as documents name them: without their parameters."""
        return {f"tests/{test.partition('[')[0]}" for test in self.tests}


def read() -> tuple[Control, ...]:
    """All of them, in the order of the files."""
    found = []
    for file in sorted(HERE.glob("*.toml")):
        for given in tomllib.loads(file.read_text(encoding="utf-8"))["control"]:
            more = tuple((one[0], one[1], one[2]) for one in given.pop("more", ()))
            found.append(Control(**{**given, "tests": tuple(given["tests"])}, more=more))
    return tuple(found)
