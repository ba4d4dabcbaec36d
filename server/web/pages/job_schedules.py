"""The schedules of a job on its page and in its form: lines of text, sentences, and the next instants."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.actions.jobs import of_row
from server.core.forecast import first
from server.core.model import DAY_US, Schedule
from server.core.schedule import BadSchedule
from server.core.when import When, read_line, sentence, write_line
from server.errors import Invalid
from server.storage.exceptions import ExceptionLine


@dataclass(frozen=True, slots=True)
class Instant:
    """An instant to come and the schedule that makes it; `instant_us` is its own time when it is moved, else 0."""

    due_us: int
    cron: str
    zone: str
    schedule_id: int = 0
    instant_us: int = 0


@dataclass(frozen=True, slots=True)
class ScheduleLine:
    """A schedule as its line says it, and as a sentence; `calendar` is the name of its calendar, or ""."""

    line: str
    sentence: str
    calendar: str


def lines_of(found: Sequence[Schedule], calendars: Mapping[int, str]) -> tuple[ScheduleLine, ...]:
    """The schedules of a job for its page. `calendars`: names by id."""
    whens = [of_row(schedule, calendars) for schedule in found]
    return tuple(ScheduleLine(write_line(when, ""), sentence(when), when.calendar) for when in whens)


def text_of(found: Sequence[Schedule], calendars: Mapping[int, str]) -> tuple[str, str]:
    """The schedules for the form, one per line, and the zone: those in the first one's zone do not name theirs."""
    zone = found[0].zone if found else "UTC"
    return "\n".join(write_line(of_row(schedule, calendars), zone) for schedule in found), zone


def read_text(text: str, zone: str) -> list[When]:
    """The schedules that the form says; raises Invalid naming the line that cannot be read."""
    found = []
    for number, line in enumerate(filter(None, (line.strip() for line in text.splitlines())), 1):
        try:
            found.append(read_line(line, zone or "UTC"))
        except BadSchedule as error:
            raise Invalid("A schedule cannot be read.", fields={"schedules": f"line {number}: {error}"}) from error
    return found


def sentences_of(text: str, zone: str) -> tuple[str, ...]:
    """Each line of the form in plain English; () when one cannot be read."""
    try:
        return tuple(sentence(when) for when in read_text(text, zone) if not when.wrong())
    except Invalid:
        return ()


def instants_of(
    found: list[Schedule], now_us: int, limit: int = 10, special: Sequence[ExceptionLine] = ()
) -> tuple[Instant, ...]:
    """The next instants of a job's schedules, at most `limit` within a year, moved ones where they begin."""
    away = {(one.schedule_id, one.instant_us) for one in special if one.skipped or one.moved_to_us is not None}
    moved = [one for one in special if one.is_open and one.moved_to_us is not None and one.moved_to_us > now_us]
    due = first([(when, when.timing) for when in found], now_us, now_us + 366 * DAY_US, limit + len(away))
    lines = [Instant(at_us, when.cron, when.zone, when.id) for at_us, when in due if (when.id, at_us) not in away]
    lines += [Instant(m.moved_to_us or 0, m.cron, m.zone, m.schedule_id, m.instant_us) for m in moved]
    return tuple(sorted(lines, key=lambda line: line.due_us)[:limit])
