"""core.schedule against an independent oracle that steps through real minutes, and spans that come back whole."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from server.core.model import DAY_US, SECOND_US
from server.core.schedule import compress, expand
from server.core.timing import Timing, instants
from tests.oracles.cron_oracle import oracle

# Days on which the clocks move: zone, a UTC day before the change.
CHANGES = [
    ("Europe/Berlin", datetime(2026, 3, 28)),
    ("Europe/Berlin", datetime(2026, 10, 24)),
    ("America/New_York", datetime(2026, 3, 7)),
    ("America/New_York", datetime(2026, 10, 31)),
    ("Australia/Lord_Howe", datetime(2026, 10, 3)),
    ("Australia/Lord_Howe", datetime(2026, 4, 4)),
    ("America/Santiago", datetime(2026, 9, 5)),
    ("Africa/Cairo", datetime(2026, 4, 23)),
    ("Asia/Kathmandu", datetime(2026, 1, 1)),
    ("UTC", datetime(2026, 6, 1)),
]

increasing = st.lists(st.integers(1, 10**6), max_size=60).map(
    lambda gaps: [sum(gaps[: i + 1]) * SECOND_US for i in range(len(gaps))]
)
fixed = st.builds(
    "{} {} * * {}".format, st.integers(0, 59), st.integers(0, 23), st.sampled_from(["*", "0", "1-5", "6"])
)
listed = st.builds("{},{} {} * * *".format, st.integers(0, 29), st.integers(30, 59), st.integers(0, 4))
flowing = st.sampled_from(["*/7 * * * *", "* 2 * * *", "*/15 1-3 * * *", "5 * * * *", "0 */2 * * *"])


@settings(max_examples=60)
@given(st.one_of(fixed, listed, flowing), st.sampled_from(CHANGES))
def test_instants_are_those_of_the_oracle(cron: str, change: tuple[str, datetime]) -> None:
    """Around every kind of change of the clocks, instants are those that stepping through minutes finds."""
    zone, start = change
    after_us = int(start.replace(tzinfo=UTC).timestamp()) * SECOND_US
    found = list(instants(Timing(cron, zone), after_us, after_us + 3 * DAY_US))
    expected = [int(t.replace(tzinfo=UTC).timestamp()) * SECOND_US for t in oracle(cron, zone, start, 3)]
    assert found == expected


@settings(max_examples=60)
@given(st.one_of(fixed, listed, flowing), st.sampled_from(CHANGES), st.integers(0, 2 * 24 * 3600))
def test_asking_later_gives_the_rest(cron: str, change: tuple[str, datetime], later_s: int) -> None:
    """Instants increase strictly, and asked from any later time they are the same ones: no instant twice or lost."""
    zone, start = change
    after_us = int(start.replace(tzinfo=UTC).timestamp()) * SECOND_US
    until_us = after_us + 3 * DAY_US
    found = list(instants(Timing(cron, zone), after_us, until_us))
    assert all(a < b for a, b in pairwise(found))
    cut_us = after_us + later_s * SECOND_US
    assert list(instants(Timing(cron, zone), cut_us, until_us)) == [t for t in found if t > cut_us]


@given(increasing)
def test_spans_come_back_whole(found: list[int]) -> None:
    """Expanding what was compressed gives the same instants, whatever they are."""
    assert list(expand(compress(found))) == found


@given(st.integers(1, 10**6), st.integers(1, 10**6), st.integers(2, 500))
def test_even_steps_are_one_span(first: int, step: int, count: int) -> None:
    """Instants at even distances are a single span."""
    found = [first + k * step for k in range(count)]
    assert compress(found) == [(first, step, count)]
