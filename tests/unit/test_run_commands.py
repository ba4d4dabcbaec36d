"""`understudy run`: what its commands do when the node that answers is not the one that was asked first."""

from __future__ import annotations

from typing import Any

import pytest

from scripts.client import FAILED, CommandError
from scripts.commands import runs


class Late:
    """Stands in for the `Asker`: a standby that knows a run from the third question on."""

    def __init__(self, code: str = "not_found") -> None:
        self.client = self
        self.asked = 0
        self._code = code

    def get(self, path: str) -> dict[str, Any]:
        """Answer as the node does."""
        self.asked += 1
        if self.asked < 3:
            raise CommandError(FAILED, "There is no run 7.", {"code": self._code})
        return {"number": 7, "state": "succeeded"}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No pause between questions."""
    monkeypatch.setattr(runs, "POLL_S", 0.0)


def test_a_submitted_run_is_waited_for_until_the_standby_has_applied_it() -> None:
    """After a swap the node that answers may be the new standby: a run that it lacks is asked for again."""
    late = Late()
    assert runs.await_end(late, 7, False, 0.0)["state"] == "succeeded"  # type: ignore[arg-type]  # a stand-in
    assert late.asked == 3


def test_another_refusal_is_told_at_once() -> None:
    """Only a missing run is waited for."""
    late = Late("forbidden")
    with pytest.raises(CommandError):
        runs.await_end(late, 7, False, 0.0)  # type: ignore[arg-type]  # a stand-in
    assert late.asked == 1


def test_a_run_that_never_comes_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The patience has an end."""
    monkeypatch.setattr(runs, "APPLIED_S", -1.0)
    with pytest.raises(CommandError, match="no run 7"):
        runs.await_end(Late(), 7, False, 0.0)  # type: ignore[arg-type]  # a stand-in


def test_what_a_run_has_not_is_no_word_of_a_program() -> None:
    """`run show` says - for what is not there yet, and false and 0 as they are."""
    found = {"number": 7, "exit_code": None, "reason": "", "output_bytes": 0, "cut": False}
    assert runs.lines_of(found) == ["number: 7", "exit_code: -", "reason: -", "output_bytes: 0", "cut: False"]
