"""The clients of the process tests: one line for one acknowledged write, whatever it took to get it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.process.api import Answer, Api, NoAnswer
from tests.process.writer import Log, Writer


class Scripted(Api):
    """A node that gives the answers it was told to, and remembers what it was asked with which key."""

    def __init__(self, host: str, *answers: int | None) -> None:
        super().__init__(host, 1, Path("ca.crt"))
        self.answers = list(answers)
        self.asked: list[tuple[str, str]] = []

    def request(self, method: str, path: str, body: Any = None, key: str = "") -> Answer:
        self.asked.append((body["name"], key))
        status = self.answers.pop(0)
        if status is None:
            raise NoAnswer("gone")
        return Answer(status, {"detail": "so"}, {"understudy-sequence": "7"})


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_write_is_repeated_at_both_nodes_with_its_key(tmp_path: Path) -> None:
    """No answer, not master, outcome unknown: the same write with the same key goes on until it is acknowledged."""
    first, second = Scripted("127.0.0.1", None, 504, 201), Scripted("127.0.0.2", 421, 503)
    Writer("w0", [first, second], "alpha", Log(tmp_path / "log")).write(1)
    assert set(first.asked + second.asked) == {("w0-000001", "key-w0-000001")}
    (line,) = lines(tmp_path / "log")
    assert (line["event"], line["name"], line["node"]) == ("acknowledged", "w0-000001", "127.0.0.1")
    assert (line["status"], line["sequence"], line["tries"]) == (201, 7, 5)


def test_a_refusal_is_kept_as_one(tmp_path: Path) -> None:
    """An answer that no repetition cures is written down as refused, never as acknowledged."""
    Writer("w0", [Scripted("127.0.0.1", 409)], "alpha", Log(tmp_path / "log")).write(1)
    (line,) = lines(tmp_path / "log")
    assert (line["event"], line["status"]) == ("refused", 409)
