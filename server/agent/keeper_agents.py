"""The agents connected to a keeper, seldom more than one: what they ask and are told, one JSON object a line."""

from __future__ import annotations

import json
import selectors
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

Request = dict[str, Any]
RECEIVED_BYTES = 1 << 20
SEND_S = 1.0
"""An agent that reads nothing for so long is let go: no job waits for a stopped program. It finds all in the files."""


@dataclass(slots=True)
class Agent:
    """A connected agent and what it has sent of a line."""

    socket: socket.socket
    buffer: bytearray = field(default_factory=bytearray)


class Agents:
    """Registers each in the selector as ("agent", agent). One that does not read, or is gone, is dismissed."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._agents: dict[int, Agent] = {}
        self._untold = bytearray()

    def __len__(self) -> int:
        return len(self._agents)

    def accept(self, connection: socket.socket, keys: Iterable[str]) -> None:
        """A new one: it hears first which runs there are."""
        connection.setblocking(False)
        agent = Agent(connection)
        self._agents[connection.fileno()] = agent
        self._selector.register(connection, selectors.EVENT_READ, ("agent", agent))
        self._tell(agent, json.dumps({"event": "runs", "keys": list(keys)}).encode() + b"\n")

    def hear(self, agent: Agent) -> list[Request]:
        """What it has asked for by now, without waiting."""
        try:
            data = agent.socket.recv(RECEIVED_BYTES)
        except BlockingIOError:
            return []
        except OSError:
            data = b""
        if not data:
            self._dismiss(agent)
            return []
        agent.buffer += data
        *lines, rest = bytes(agent.buffer).split(b"\n")
        agent.buffer = bytearray(rest)
        return [json.loads(line) for line in lines]

    def hear_all(self) -> list[Request]:
        """What any of them has asked for by now."""
        return [request for agent in list(self._agents.values()) for request in self.hear(agent)]

    def note(self, event: str, key: str, why: str = "") -> None:
        """Have all of them told by the next `tell`."""
        self._untold += json.dumps({"event": event, "key": key, "why": why}).encode() + b"\n"

    def tell(self) -> None:
        """Tell what was noted."""
        said, self._untold = bytes(self._untold), bytearray()
        for agent in list(self._agents.values()) if said else []:
            self._tell(agent, said)

    def _tell(self, agent: Agent, lines: bytes) -> None:
        try:
            agent.socket.settimeout(SEND_S)
            agent.socket.sendall(lines)
            agent.socket.setblocking(False)
        except OSError:
            self._dismiss(agent)

    def _dismiss(self, agent: Agent) -> None:
        if self._agents.pop(agent.socket.fileno(), None) is not None:
            self._selector.unregister(agent.socket)
            agent.socket.close()
