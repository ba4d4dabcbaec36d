"""Home: is the pair well, what runs, what waits, and what is next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from server.web.pages.frame import Frame
from server.web.pages.pair import Pair
from server.web.pages.states import Badge

SWAP_DUE_US = 61 * 86_400 * 1_000_000
"""BEY-2: two months between swaps, as the longest two months are long."""


@dataclass(frozen=True, slots=True)
class RunLine:
    """A run in a list. Instants are microseconds since 1970 UTC."""

    number: int
    job: str
    job_id: int
    agent: str
    badge: Badge
    reason: str
    since_us: int
    due_us: int | None = None
    started_us: int | None = None
    ended_us: int | None = None
    exit_code: int | None = None
    requested_by: str = ""


@dataclass(frozen=True, slots=True)
class NextLine:
    """An instant to come."""

    job: str
    job_id: int
    agent: str
    due_us: int
    zone: str
    cron: str
    stopped_by: str = ""


@dataclass(frozen=True, slots=True)
class LastSwap:
    """The latest finished swap and when the next is due."""

    number: int
    ended_us: int
    word: str
    due_us: int


@dataclass(frozen=True, slots=True)
class HomePage:
    """`failed_count` and `waiting_count` count all; the tuples hold the first few."""

    template: ClassVar[str] = "pages/home_show.html"
    frame: Frame
    pair: Pair
    running: tuple[RunLine, ...]
    running_count: int
    failed: tuple[RunLine, ...]
    failed_count: int
    waiting: tuple[RunLine, ...]
    waiting_count: int
    upcoming: tuple[NextLine, ...]
    missed_count: int
    agents_active: int
    agents_total: int
    jobs_total: int
    last_swap: LastSwap | None
    swap_running: bool = False
