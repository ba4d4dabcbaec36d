"""clock and model: the test offset, and run keys that both sides make alike."""

from __future__ import annotations

import pytest

from server.clock import OFFSET_VARIABLE, SystemClock
from server.core.run_keys import RunKey, next_attempt_key, occurrence_key, parse_key, request_key

NOON_US = 1_767_268_800_000_000  # 2026-01-01 12:00:00 UTC


def test_offset_moves_the_wall_clock_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour's offset moves UTC by an hour and leaves the monotonic clock alone."""
    true = SystemClock()
    monkeypatch.setenv(OFFSET_VARIABLE, "3600")
    wrong = SystemClock()
    before_us = true.utc_us()
    assert wrong.utc_us() >= before_us + 3_600_000_000
    assert wrong.monotonic() - true.monotonic() < 3600


def test_a_malformed_offset_ends_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error is not taken for 0."""
    monkeypatch.setenv(OFFSET_VARIABLE, "1h")
    with pytest.raises(SystemExit, match=OFFSET_VARIABLE):
        SystemClock()


def test_keys_come_apart_again() -> None:
    """A key holds job, schedule, instant and attempt, or job and request."""
    key = occurrence_key(7, 3, NOON_US)
    assert key == "j7.s3.20260101T120000Z.a1"
    assert parse_key(next_attempt_key(key)) == RunKey(7, 3, NOON_US, "", 2)
    assert parse_key(request_key(7, "ab-1")) == RunKey(7, None, None, "ab-1", 1)


@pytest.mark.parametrize("text", ["", "j1", "j1.s2.20260101T120000Z", "j1.rab/c.a1", "j1.s2.20260101T120000Z.a1\n"])
def test_what_is_no_key_is_refused(text: str) -> None:
    """Anything else raises, naming what came."""
    with pytest.raises(ValueError, match="run key"):
        parse_key(text)
