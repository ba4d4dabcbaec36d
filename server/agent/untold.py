"""What the agent has to tell nodes and has not yet: it waits for starts that wait, up to its bound, in its order."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from server.core import agent_wire as wire
from server.core.bursts import BEGINS_WAIT_S, ENDS_WAIT_S, Burst

Said = tuple[str, wire.FromAgent]


class Untold:
    """`starts_wait()`: whether runs wait for their start now. `send(node, message)` gets what waits no more.

    `now_s()` and `call_at(s, function, argument)` are of the event loop. Call `tell` whenever starts may have ceased to
    wait.
    """

    def __init__(
        self,
        starts_wait: Callable[[], bool],
        send: Callable[[str, wire.FromAgent], None],
        now_s: Callable[[], float],
        call_at: Callable[[float, Callable[[float], None], float], Any],
    ) -> None:
        self._starts_wait = starts_wait
        self._send = send
        self._now_s = now_s
        self._call_at = call_at
        self._waiting: list[Said] = []
        self._burst = Burst()

    def add(self, said: Iterable[Said]) -> None:
        """Put it off, behind what waits already."""
        more = list(said)
        if not more:
            return
        self._waiting += more
        ends = any(isinstance(message, wire.Report) and isinstance(message.body, wire.Ended) for _, message in more)
        before_s = self._burst.due_s
        self._burst.put_off(self._now_s(), ENDS_WAIT_S if ends else BEGINS_WAIT_S)
        if self._burst.due_s < before_s:
            self._call_at(self._burst.due_s, self._tell_at, self._burst.due_s)

    def drop(self, node: str) -> None:
        """The link to the node is gone, and what was meant for it: reports are sent again on the next one."""
        self._waiting = [one for one in self._waiting if one[0] != node]

    def tell(self) -> None:
        """Send all that waits, unless it has to wait on."""
        self._tell_at(self._now_s())

    def _tell_at(self, now_s: float) -> None:
        if self._waiting and not self._burst.waits(self._starts_wait(), now_s):
            told, self._waiting = self._waiting, []
            for node, message in told:
                self._send(node, message)
