"""What people must be told when the pair's state changes, as sentences for System Messages (SKY-19). Pure.

Only changes are told: a state that lasts is on Home, Replication and in `understudy status`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from replication.core.types import PeerStatus, SlotState, Status


class Notice(NamedTuple):
    """`severity`: info | warning | alarm. `text` says what happened and what to do next."""

    severity: str
    text: str


def notices(before: Status | None, now: Status, names: Mapping[str, str]) -> list[Notice]:
    """What is new since `before` (None: since this node took office). `names` are the nodes' names by id."""
    return [*_alone(before, now), *_slots(before, now, names), *_proofs(before, now, names)]


def _alone(before: Status | None, now: Status) -> Iterator[Notice]:
    was_alone = before is not None and before.alone_since is not None
    if now.alone_since is not None and not was_alone and now.standby_enrolled:
        yield Notice(
            "alarm",
            f"{now.name} works alone in epoch {now.epoch.number}: the standby is lost. What is written from now on "
            "exists only on this machine. Start the standby's machine; if it is gone for good, make another one: "
            "master-to-standby",
        )
    if was_alone and now.alone_since is None:
        yield Notice("info", f"{now.name} counts on a standby again in epoch {now.epoch.number}: it has everything.")


def _slots(before: Status | None, now: Status, names: Mapping[str, str]) -> Iterator[Notice]:
    known = {slot.node for slot in before.slots if slot.state is SlotState.LOST} if before is not None else set()
    for slot in now.slots:
        if slot.state is SlotState.LOST and slot.node not in known:
            name = names.get(slot.node, slot.node[:8])
            yield Notice("warning", f"The journal keeps nothing for {name} any more. {slot.text}")


def _proofs(before: Status | None, now: Status, names: Mapping[str, str]) -> Iterator[Notice]:
    own_at_us = before.proof.at_us if before is not None and before.proof is not None else 0
    if now.proof is not None and not now.proof.is_whole and now.proof.at_us != own_at_us:
        yield Notice("alarm", f"{now.name} read its files and found damage. {now.proof.text}")
    seen = {peer.node: peer.proof_at_us for peer in before.peers} if before is not None else {}
    for peer in now.peers:
        if is_damaged(peer) and seen.get(peer.node) != peer.proof_at_us:
            name = names.get(peer.node, peer.node[:8])
            yield Notice("alarm", f"{name} read its files and found damage. {peer.proof_text}")


def is_damaged(peer: PeerStatus) -> bool:
    """The last time that the node read all of its files, something was wrong."""
    return bool(peer.proof_at_us) and not peer.proof_is_whole
