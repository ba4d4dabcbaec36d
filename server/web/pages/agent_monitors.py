"""What an agent watches: the part of its page that lists its monitors."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from typing import ClassVar

from server.storage import monitors
from server.storage.monitors import MonitorLine
from server.storage.overview import AgentLine

LIMIT = 200


@dataclass(frozen=True, slots=True)
class Watching:
    """The monitors of one agent, by name."""

    template: ClassVar[str] = "partials/_agent_monitors.html"
    buttons: ClassVar[str] = ""
    settings: ClassVar[str] = ""
    monitors: tuple[MonitorLine, ...]


def watching(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> Watching | None:
    """The part of one agent; None when it watches nothing."""
    found = monitors.lines_of_agent(connection, line.id, LIMIT)
    return Watching(tuple(found)) if found else None
