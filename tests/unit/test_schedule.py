"""core.timing: instants of cron in a zone; core.schedule: spans."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from server.core.forecast import first
from server.core.model import DAY_US, SECOND_US
from server.core.schedule import NICKNAMES, BadSchedule, check, compress, expand
from server.core.timing import Timing, instants, next_instant


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US


def times(cron: str, zone: str, after: str, until: str, limit: int | None = None) -> list[str]:
    found = instants(Timing(cron, zone), at(after), at(until), limit)
    return [datetime.fromtimestamp(t // SECOND_US, UTC).strftime("%m-%dT%H:%M:%S") for t in found]


def test_gap_runs_at_the_next_valid_minute() -> None:
    """02:30 does not exist in Berlin on 29 March 2026: it is run at 03:00 local, 01:00 UTC."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T12:00") == [
        "03-29T01:00:00",
        "03-30T00:30:00",
    ]


def test_gap_of_a_six_field_expression() -> None:
    """The rule of the gap holds for expressions with seconds too."""
    found = times("15 30 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00")
    assert found == ["03-29T01:00:00"]


def test_overlap_runs_once() -> None:
    """02:30 comes twice in Berlin on 25 October 2026: it is run the first time only."""
    found = times("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T12:00")
    assert found == ["10-25T00:30:00", "10-26T01:30:00"]


def test_overlap_is_not_run_again_when_asked_from_within_it() -> None:
    """Asked between the two 02:30s, the next one is that of the next day."""
    assert times("30 2 * * *", "Europe/Berlin", "2026-10-25T00:45", "2026-10-26T12:00") == ["10-26T01:30:00"]


def test_several_times_in_the_gap_are_one_run() -> None:
    """Two times that the clocks skip fall on the same next valid minute, which is one instant."""
    found = times("15,45 2 * * *", "Europe/Berlin", "2026-03-28T12:00", "2026-03-29T12:00")
    assert found == ["03-29T01:00:00"]


def test_star_follows_real_time_through_the_overlap() -> None:
    """Every 20 minutes stays every 20 minutes when the clocks are set back."""
    found = times("*/20 * * * *", "Europe/Berlin", "2026-10-25T00:00", "2026-10-25T02:00")
    assert found == [f"10-25T{h}:00" for h in ("00:20", "00:40", "01:00", "01:20", "01:40", "02:00")]


def test_half_hour_zone() -> None:
    """Lord Howe moves by half an hour: every minute of its hour 2 that exists is run."""
    found = times("* 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00", "2026-10-03T20:00")
    assert len(found) == 30
    assert found[0] == "10-03T15:30:00"


@pytest.mark.parametrize("name", sorted(NICKNAMES))
def test_nickname_is_its_expression(name: str) -> None:
    """@daily and the like mean what crontab(5) says."""
    span = (at("2026-01-01T00:00") - 1, at("2027-02-01T00:00"))
    assert list(instants(Timing(name), *span, 50)) == list(instants(Timing(NICKNAMES[name]), *span, 50))


@pytest.mark.parametrize(
    ("cron", "zone", "said"),
    [
        ("61 * * * *", "UTC", "field minute is wrong: '61'"),
        ("0 24 * * *", "UTC", "field hour is wrong: '24'"),
        ("99 0 0 * * *", "UTC", "field second is wrong: '99'"),
        ("0 0 * * Funday", "UTC", "field day-of-week is wrong: 'Funday'"),
        ("0 0 31 feb *", "UTC", "field day-of-month is wrong: '31'"),
        ("* * * *", "UTC", "5 or 6 fields"),
        ("@reboot", "UTC", "nickname @reboot is not known"),
        ("* * * * *", "Europe/Berln", "no time zone 'Europe/Berln'"),
        ("* * * * *", "../etc/passwd", "no time zone"),
        ("* * * * *", "", "no time zone"),
    ],
)
def test_errors_name_the_field(cron: str, zone: str, said: str) -> None:
    """What is wrong is said beside the text that is wrong."""
    with pytest.raises(BadSchedule) as caught:
        check(cron, zone)
    assert said in str(caught.value)


def test_next_instant_finds_a_leap_day() -> None:
    """29 February is found from the day after the last one."""
    found = next_instant(Timing("0 0 29 2 *"), at("2024-02-29T00:00"))
    assert found == at("2028-02-29T00:00")


def test_a_week_of_minutes_is_one_span() -> None:
    """A standing order of every minute for a week is a single (first, step, count)."""
    start = at("2026-01-01T00:00")
    found = list(instants(Timing("* * * * *"), start, start + 7 * DAY_US))
    assert compress(found) == [(start + 60 * SECOND_US, 60 * SECOND_US, 7 * 24 * 60)]


def test_working_days_are_few_spans() -> None:
    """Nine o'clock on weekdays for four weeks: spans of five days, and they expand to the same."""
    found = list(instants(Timing("0 9 * * 1-5"), at("2026-01-04T00:00"), at("2026-02-01T00:00")))
    spans = compress(found)
    assert [count for _, _, count in spans] == [5, 5, 5, 5]
    assert list(expand(spans)) == found


def test_forecast_is_in_order_and_bounded() -> None:
    """Several schedules are merged by time; one that cannot be read is left out."""
    schedules = [(1, Timing("0 * * * *")), (2, Timing("30 * * * *")), (3, Timing("bad"))]
    found = first(schedules, at("2026-01-01T00:00"), at("2026-01-02T00:00"), 3)
    expected = [(at("2026-01-01T00:30"), 2), (at("2026-01-01T01:00"), 1), (at("2026-01-01T01:30"), 2)]
    assert found == expected
