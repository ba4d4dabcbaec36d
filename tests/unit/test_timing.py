"""core.timing: each rule of gap, overlap, calendar, window and jitter, by tables that were written by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise

import pytest

from server.core import calendar_days
from server.core.forecast import forecast
from server.core.model import DAY_US, HOUR_US, SECOND_US
from server.core.schedule import BadSchedule
from server.core.timing import Timing, TimingRules, blacked_out, instants, next_instant, wrong
from server.core.when import When, read_line, sentence, write_line

# zone, expression, the span in UTC, and what is due in it for gap next | gap skip.
GAPS = [
    ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", "2026-03-30T12:00",
     ["03-29T01:00", "03-30T00:30"], ["03-30T00:30"]),
    ("Europe/Berlin", "15,45 2 * * *", "2026-03-28T12:00", "2026-03-29T12:00", ["03-29T01:00"], []),
    ("Europe/Berlin", "0 3 * * *", "2026-03-28T12:00", "2026-03-29T12:00", ["03-29T01:00"], ["03-29T01:00"]),
    ("Europe/Berlin", "*/30 2 * * *", "2026-03-28T12:00", "2026-03-29T12:00", [], []),
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02T15:00", "2026-10-04T15:30",
     ["10-02T15:45", "10-03T15:30", "10-04T15:15"], ["10-02T15:45", "10-04T15:15"]),
    ("Africa/Cairo", "0 0 * * *", "2026-04-22T20:00", "2026-04-24T22:00",
     ["04-22T22:00", "04-23T22:00", "04-24T21:00"], ["04-22T22:00", "04-24T21:00"]),
    ("America/Havana", "30 0 * * *", "2026-03-07T04:00", "2026-03-09T05:00",
     ["03-07T05:30", "03-08T05:00", "03-09T04:30"], ["03-07T05:30", "03-09T04:30"]),
    ("Antarctica/Troll", "30 2 * * *", "2026-03-28T00:00", "2026-03-30T02:00",
     ["03-28T02:30", "03-29T01:00", "03-30T00:30"], ["03-28T02:30", "03-30T00:30"]),
]  # fmt: skip
# The same for overlap once | twice.
OVERLAPS = [
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", "2026-10-26T12:00",
     ["10-25T00:30", "10-26T01:30"], ["10-25T00:30", "10-25T01:30", "10-26T01:30"]),
    ("Europe/Berlin", "0,30 2 * * *", "2026-10-24T12:00", "2026-10-25T12:00",
     ["10-25T00:00", "10-25T00:30"], ["10-25T00:00", "10-25T00:30", "10-25T01:00", "10-25T01:30"]),
    ("Europe/Berlin", "*/30 2 * * *", "2026-10-24T12:00", "2026-10-25T12:00",
     ["10-25T00:00", "10-25T00:30", "10-25T01:00", "10-25T01:30"],
     ["10-25T00:00", "10-25T00:30", "10-25T01:00", "10-25T01:30"]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-03T12:00", "2026-04-05T16:00",
     ["04-03T14:45", "04-04T14:45", "04-05T15:15"], ["04-03T14:45", "04-04T14:45", "04-04T15:15", "04-05T15:15"]),
    ("Africa/Cairo", "30 23 * * *", "2026-10-29T00:00", "2026-10-31T00:00",
     ["10-29T20:30", "10-30T21:30"], ["10-29T20:30", "10-29T21:30", "10-30T21:30"]),
    ("America/Havana", "30 0 * * *", "2026-10-31T00:00", "2026-11-02T12:00",
     ["10-31T04:30", "11-01T04:30", "11-02T05:30"], ["10-31T04:30", "11-01T04:30", "11-01T05:30", "11-02T05:30"]),
    ("Antarctica/Troll", "30 1 * * *", "2026-10-24T12:00", "2026-10-26T12:00",
     ["10-24T23:30", "10-26T01:30"], ["10-24T23:30", "10-25T01:30", "10-26T01:30"]),
]  # fmt: skip
# line, what is due from 2026-12-01 on in UTC; DE marks weekends, 24 to 26 December and 1 January.
FORMS = [
    ("2nd Tuesday at 06:00 Europe/Berlin", ["12-08T05:00", "01-12T05:00"]),
    ("last Friday at 18:00", ["12-25T18:00", "01-29T18:00"]),
    ("2nd last Friday of Dec at 18:00", ["12-18T18:00", "12-24T18:00"]),
    ("1st,3rd Monday of Jan at 08:00, 20:00", ["01-04T08:00", "01-04T20:00", "01-18T08:00"]),
    ("5th Thursday at 12:00", ["12-31T12:00", "04-29T12:00"]),
    ("3rd working day at 07:00", ["12-03T07:00", "01-05T07:00"]),
    ("1st working day at 07:00; not on DE", ["12-01T07:00", "01-04T07:00"]),
    ("last working day of Dec at 23:59:30; not on DE", ["12-31T23:59"]),
    ("last day of Feb at 01:00", ["02-28T01:00", "02-29T01:00"]),
    ("every 36 hours from 2026-12-01 00:00", ["12-01T00:00", "12-02T12:00", "12-04T00:00"]),
    ("every 25 minutes from 2026-12-02 10:05", ["12-02T10:05", "12-02T10:30", "12-02T10:55"]),
    ("every 10 days from 2026-11-25 06:00 Europe/Berlin", ["12-05T05:00", "12-15T05:00"]),
    ("every 2 weeks from 2026-12-25 09:00; not on DE", ["01-08T09:00", "01-22T09:00"]),
    ("on 2026-12-24 10:00, 2026-12-03 08:30:15", ["12-03T08:30", "12-24T10:00"]),
    ("0 6 24 12 *; not on DE; else next day", ["12-28T06:00", "12-27T06:00"]),
    ("0 6 24 12 *; not on DE; else previous day", ["12-23T06:00", "12-23T06:00"]),
    ("0 6 25 12 *; not on DE; else nearest day", ["12-23T06:00", "12-27T06:00"]),
    ("0 6 * * *; only on DE", ["12-05T06:00", "12-06T06:00", "12-12T06:00"]),
    ("0 */6 * * *; except daily 05:00-07:00", ["12-01T00:00", "12-01T12:00", "12-01T18:00"]),
    ("0 */6 * * *; wait out daily 05:00-07:30", ["12-01T00:00", "12-01T07:30", "12-01T12:00"]),
    ("0 * * * *; wait out 2026-12-01 - 2026-12-02, Thu 00:00-02:15", ["12-03T02:15", "12-03T03:00"]),
    ("0 12 * * 4-7; except Fri 18:00 - Mon 06:00", ["12-03T12:00", "12-04T12:00", "12-10T12:00"]),
]  # fmt: skip
DE = calendar_days.read(["Saturday", "Sunday", "12-24", "12-25 # Christmas", "12-26", "01-01"], [], "DE")


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * SECOND_US


def said(found: list[int]) -> list[str]:
    return [datetime.fromtimestamp(t // SECOND_US, UTC).strftime("%m-%dT%H:%M") for t in found]


def of_line(line: str, seed: int = 0) -> Timing:
    when = read_line(line, "UTC")
    assert when.wrong() == {}
    return Timing(when.cron, when.zone, when.rules, DE if when.calendar else None, seed)


@pytest.mark.parametrize(("zone", "cron", "after", "until", "following", "skipped"), GAPS)
def test_gap(zone: str, cron: str, after: str, until: str, following: list[str], skipped: list[str]) -> None:
    """A time that the clocks skip is due at the next valid minute, or left out; what follows real time is not moved."""
    for gap, expected in (("next", following), ("skip", skipped)):
        timing = Timing(cron, zone, TimingRules(gap=gap))
        assert said(list(instants(timing, at(after), at(until)))) == expected, gap


@pytest.mark.parametrize(("zone", "cron", "after", "until", "once", "twice"), OVERLAPS)
def test_overlap(zone: str, cron: str, after: str, until: str, once: list[str], twice: list[str]) -> None:
    """A time that the clocks repeat is due the first time, or both times, in order."""
    for overlap, expected in (("once", once), ("twice", twice)):
        timing = Timing(cron, zone, TimingRules(overlap=overlap))
        assert said(list(instants(timing, at(after), at(until)))) == expected, overlap


@pytest.mark.parametrize(("line", "expected"), FORMS)
def test_form(line: str, expected: list[str]) -> None:
    """Each form of expression and each clause is due when the table says."""
    found = list(instants(of_line(line), at("2026-12-01T00:00") - 1, at("2029-01-01T00:00"), len(expected)))
    assert said(found) == expected


@pytest.mark.parametrize("line", [line for line, _ in FORMS])
def test_asking_from_any_time_gives_the_rest(line: str) -> None:
    """Wherever the question begins, the same instants come: what is shifted or repeated is not lost or doubled."""
    timing = of_line(f"{line}; twice in the overlap")
    start, end = at("2026-10-20T00:00"), at("2027-01-10T00:00")
    whole = list(instants(timing, start, end, 400))
    assert all(a < b for a, b in pairwise(whole))
    for cut in [*range(start, end, 3 * DAY_US + 5 * HOUR_US), *whole[:20]]:
        if len(whole) == 400 and cut > whole[-1]:
            break
        expected = [t for t in whole if t > cut][:5]
        assert list(instants(timing, cut, end, 5))[: len(expected)] == expected
        assert next_instant(timing, cut) == (expected[0] if expected else next_instant(timing, end))


def test_a_line_comes_back_in_the_same_words() -> None:
    """What a form shows is what was typed, and says the same."""
    for line in [line for line, _ in FORMS]:
        when = read_line(line, "UTC")
        assert write_line(when, "UTC") == line
        assert read_line(write_line(when, ""), "Asia/Tokyo") == when


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("2nd Tuesday at 06:00 Asia/Tokyo; not on DE", "every 2nd Tuesday at 06:00 in Asia/Tokyo, not on days of DE"),
        ("0 9,17 * * 1-5", "at 09:00 and 17:00 on Monday to Friday in UTC"),
        ("*/5 * * * *; jitter 90s", "every 5 minutes in UTC, up to 90s later"),
        ("30 2 * * *; skip the gap", "at 02:30 every day in UTC, left out when the clocks skip it"),
        ("0 0 1 1 *", "at 00:00 on day 1 in Jan in UTC"),
        (
            "0 6 * * *; only on EOM; else next day; wait out daily 05:00-07:00",
            "at 06:00 every day in UTC, only on days of EOM (on the next day that is allowed instead),"
            " waiting for the end of daily 05:00-07:00",
        ),
    ],
)  # fmt: skip
def test_a_sentence_says_it_in_plain_english(line: str, expected: str) -> None:
    """The sentence below a line of the form."""
    assert sentence(read_line(line, "UTC")) == expected


@pytest.mark.parametrize(
    ("line", "field", "text"),
    [
        ("2nd Funday at 06:00", "cron", "'funday' is no weekday"),
        ("2nd Tuesday", "cron", "names days and no time"),
        ("2nd Tuesday at 25:00", "cron", "'25:00' is no time of day"),
        ("every 0 minutes", "cron", "1 to 100000"),
        ("every full moon", "cron", "is no interval"),
        ("on 2026-13-01 10:00", "cron", "'2026-13-01' is no date"),
        ("0 6 * * *; else next day", "shift", "needs a calendar"),
        ("*/5 * * * *; not on DE; else next day", "shift", "follows real time"),
        ("0 6 * * *; jitter 48h", "jitter_s", "0 to 86400 seconds"),
        ("0 6 * * *; except daily 00:00-24:00", "blackouts", "leave nothing open"),
        ("0 6 * * *; except lunch", "blackouts", "'lunch' is no window"),
    ],
)
def test_what_is_wrong_names_field_and_what_is_allowed(line: str, field: str, text: str) -> None:
    """Errors name the field of the schedule."""
    found = read_line(line, "UTC").wrong()
    assert set(found) == {field}
    assert text in found[field]


def test_words_that_are_none() -> None:
    """An unknown clause or word of a rule says which there are."""
    with pytest.raises(BadSchedule, match="'on Sundays never' is no clause; use not on NAME"):
        read_line("0 6 * * *; on Sundays never", "UTC")
    with pytest.raises(BadSchedule, match="for the second time"):
        read_line("0 6 * * *; not on A; only on B", "UTC")
    rules = TimingRules("maybe", "up", (), "burn", "fill", "thrice")
    assert set(wrong("0 6 * * *", "UTC", rules, True)) == {"calendar_use", "shift", "in_blackout", "gap", "overlap"}
    assert "calendar" in When("0 6 * * *", calendar_use="only").wrong()


def test_what_a_window_leaves_out_is_known() -> None:
    """For the ledger: the instants in and out of windows are together those without windows."""
    start, end = at("2026-12-01T00:00"), at("2026-12-05T00:00")
    closed = of_line("*/30 * * * *; except Tue-Wed 08:00-17:00")
    left_out = list(blacked_out(closed, start, end))
    assert said(left_out)[:2] == ["12-01T08:00", "12-01T08:30"]
    assert sorted([*left_out, *instants(closed, start, end)]) == list(instants(of_line("*/30 * * * *"), start, end))
    several = of_line("*/10 * * * *; except daily 22:00-02:00, Wed 01:00-05:00, 2026-12-04, Thu 23:30 - Fri 00:30")
    inside, outside = list(blacked_out(several, start + 7, end)), list(instants(several, start + 7, end))
    assert sorted([*inside, *outside]) == list(instants(of_line("*/10 * * * *"), start + 7, end))
    assert not set(inside) & set(outside)
    assert not list(blacked_out(of_line("*/30 * * * *; wait out Tue-Wed 08:00-17:00"), start, end))


def test_jitter_is_the_same_for_everybody_and_keeps_the_order() -> None:
    """Each instant is up to the jitter later, before the next, always the same; another schedule draws others."""
    start, end = at("2026-12-01T00:00") - 1, at("2026-12-03T00:00")
    plain = list(instants(of_line("*/5 * * * *"), start, end))
    mine, others = (list(instants(of_line("*/5 * * * *; jitter 10m", seed), start, end)) for seed in (7, 8))
    assert mine == list(instants(of_line("*/5 * * * *; jitter 10m", 7), start, end))
    assert mine != others
    assert all(a < b for a, b in pairwise(mine))
    late = [m - p for p, m in zip(plain, mine, strict=False)]
    assert 0 <= min(late) < max(late) < 300 * SECOND_US


def test_a_forecast_expands_shared_timings_once() -> None:
    """100,000 schedules of ten timings: ten expansions, counted by the hour and in order."""
    timings = [Timing(f"{k} * * * *") for k in range(10)]
    start = at("2026-12-01T00:00") - 1
    found = forecast([(number, timings[number % 10]) for number in range(100_000)], start, start + DAY_US)
    assert len(found.due) == 10
    assert (found.total, found.is_cut) == (24 * 100_000, False)
    assert found.counts(HOUR_US) == [100_000] * 24
    assert list(found.lines(2)) == [(start + 1, 0), (start + 1, 10)]
    cut = forecast([(1, timings[0]), (2, Timing("bad"))], start, start + DAY_US, limit=5)
    assert (cut.is_cut, cut.total, cut.unreadable) == (True, 5, (2,))
