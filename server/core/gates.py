"""Why work may not start now: one rule for the master's queue and, over the wire, for the agents.

A gate is a row. The master sends every change of gates as a revision; an agent persists and acknowledges it.
What an agent does with a due instant under a gate is `on_occurrence`; what the master does with a submission
is `reason`.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

from server.core.model import Gate

SCHEDULER_STOPPED = "scheduler_stopped"
QUEUE_LOCKED = "queue_locked"
SWAP = "swap"

HELD = "job held"
NO_AGENT = "no agent"

REASONS = {QUEUE_LOCKED: "queue locked", SCHEDULER_STOPPED: "scheduler stopped", SWAP: "swap"}
"""What a waiting run or a missed occurrence says, by kind of gate."""

_ORDER = (SWAP, SCHEDULER_STOPPED, QUEUE_LOCKED)


class Verdict(StrEnum):
    """What becomes of an instant that is due under gates."""

    START = "start"
    WAIT = "wait"
    MISS = "miss"


def standing(gates: Iterable[Gate], agent_id: str) -> dict[str, Gate]:
    """The gates that concern an agent, by kind; host-wide ones before its own."""
    found: dict[str, Gate] = {}
    for gate in gates:
        if gate.agent_id == "" or (gate.agent_id == agent_id and gate.kind not in found):
            found[gate.kind] = gate
    return found


def reason(gates: Iterable[Gate], agent_id: str, held: bool = False) -> str | None:
    """Why a submission to `agent_id` waits, or None when it may start. The job's hold comes last."""
    kinds = standing(gates, agent_id)
    for kind in _ORDER:
        if kind in kinds:
            return REASONS[kind]
    return HELD if held else None


def on_occurrence(kinds: Iterable[str]) -> tuple[Verdict, str]:
    """What an agent does with an instant that is due while gates of `kinds` are in force there, and the
    reason.

    `scheduler stopped` suppresses it: it is missed. `queue locked` (or a swap) lets it wait: the agent
    reports it and starts nothing; the master makes it a waiting run, which starts in order of submission when
    the gate is lifted.
    """
    present = set(kinds)
    if SCHEDULER_STOPPED in present:
        return Verdict.MISS, REASONS[SCHEDULER_STOPPED]
    for kind in (SWAP, QUEUE_LOCKED):
        if kind in present:
            return Verdict.WAIT, REASONS[kind]
    return Verdict.START, ""
