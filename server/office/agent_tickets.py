"""When the tickets of connected agents advance: together, a few at a time (docs/decisions/0072).

Whatever a copy of an agent's memory would not know makes its ticket advance a while later, once for all that happens
until then. A lock of all queues is such a thing for every agent in the same second: thousands of tickets are due at
once, and each costs the agent's answer and another write.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

TICKET_S = 60.0
"""After something that a copy of an agent's memory would not know its ticket advances, at most this often."""
AT_ONCE = 50
EVERY_S = 0.1
"""500 agents a second: 10,000 take 20 s, and nobody else notices it."""


class AgentTickets:
    """Of one office. `advance` gives the next ticket to these agents; it must not raise."""

    def __init__(self, advance: Callable[[Sequence[str]], Awaitable[None]]) -> None:
        self._advance = advance
        self._due_s: dict[str, float] = {}
        """In the order in which they are due: each was expected the same time ahead."""
        self._expected = asyncio.Event()

    def expect(self, agent_id: str) -> None:
        """The agent's next ticket is given in a while; nothing changes when it is expected already."""
        self._due_s.setdefault(agent_id, asyncio.get_running_loop().time() + TICKET_S)
        self._expected.set()

    def forget(self, agent_id: str) -> None:
        """The agent left: it gets its next ticket when it comes back."""
        self._due_s.pop(agent_id, None)

    async def advance_forever(self) -> None:
        """Give tickets when they are due, until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            while not self._due_s:
                self._expected.clear()
                await self._expected.wait()
            wait_s = next(iter(self._due_s.values())) - loop.time()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
                continue
            due = [agent_id for agent_id, at_s in list(self._due_s.items())[:AT_ONCE] if at_s <= loop.time()]
            for agent_id in due:
                del self._due_s[agent_id]
            await self._advance(due)
            await asyncio.sleep(EVERY_S)
