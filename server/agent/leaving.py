"""How the agent's program ends at SIGTERM or SIGINT: at once, or after its runs (docs/decisions/0081)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from server.agent.platform import machine_stops
from server.core.agent_drain import drains_on_stop

log = structlog.get_logger(__name__)

LOOK_S = 0.1
TELL_S = 5.0
"""For so long the outcome of a drain is waited for to be with a master; what is not told is told at the next start."""


class Drains(Protocol):
    """What the end asks of the agent."""

    def on_stop(self) -> str:
        """auto | keep | drain."""

    def drain(self) -> None:
        """Begin nothing new."""

    def is_drained(self) -> bool:
        """Nothing runs that ran then."""

    def is_told(self) -> bool:
        """No report waits for a connected master."""


class Leaving:
    """`signalled` at each signal: the first may drain, the next one ends at once. `stop` ends the program."""

    def __init__(self, agent: Drains, stop: Callable[[], None], failed: Callable[[BaseException], None]) -> None:
        self._agent = agent
        self._stop = stop
        self._failed = failed
        self._task: asyncio.Task[None] | None = None

    def signalled(self) -> None:
        """A signal to end arrived."""
        if self._task is not None:
            log.info("a second signal: the agent ends now; what runs goes on under its keeper")
            self._stop()
            return
        self._task = asyncio.get_running_loop().create_task(self._leave())
        self._task.add_done_callback(self._ended)

    async def _leave(self) -> None:
        setting = self._agent.on_stop()
        if drains_on_stop(setting, await asyncio.to_thread(machine_stops)):
            log.info("drains before it ends; a second signal ends it at once", on_stop=setting)
            self._agent.drain()
            while not self._agent.is_drained():
                await asyncio.sleep(LOOK_S)
            await self._tell()
        self._stop()

    async def _tell(self) -> None:
        try:
            async with asyncio.timeout(TELL_S):
                while not self._agent.is_told():
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            log.warning("no master has the outcome of the drain yet: it is told at the next start")

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._failed(error)
