"""Groups of agents: which member a run goes to, why it waits, and what a new deployment does to it. Pure.

SKY-18, SMA-5 to SMA-7. A run of a group that was not sent belongs to nobody: it waits in the group's pool, and a member
is chosen when it may start. One that was sent belongs to that agent until the agent itself says that it never began.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NamedTuple

from server.core.gates import NO_AGENT
from server.core.limits import Usage
from server.core.model import MINUTE_US, Row
from server.core.run_states import ENDED, RunState

NO_CAPACITY = "no capacity"
NOT_CONNECTED = "not connected"
CHOOSING = "a member is being chosen"
OVERDUE_US = MINUTE_US


class Policy(StrEnum):
    """Which members run what the group is given: one of them, or `all` of them."""

    LEAST_LOADED = "least_loaded"
    ROUND_ROBIN = "round_robin"
    PREFERRED = "preferred"
    ALL = "all"


class Group(Row, frozen=True, kw_only=True):
    """`turn`: position of the member that was chosen last. `deployment` counts how often members were replaced.

    `runs_at_once`: of all its runs together; 0 is no limit.
    """

    id: str
    name: str
    policy: str
    description: str
    turn: int
    deployment: int
    deployed_by: str
    deployed_at_us: int
    created_at_us: int
    deleted_at_us: int | None = None
    runs_at_once: int = 0


class GroupMember(Row, frozen=True, kw_only=True):
    """`capacity`: runs of this group at once on this agent; 0 leaves it to the agent's own."""

    group_id: str
    agent_id: str
    position: int
    capacity: int = 0


class Recall(Row, frozen=True, kw_only=True):
    """A durable request to give back a run that was sent. answer: "" while pending, else given back | began | ended."""

    id: int
    run: int
    agent_id: str
    group_id: str
    requested_by: str
    requested_at_us: int
    reason: str
    answer: str = ""
    answered_at_us: int | None = None


@dataclass(slots=True)
class Worker:
    """An agent as the chooser sees it. `load`: its runs that hold a slot. `barred`: why it may start nothing now."""

    agent_id: str
    name: str
    load: int = 0
    capacity: int = 0
    barred: str = ""


@dataclass(slots=True)
class Seat:
    """A worker's place in one group; `load` and `capacity` count runs of this group only."""

    worker: Worker
    position: int
    load: int = 0
    capacity: int = 0

    def has_room(self) -> bool:
        """Whether one more run of the group fits."""
        own, shared = self.capacity, self.worker.capacity
        return (not own or self.load < own) and (not shared or self.worker.load < shared)

    def describe(self) -> str:
        """The member's state in a few words: `alpha 3 of 4`, `beta not connected`."""
        if self.worker.barred:
            return f"{self.worker.name} {self.worker.barred}"
        if self.capacity and self.load >= self.capacity:
            return f"{self.worker.name} {self.load} of {self.capacity} of this group"
        bound = f" of {self.worker.capacity}" if self.worker.capacity else " running"
        return f"{self.worker.name} {self.worker.load}{bound}"


@dataclass(slots=True)
class Pool:
    """One group with its seats, by position. Several pools may share workers."""

    group_id: str
    name: str
    policy: str
    turn: int = -1
    seats: list[Seat] = field(default_factory=list)

    def choose(self) -> Seat | None:
        """The member for the next run, or None when none may start it. Ties go to the earlier position."""
        free = [seat for seat in self.seats if not seat.worker.barred and seat.has_room()]
        if not free:
            return None
        if self.policy == Policy.LEAST_LOADED:
            return min(free, key=lambda seat: (seat.worker.load, seat.position))
        if self.policy == Policy.ROUND_ROBIN:
            later = [seat for seat in free if seat.position > self.turn]
            return min(later or free, key=lambda seat: seat.position)
        return min(free, key=lambda seat: seat.position)

    def take(self, seat: Seat) -> None:
        """Count one more run on a seat."""
        seat.load += 1
        seat.worker.load += 1
        self.turn = seat.position

    def reason(self) -> str:
        """Why a run waits here, when `choose` gives None."""
        reachable = any(not seat.worker.barred for seat in self.seats)
        return f"{NO_CAPACITY if reachable else NO_AGENT} in group {self.name}"

    def describe(self) -> str:
        """The members' state, for people."""
        return ", ".join(seat.describe() for seat in self.seats) or "it has no members"


@dataclass(frozen=True, slots=True)
class Choice:
    """A waiting run and the member that it goes to, with what it takes of limits."""

    number: int
    agent_id: str
    holds: Mapping[str, int] = field(default_factory=dict)


class Wish(NamedTuple):
    """A waiting run, the pool that it is in, its rank, and what it needs of limits (`core.limits`)."""

    number: int
    group_id: str
    rank_us: int = 0
    needs: Mapping[str, int] = MappingProxyType({})


def place(waiting: Iterable[Wish], pools: Mapping[str, Pool], usage: Usage) -> tuple[list[Choice], dict[int, str]]:
    """Members for waiting runs, by rank; and of those that a limit stops the name that they are short of.

    A run that finds none holds up no other group. Loads and turns of `pools`, and `usage`, are counted on.
    """
    chosen, short = [], {}
    for wish in sorted(waiting, key=lambda wish: (wish.rank_us, wish.number)):
        pool = pools[wish.group_id]
        seat = pool.choose()
        if seat is None:
            continue
        if name := usage.take(wish.needs):
            short[wish.number] = name
            continue
        pool.take(seat)
        chosen.append(Choice(wish.number, seat.worker.agent_id, wish.needs))
    return chosen, short


class Handover(StrEnum):
    """What a deployment does to an open run on an agent that serves the group no more."""

    STAY = "stay"
    MOVE = "move"
    RECALL = "recall"
    RESUME = "resume"


def on_removal(state: str, was_sent: bool, began: bool) -> Handover:
    """SMA-5: what was not sent moves, what was sent and has not begun is asked for, what runs goes to its end.

    A suspended run resumes elsewhere. One that a silent agent may have begun stays and is asked for.
    """
    if state in ENDED:
        return Handover.STAY
    if state == RunState.SUSPENDED:
        return Handover.RESUME
    if began or state not in (RunState.WAITING, RunState.STARTING, RunState.UNKNOWN):
        return Handover.STAY
    return Handover.RECALL if was_sent else Handover.MOVE


def is_overdue(since_us: int, now_us: int, pool: Pool) -> bool:
    """SMA-7: queued for more than a minute although a member could start it."""
    return now_us - since_us > OVERDUE_US and pool.choose() is not None
