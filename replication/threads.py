"""Threads, what they wait on, and the clocks: everything in `replication/` takes them from here, and from nowhere else.

Write `threads.Lock()`, never a name imported from this module: the simulation puts its own in their places, and then
one seed decides who runs next and what time it is (`tests/simulation/`). `asyncio.to_thread` and `run_in_executor` need
no such care: the simulation's event loop answers for them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Coroutine
from concurrent.futures import ThreadPoolExecutor
from queue import Empty, SimpleQueue
from threading import Condition, Event, Lock, RLock, Thread, local
from time import monotonic
from typing import Any, ParamSpec, TypeVar

__all__ = [
    "Condition", "Empty", "Event", "Lock", "RLock", "SimpleQueue", "Thread", "ThreadPoolExecutor", "ended", "finished",
    "local", "monotonic", "utc_us", "wait_for_loop",
]  # fmt: skip

P = ParamSpec("P")
T = TypeVar("T")


def utc_us() -> int:
    """The wall clock, microseconds; for people only."""
    return time.time_ns() // 1000


def wait_for_loop(loop: asyncio.AbstractEventLoop, job: Coroutine[Any, Any, T]) -> T:
    """Have `job` done by the event loop and return its result. Blocks: only in another thread than the loop's."""
    return asyncio.run_coroutine_threadsafe(job, loop).result()


async def ended(tasks: Collection[asyncio.Future[Any]]) -> None:
    """Wait until all have ended, whatever they raise. A cancellation meanwhile is passed on only then: a second one
    must not leave a thread behind that still writes."""
    cancelled: asyncio.CancelledError | None = None
    while pending := [task for task in tasks if not task.done()]:
        try:
            await asyncio.wait(pending)
        except asyncio.CancelledError as error:
            cancelled = error
    for task in tasks:
        if not task.cancelled():
            task.exception()  # taken note of: the first one was raised, or the caller was cancelled
    if cancelled is not None:
        raise cancelled


async def finished(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run `function` in a thread. A cancellation is passed on only when the thread is done with the files."""
    work = asyncio.ensure_future(asyncio.to_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await ended([work])
        raise
