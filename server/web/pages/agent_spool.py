"""What an agent holds that no master has acknowledged: the part of its page that says so."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from server.storage.overview import AgentLine


@dataclass(frozen=True, slots=True)
class AgentSpool:
    """The figures come with the agent's heartbeats, so they are the page's contact; there is no row of them."""

    template: ClassVar[str] = "partials/_agent_spool.html"
    buttons: ClassVar[str] = ""


def spool(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> AgentSpool | None:
    """The part of any agent that has been connected once."""
    return AgentSpool() if line.ticket else None
