"""What happened between two looks at files, directories or processes. Pure; steadiness is told by the boot clock.

The agent keeps what it saw (`Seen`) in its spool, in the same transaction as the events: so a start of the agent
neither repeats an event nor misses one whose cause is still to be seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from server.core.model import SECOND_US
from server.core.monitors import DIRECTORY, PROCESS, Settings

EVENTS_AT_ONCE = 200
"""A look tells at most so many events; the next look tells the others."""


class Found(msgspec.Struct, frozen=True, array_like=True):
    """One thing that a look saw. `stamp` differs when it is another one or was changed.

    Of a file: inode and time of change. Of a directory: the names in it, and `size` counts them. Of a process: nothing,
    since `path` is its pid with the mark of its start.
    """

    path: str
    size: int
    stamp: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """`problem`: a sentence, or "". Nothing is judged unless the look is `whole`.

    `unread`: directories that could not be read: what is below them is not taken as gone.
    """

    found: tuple[Found, ...] = ()
    whole: bool = True
    problem: str = ""
    unread: tuple[str, ...] = ()


class Seen(msgspec.Struct, frozen=True, array_like=True):
    """A thing as it was seen last, unchanged since `since_us` of the boot clock of boot `boot_id`.

    `is_settled`: it needs no look for steadiness: it was told, or was there before the monitor.
    """

    size: int
    stamp: str
    since_us: int
    boot_id: str
    is_settled: bool = False


@dataclass(frozen=True, slots=True)
class Happening:
    """An event: what happened to what. `size` in bytes, or entries of a directory."""

    what: str
    path: str
    size: int


@dataclass(slots=True)
class Judged:
    """Events in order, and how the observation changes with them: both durable together or neither."""

    happenings: list[Happening] = field(default_factory=list)
    seen: dict[str, Seen] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)


def judge(
    kind: str,
    settings: Settings,
    before: Mapping[str, Seen] | None,
    look: Look,
    boot_us: int,
    boot_id: str,
    limit: int = EVENTS_AT_ONCE,
) -> Judged:
    """Compare a whole look with the observation `before`; None is the first look, at which nothing is new.

    With `existing` everything is new at the first look. What is beyond `limit` stays as it was and is judged next time.
    """
    judged = Judged()
    is_baseline = before is None and not settings.existing
    known: Mapping[str, Seen] = before or {}
    for found in look.found:
        if len(judged.happenings) >= limit:
            return judged
        old = known.get(found.path)
        fresh = Seen(found.size, found.stamp, boot_us, boot_id, is_baseline)
        what = "" if is_baseline else _what(kind, settings, old, found)
        if old is None or (old.size, old.stamp) != (found.size, found.stamp):
            judged.seen[found.path] = fresh
        elif not old.is_settled and "steady" in settings.on:
            what = _wait_for_steadiness(old, fresh, settings, judged, found.path)
        if what in settings.on:
            judged.happenings.append(Happening(what, found.path, found.size))
    _tell_gone(kind, settings, known, look, judged, limit)
    return judged


def _what(kind: str, settings: Settings, old: Seen | None, found: Found) -> str:
    """What a new or changed thing means; "" for one that is as it was."""
    if kind == PROCESS:
        return "started" if old is None else ""
    if kind == DIRECTORY:
        counted = 0 if old is None else old.size
        if "count" in settings.on and counted < settings.at_least <= found.size:
            return "count"
        return "changed" if old is not None and old.stamp != found.stamp else ""
    if old is None:
        return "created"
    return "changed" if (old.size, old.stamp) != (found.size, found.stamp) else ""


def _wait_for_steadiness(old: Seen, fresh: Seen, settings: Settings, judged: Judged, path: str) -> str:
    """Told once it was unchanged for long enough within one boot; another boot begins the wait anew."""
    if old.boot_id != fresh.boot_id:
        judged.seen[path] = fresh
        return ""
    if fresh.since_us - old.since_us < settings.steady_s * SECOND_US:
        return ""
    judged.seen[path] = msgspec.structs.replace(old, is_settled=True)
    return "steady"


def _tell_gone(
    kind: str, settings: Settings, known: Mapping[str, Seen], look: Look, judged: Judged, limit: int
) -> None:
    present = {found.path for found in look.found}
    what = "ended" if kind == PROCESS else "deleted"
    for path, old in known.items():
        if path in present or any(path.startswith(f"{folder.rstrip('/')}/") for folder in look.unread):
            continue
        if len(judged.happenings) >= limit:
            return
        judged.gone.append(path)
        if what in settings.on:
            judged.happenings.append(Happening(what, path, old.size))
