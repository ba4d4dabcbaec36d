"""The machines that had an agent's name before it (SKY-20): what they have not given back, and where their runs are."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from server.core.model import Agent
from server.core.silence import LEASE_SLACK_US
from server.storage import agents, silence
from server.storage.overview import AgentLine


@dataclass(frozen=True, slots=True)
class Former:
    """One machine before: `orders` are not given back, over for certain after `free_at_us`; `unknown` runs."""

    agent: Agent
    orders: int
    free_at_us: int
    unknown: int

    @property
    def heard(self) -> bool:
        """It answered since it was replaced, and knows that it starts nothing any more."""
        return self.agent.silent_since_us is None


@dataclass(frozen=True, slots=True)
class ReplacedPart:
    """The machines before, the latest first."""

    template: ClassVar[str] = "partials/_agent_replaced.html"
    buttons: ClassVar[str] = ""
    settings: ClassVar[str] = ""
    former: tuple[Former, ...]

    @property
    def is_first(self) -> bool:
        """Something of a machine before is still out: that comes before the runs."""
        return any(one.orders or one.unknown for one in self.former)


def part(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> ReplacedPart | None:
    """None for a machine that took over from nobody."""
    found = []
    for agent in agents.before(connection, line.id):
        held = silence.releasing(connection, agent.id)
        free_at_us = max((order.held_until_us for order in held), default=now_us - LEASE_SLACK_US) + LEASE_SLACK_US
        found.append(Former(agent, len(held), free_at_us, silence.count_unknown_runs(connection, agent.id)))
    return ReplacedPart(tuple(found)) if found else None
