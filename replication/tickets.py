"""The tickets of a node, in its control file: those it gave to standbys, and those that masters gave to it.

Protocol: docs/protocol.md, section 4.4.
"""

from __future__ import annotations

import asyncio
import secrets

from replication import threads
from replication.control import ControlFile
from replication.core.tickets import NO_TICKET, NONCE_BYTES, Given, Ticket, confirm, fits, give
from replication.core.types import NodeId

PROTOCOL = 2
"""The first protocol with tickets."""


class Tickets:
    """Event loop only; each change is durable when it returns."""

    def __init__(self, control: ControlFile) -> None:
        self._control = control
        self._changing = asyncio.Lock()

    def fits(self, peer: NodeId, shown: Ticket, protocol: int) -> bool:
        """Whether a follower is the one that got the last ticket; always with a protocol that has none."""
        return protocol < PROTOCOL or fits(self._control.value.tickets_given.get(peer), shown)

    async def give(self, peer: NodeId, shown: Ticket, protocol: int) -> Ticket:
        """The next ticket of a follower that fits. One of an older version loses what it had: it starts anew.

        Raises ConnectionError when it fits no more, because another connection of the node was faster.
        """
        async with self._changing:
            given = self._control.value.tickets_given
            if protocol < PROTOCOL:
                if peer in given:
                    await self._set({node: each for node, each in given.items() if node != peer})
                return NO_TICKET
            if not fits(given.get(peer), shown):
                raise ConnectionError("another connection of this node got a later ticket meanwhile")
            made = give(given.get(peer), shown, secrets.token_bytes(NONCE_BYTES))
            await self._set({**given, peer: made})
            return made.last

    async def confirm(self, peer: NodeId, ticket: Ticket) -> None:
        """The follower spoke after it got this ticket."""
        known = self._control.value.tickets_given.get(peer)
        if known is None or confirm(known, ticket) == known:
            return
        async with self._changing:
            given = self._control.value.tickets_given
            await self._set({**given, peer: confirm(given[peer], ticket)})

    async def _set(self, given: dict[NodeId, Given]) -> None:
        await threads.finished(self._control.update, tickets_given=given)

    def held(self, master: NodeId) -> Ticket:
        """What this node shows to a master."""
        return self._control.value.tickets_held.get(master, NO_TICKET)

    async def keep(self, master: NodeId, ticket: Ticket) -> None:
        """A master gave this ticket: durable before anything further is sent to it."""
        if ticket != NO_TICKET:
            await threads.finished(
                self._control.update, tickets_held={**self._control.value.tickets_held, master: ticket}
            )
