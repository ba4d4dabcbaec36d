"""Which lines the log gets of handshakes that failed: of each address one a minute, with how many there were. Pure.

Whoever reaches a port can make handshakes fail as fast as they like: neither the log nor memory grows with that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

EVERY_S = 60.0
ADDRESSES_MAX = 256
OTHERS = "others"
"""Stands for all addresses above `ADDRESSES_MAX` within one minute."""
WHY_MAX = 120


class Line(NamedTuple):
    """`times` handshakes of `address` failed since its last line, the last of them because of `why`."""

    address: str
    why: str
    times: int


@dataclass
class _Known:
    said_s: float
    why: str = ""
    count: int = 0


@dataclass
class FailedHandshakes:
    """Of one port. `now_s` is of a clock that never goes back."""

    _known: dict[str, _Known] = field(default_factory=dict)

    def add(self, address: str, why: str, now_s: float) -> Line | None:
        """One failed; its line when it is the first of its address in this minute, else it is counted."""
        if address not in self._known and len(self._known) >= ADDRESSES_MAX:
            address = OTHERS
        why = " ".join(why.split())[:WHY_MAX]
        known = self._known.get(address)
        if known is None:
            self._known[address] = _Known(now_s)
            return Line(address, why, 1)
        known.why, known.count = why, known.count + 1
        return None

    def take(self, now_s: float) -> list[Line]:
        """The lines of those whose minute is over and who failed in it; who did not is forgotten."""
        found = []
        for address, known in list(self._known.items()):
            if now_s < known.said_s + EVERY_S:
                continue
            if known.count:
                found.append(Line(address, known.why, known.count))
                known.said_s, known.count = now_s, 0
            else:
                del self._known[address]
        return found

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to be taken."""
        return not self._known
