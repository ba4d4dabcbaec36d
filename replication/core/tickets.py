"""Tickets: how a master tells a standby from its clone, or from the same one restored from a snapshot. Pure.

With every decision a master gives the standby the next ticket, durable at the master before it is sent and at the
standby before it sends anything further. The next FOLLOW shows it. Two nodes that show one ticket cannot both be the
standby that got the one after it.

A false alarm would stop a healthy pair, so whatever a crash at any moment can leave behind fits: a ticket is known by
its number and a random nonce, the one before stays good until the new one is confirmed, a node without any ticket
(empty, repaired, or of a version that has none) is let in, and so is a newer one than known (this master was restored).

Protocol: docs/protocol.md, section 4.4.
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
EARLIER_MAX = 16


class Given(msgspec.Struct, frozen=True, array_like=True):
    """What a master remembers durably of one standby: the last ticket given, and what was shown for it.

    `confirmed`: the standby sent something after it, so it holds `last` durably, and `shown` is good no more. `earlier`
    were given for the same `shown` and not confirmed either: which of them the standby kept is not known, because the
    FOLLOW of a connection that it gave up may be read after that of the next.
    """

    last: Ticket
    shown: Ticket = NO_TICKET
    confirmed: bool = False
    earlier: tuple[Ticket, ...] = ()
    number: int = 0

    @property
    def highest(self) -> int:
        """The highest number given, which the confirmed ticket need not have."""
        return max(self.number, self.last.number)


def fits(given: Given | None, shown: Ticket) -> bool:
    """Whether the node that shows this ticket may be the standby that got the last one."""
    if given is None or shown == NO_TICKET or shown == given.last:
        return True
    return shown.number > given.highest or (not given.confirmed and shown in (given.shown, *given.earlier))


def give(given: Given | None, shown: Ticket, nonce: bytes) -> Given:
    """The next ticket for a node whose ticket fits; to be durable before it is sent."""
    again = given is not None and not given.confirmed and shown == given.shown
    earlier = (*given.earlier, given.last)[-EARLIER_MAX:] if given is not None and again else ()
    number = max(given.highest if given is not None else 0, shown.number) + 1
    return Given(Ticket(number, nonce), shown, False, earlier, number)


def confirm(given: Given, ticket: Ticket) -> Given:
    """The standby spoke after it got this ticket: no other of those given for the same is good any more."""
    if given.confirmed or ticket not in (given.last, *given.earlier):
        return given
    return Given(ticket, given.shown, True, (), given.highest)


REFUSED = (
    "This node was restored from a snapshot or is a copy: a later connection of the same node is known here. If "
    "another machine runs as this node, stop this one. Else stop it, move its data directory aside, and join again "
    "on an empty one: master-to-standby --data DIR --master HOST --port PORT"
)
