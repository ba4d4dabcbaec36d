"""Several jobs of one link, which live and end together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from replication import threads

T = TypeVar("T")


class Bell:
    """Wakes every job that waits for a condition of their common object. Event loop only."""

    def __init__(self) -> None:
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something changed: conditions are looked at again."""
        self._rung.set()

    async def until(self, condition: Callable[[], Any]) -> None:
        """Wait until the condition holds; whoever changes what it depends on rings."""
        while not condition():
            self._rung.clear()
            await self._rung.wait()


async def run_beside(main: Coroutine[Any, Any, T], *helpers: Coroutine[Any, Any, None]) -> T:
    """Run `main` to its end beside helpers, which may end earlier; the first exception of any ends them all.

    When it returns or raises, also by cancellation, every job has ended.
    """
    first = asyncio.ensure_future(main)
    tasks: list[asyncio.Future[Any]] = [first, *map(asyncio.ensure_future, helpers)]
    try:
        pending = set(tasks)
        while not first.done():
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()
        return first.result()
    finally:
        for task in tasks:
            task.cancel()
        await threads.ended(tasks)
