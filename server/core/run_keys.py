"""The keys of runs: each names for ever the occurrence, request or event that a run is of. Master and agent agree."""

from __future__ import annotations

import calendar
import re
from datetime import UTC, datetime

import msgspec

from server.core.model import SECOND_US


def instant_text(at_us: int) -> str:
    """`YYYYMMDDTHHMMSSZ`, as in a run's key."""
    return datetime.fromtimestamp(at_us // SECOND_US, UTC).strftime("%Y%m%dT%H%M%SZ")


def occurrence_key(job_id: int, schedule_id: int, at_us: int, attempt: int = 1) -> str:
    """The key of the run of one occurrence: master and agent make the same one."""
    return f"j{job_id}.s{schedule_id}.{instant_text(at_us)}.a{attempt}"


def request_key(job_id: int, request_id: str, attempt: int = 1, member: str = "") -> str:
    """The key of a run on request; `request_id` is 1 to 64 letters, digits or hyphens.

    `member`: the agent's id, when every member of a group is asked for a run of its own.
    """
    return f"j{job_id}.r{request_id}{f'.m{member}' if member else ''}.a{attempt}"


_OWN = re.compile(r"p-|w\d+-\d+-\d+\Z|history-")


def is_own_request(request_id: str) -> bool:
    """Whether the program makes such ids itself: of prerequisites, of steps of workflows, of adopted history.

    Taken by a person, the run that should follow by itself would be that person's and never be made.
    """
    return _OWN.match(request_id) is not None


def event_key(job_id: int, monitor_id: int, token: str, attempt: int = 1, member: str = "") -> str:
    """The key of a job's run for an event. `token`: the agent's number, or `r` and a request id for one fired here.

    `member`: as of a request.
    """
    return f"j{job_id}.e{monitor_id}-{token}{f'.m{member}' if member else ''}.a{attempt}"


_KEY = re.compile(
    r"j(\d{1,18})\.(?:s(\d{1,18})\.(\d{8}T\d{6}Z)|r([0-9A-Za-z-]{1,64})|e(\d{1,18})-(\d{1,18}|r[0-9A-Za-z-]{1,64}))"
    r"(?:\.m([0-9A-Za-z-]{1,64}))?\.a(\d{1,18})\Z",
    re.ASCII,
)


class RunKey(msgspec.Struct, frozen=True):
    """A run's key, taken apart. An occurrence has schedule and instant, a request has `request_id`, an event has
    monitor and `event`, its token. `member` is "" unless the run is that member's of a group.
    """

    job_id: int
    schedule_id: int | None
    scheduled_for_us: int | None
    request_id: str
    attempt: int
    monitor_id: int | None = None
    event: str = ""
    member: str = ""


def parse_key(key: str) -> RunKey:
    """Take a run's key apart; raises ValueError naming the key when it is none."""
    match = _KEY.match(key)
    if match is None:
        raise ValueError(f"{key!r} is not a run key")
    job, schedule, instant, request, monitor, event, member, attempt = match.groups()
    at_us = None
    if instant is not None:
        at_us = _instant_us(instant)
    return RunKey(
        int(job),
        int(schedule) if schedule else None,
        at_us,
        request or "",
        int(attempt),
        int(monitor) if monitor else None,
        event or "",
        member or "",
    )


def is_key(key: str) -> bool:
    """Whether this is the key of a run. Agents name folders by them: whatever is told as a key, nothing is a path."""
    try:
        parse_key(key)
    except ValueError:
        return False
    return True


def _instant_us(text: str) -> int:
    """Of `instant_text`. Raises ValueError for a day or hour that is none. `strptime` is slow."""
    day, hour = (int(text[:4]), int(text[4:6]), int(text[6:8])), (int(text[9:11]), int(text[11:13]), int(text[13:15]))
    return calendar.timegm(datetime(*day, *hour).timetuple()) * SECOND_US


def next_attempt_key(key: str) -> str:
    """The key of the next attempt of the same occurrence or request."""
    stem, _, attempt = key.rpartition(".a")
    return f"{stem}.a{int(attempt) + 1}"
