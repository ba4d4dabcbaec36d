"""Tickets: how a master tells a standby from its clone, or from the same one restored from a snapshot. Pure.

With every decision a master gives the standby the next ticket, durable at the master before it is sent and at the
standby before it sends anything further. The next FOLLOW shows it. Two nodes that show one ticket cannot both be the
standby that got the one after it.

A false alarm would stop a healthy pair, so whatever a crash at any moment can leave behind fits: a ticket is known by
its number and a random nonce, the one before stays good until the new one is confirmed, a node without any ticket
(empty, repaired, or of a version that has none) is let in, and so is a newer one than known (this master was restored).
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec


class Ticket(NamedTuple):
    """One connection's ticket. `nonce` is random: two histories that reach the same number differ in it."""

    number: int
    nonce: bytes


NO_TICKET = Ticket(0, b"")
NONCE_BYTES = 8


class Given(msgspec.Struct, frozen=True, array_like=True):
    """What a master remembers durably of one standby: the last ticket given, and what was shown for it.

    `confirmed`: the standby sent something after it, so it holds `last` durably, and `shown` is good no more.
    """

    last: Ticket
    shown: Ticket = NO_TICKET
    confirmed: bool = False


def fits(given: Given | None, shown: Ticket) -> bool:
    """Whether the node that shows this ticket may be the standby that got the last one."""
    if given is None or shown == NO_TICKET or shown == given.last:
        return True
    return shown.number > given.last.number or (not given.confirmed and shown == given.shown)


def give(given: Given | None, shown: Ticket, nonce: bytes) -> Given:
    """The next ticket for a node whose ticket fits; to be durable before it is sent."""
    known = given.last.number if given is not None else 0
    return Given(Ticket(max(known, shown.number) + 1, nonce), shown)


def confirm(given: Given) -> Given:
    """The standby spoke after it got the last ticket."""
    return Given(given.last, given.shown, True)


REFUSED = (
    "This node was restored from a snapshot or is a copy: a later connection of the same node is known here. If "
    "another machine runs as this node, stop this one. Else stop it, move its data directory aside, and join again "
    "on an empty one: master-to-standby --data DIR --master HOST --port PORT"
)
