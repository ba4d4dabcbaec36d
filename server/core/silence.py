"""What nobody can know of an agent that does not answer: which instants of its orders it may have started. Pure.

Nothing is written while an agent is silent: an occurrence is unknown because its instant has passed, the agent may
have acted on it, and neither a run nor a row of the ledger says what became of it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from server.core.giving_up import SLACK_S
from server.core.instants import LATE_US, count_between, instants_between, is_instant, last_instant
from server.core.model import MINUTE_US, Agent, Order, Run, Span

LEASE_SLACK_US = 10 * MINUTE_US
"""The agent's clock may be behind: what it holds ends this much later for the master."""
DEAD = "agent declared dead"
"""Why the instants of a job that is still bound to a dead machine are missed."""


@dataclass(frozen=True, slots=True)
class Window:
    """Instants of an order with after_us < t <= until_us may have been started and nobody has said so."""

    after_us: int
    until_us: int


def window(order: Order, silent: bool, newest_known_us: int, now_us: int) -> Window:
    """Which instants may be unknown. `newest_known_us`: the last instant of the schedule with a run or a row.

    An agent begins and reports instants in order, so of a silent agent nothing up to the newest known one is unknown;
    the order of a dead machine says itself from where on (`accounted_until_us`).
    """
    after_us = max(order.accounted_until_us, order.valid_from_us - 1)
    if order.state == "dead":
        return Window(after_us, order.valid_until_us)
    if not silent or order.suppressed:
        return Window(after_us, after_us)
    until_us = min(now_us - LATE_US, order.valid_until_us, order.held_until_us)
    return Window(max(after_us, newest_known_us), until_us)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The unknown instants of an order in a window, by arithmetic: looking at a week of seconds costs nothing."""

    instants: Sequence[Span]
    within: Window
    known: frozenset[int]

    @property
    def count(self) -> int:
        """How many there are."""
        return count_between(self.instants, self.within.after_us, self.within.until_us) - len(self.known)

    def __contains__(self, at_us: int) -> bool:
        in_window = self.within.after_us < at_us <= self.within.until_us
        return in_window and at_us not in self.known and is_instant(self.instants, at_us)

    def __iter__(self) -> Iterator[int]:
        """In order of time."""
        series = (instants_between([span], self.within.after_us, self.within.until_us) for span in self.instants)
        return (at_us for at_us in heapq.merge(*series) if at_us not in self.known)

    def last_us(self) -> int | None:
        """The latest, or None without any."""
        at_us = last_instant(self.instants, self.within.until_us)
        while at_us is not None and at_us in self.known:
            at_us = last_instant(self.instants, at_us - 1)
        return at_us if at_us is not None and at_us > self.within.after_us else None


def unknown_instants(order: Order, within: Window, known: Iterable[int] = ()) -> Unknown:
    """The unknown instants of an order. `known`: instants of the schedule that have a run or a row."""
    knows = order.acknowledged_version >= order.version
    not_due = (one.instant_us for one in order.exceptions if knows and (one.skipped or one.start_us > within.until_us))
    everything = Unknown(order.instants, within, frozenset())
    return Unknown(order.instants, within, frozenset(at_us for at_us in (*known, *not_due) if at_us in everything))


def has_lapsed(order: Order, now_us: int) -> bool:
    """Whatever the agent holds of the order, it begins nothing of it any more."""
    return now_us > order.held_until_us + LEASE_SLACK_US


def is_gone(agent: Agent) -> bool:
    """Whether the machine certainly runs nothing: declared dead, or removed. One that was replaced may still run."""
    return agent.dead_at_us is not None or (agent.removed_at_us is not None and agent.replaced_at_us is None)


def why_not_again(run: Run, agent: Agent | None, job_name: str) -> str:
    """Why another attempt of an unknown run may not be made, as sentences that say what to type; "" when it may."""
    if agent is None or is_gone(agent):
        return ""
    if run.given_up_at_us is not None:
        return ""
    if run.give_up_after_s:
        after_s = run.give_up_after_s + SLACK_S
        return (
            f"{_may_have_run(agent.name)} It is given up {after_s} s after {agent.name} fell silent, then run it again."
        )
    return f"{_may_have_run(agent.name)} {_ways_out(agent.name, job_name)}"


def why_not_occurrence(order: Order, agent: Agent | None, job_name: str) -> str:
    """The same for an occurrence of an order without a run; only the word that the machine is dead helps.

    An order that is over while its agent answers left what nobody can tell any more: a person decides.
    """
    if agent is None or is_gone(agent):
        return ""
    if order.withheld:
        return "An agent that is silent since a loss may have run it. See: understudy status"
    if agent.silent_since_us is None and order.state == "dead":
        return ""
    return f"{_may_have_run(agent.name)} {_ways_out(agent.name, job_name)}"


def _may_have_run(name: str) -> str:
    return f"{name} is silent and may have run it, or run it still: it is unknown until {name} answers."


def _ways_out(name: str, job_name: str) -> str:
    return (
        f"If the machine is dead for certain, type: understudy agent declare-dead {name}. For the future a job that "
        f"does no harm twice may be given up: understudy job update {job_name} --may-run-twice --give-up-after-s 600"
    )
