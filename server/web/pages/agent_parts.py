"""The parts of an agent's page: one for each topic, with its own rows, its own template, and its own buttons.

A new part is a file `agent_<topic>.py` here with a frozen dataclass and a reader of rows, a partial
`partials/_agent_<topic>.html` that sees the dataclass as `part` beside `page` and `frame`, and one line in `PARTS`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import ClassVar, Protocol

from server.storage.overview import AgentLine
from server.web.pages import agent_replaced, agent_silence
from server.web.pages.agent_drain import AgentDrain, drain
from server.web.pages.agent_groups import Deployment, deployment
from server.web.pages.agent_monitors import watching
from server.web.pages.agent_reboot import reboot
from server.web.pages.agent_replaced import ReplacedPart
from server.web.pages.agent_requests import requests
from server.web.pages.agent_silence import Silence


class Part(Protocol):
    """What one topic says of an agent.

    `template` is its section, `buttons` a partial with buttons for the head of the page, `settings` one for the
    section of settings at the end; "" for none.
    """

    template: ClassVar[str]
    buttons: ClassVar[str]
    settings: ClassVar[str]


Reader = Callable[[sqlite3.Connection, AgentLine, int], Part | None]
"""Reads rows of one agent at `now_us` (microseconds UTC); None when there is nothing to say of it."""

PARTS: tuple[Reader, ...] = (
    agent_silence.part,
    requests,
    drain,
    watching,
    agent_replaced.part,
    deployment,
    reboot,
)
"""In the order of the page: what needs a person first."""


def is_first(part: Part) -> bool:
    """Whether a part says what is wrong, and so comes before the runs and the facts."""
    return isinstance(part, Silence) or (isinstance(part, AgentDrain | ReplacedPart) and part.is_first)


def parts(connection: sqlite3.Connection, line: AgentLine, now_us: int) -> tuple[Part, ...]:
    """All parts that have something to say; a query of the page's one read."""
    found = (reader(connection, line, now_us) for reader in PARTS)
    return tuple(part for part in found if part is not None)


def groups_of(found: tuple[Part, ...]) -> tuple[str, ...] | None:
    """The groups that an agent serves, from its parts; None while there are no groups."""
    return next((part.groups for part in found if isinstance(part, Deployment)), None)
