"""Promises of one node that every move of the simulated pair is held against; each returns what is broken, or ""."""

from __future__ import annotations

from replication.core import effects
from replication.core.types import Epoch, Mode, State
from replication.core.witness import WitnessRecord
from tests.property.role_nodes import STANDBY_TIMEOUT_S, Node


def broken_by_question(node: Node, effect: effects.AskWitnesses | effects.RecordAlone) -> str:
    """In `strict` only an operator makes a node ask; with a fence hook a promotion asks only once it held."""
    if not isinstance(effect, effects.AskWitnesses):
        return ""
    pending = node.machine.pending
    if node.mode is Mode.STRICT and not pending.request and not pending.raising:
        return "a node asks by itself in strict mode"
    if node.machine.state is State.PROMOTING and node.has_fence and not node.is_fenced:
        return "a promotion asks for office before the fence held"
    return ""


def broken_by_move(node: Node, row: int, now: float, *, wished: bool) -> str:
    """A master leaves its standby behind by itself only in `available`, after so long without progress."""
    if row != 138 or wished:
        return ""
    silent_s = now - node.progressed_at
    if node.mode is Mode.STRICT:
        return "alone by itself in strict mode"
    return "" if silent_s > STANDBY_TIMEOUT_S - 0.01 else f"alone after {silent_s:.2f} s without progress"


def broken_by_acknowledging(node: Node, office: Epoch, witnesses: list[WitnessRecord]) -> str:
    """Nothing is acknowledged alone before a majority of the witnesses knows it (invariant 12)."""
    if node.rule.required or not node.memory.standby or node.memory.leave:
        return ""
    told = sum(
        record.alone_epoch > office or (record.alone_epoch, record.alone) == (office, node.name) for record in witnesses
    )
    enough = told * 2 > len(witnesses)
    return "" if enough else f"{node.name[0]} acknowledges alone, and {told} witnesses know it"
