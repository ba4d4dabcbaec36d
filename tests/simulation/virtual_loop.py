"""An event loop of virtual time, whose executors are cooperative threads and whose tasks belong to processes."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
from asyncio import base_events, events
from collections.abc import Callable, Coroutine
from typing import Any

from tests.simulation.cooperative import CURRENT_PROCESS, Killed, Process, Scheduler
from tests.simulation.primitives import ThreadPoolExecutor

DEFAULT_POOL = 6
"""Threads of the default executor on a machine with two cores."""


class Task(asyncio.Task[Any]):
    """A task whose place in a set does not depend on where it lies in memory."""

    count = 0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        Task.count += 1
        self._number = Task.count
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number

    def __eq__(self, other: object) -> bool:
        return self is other


class VirtualLoop(base_events.BaseEventLoop):
    """Runs in the first thread of the scheduler. What belongs to a dead process is never run again."""

    def __init__(self, scheduler: Scheduler, wrong: Callable[[str], None]) -> None:
        super().__init__()
        Task.count = 0
        self.scheduler = scheduler
        self._selector = self
        self._wrong = wrong
        self._pools: dict[Process | None, ThreadPoolExecutor] = {}
        self._tasks: dict[Process, dict[Task, None]] = {}
        self.set_task_factory(self._make_task)
        self.set_exception_handler(self._handle)

    def time(self) -> float:
        """The scheduler's clock."""
        return self.scheduler.now

    def select(self, timeout: float | None) -> list[Any]:
        """Wait for a call from a thread, or until a timer is due: here the other threads get their turns."""
        if timeout is not None and timeout <= 0:
            self.scheduler.pause()
        else:
            self.scheduler.block(timeout)
        return []

    def _process_events(self, event_list: list[Any]) -> None:
        """There are no files."""

    def _write_to_self(self) -> None:
        self.scheduler.wake(self.scheduler.main)

    def _make_task(
        self, loop: asyncio.AbstractEventLoop, job: Coroutine[Any, Any, Any], **kwargs: Any
    ) -> asyncio.Task[Any]:
        context = kwargs.get("context") or contextvars.copy_context()
        process = context.get(CURRENT_PROCESS)
        task = Task(job, loop=loop, **kwargs)
        if process is not None:
            tasks = self._tasks.setdefault(process, {})
            tasks[task] = None
            task.add_done_callback(lambda done: tasks.pop(task, None))
        return task

    def _handle(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Killed) and "never retrieved" not in context["message"]:
            self._wrong(f"{context['message']}: {error!r}")

    def _call_soon(self, callback: Any, args: Any, context: Any) -> events.Handle:
        if context is None:
            context = contextvars.copy_context()
        process = context.get(CURRENT_PROCESS)
        handle = events.Handle(callback, args, self, context)
        if process is None or process.alive:
            self._ready.append(handle)  # type: ignore[attr-defined]  # of the base class, without a type
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run it in a cooperative thread; the answer comes by `call_soon_threadsafe`."""
        process = CURRENT_PROCESS.get()
        if executor is None:
            executor = self._pools.setdefault(process, ThreadPoolExecutor(DEFAULT_POOL, "default"))
        future = self.create_future()

        def answer(give: Callable[[Any], None], value: Any) -> None:
            if not future.done():
                give(value)

        def work() -> None:
            if future.cancelled():
                return
            try:
                value = func(*args)
            except Exception as error:
                self.call_soon_threadsafe(answer, future.set_exception, error)
            else:
                self.call_soon_threadsafe(answer, future.set_result, value)

        executor.put(work)
        return future

    def run_for(self, process: Process, job: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of a process."""
        context = contextvars.copy_context()
        context.run(CURRENT_PROCESS.set, process)
        return self.create_task(job, context=context)

    def kill(self, process: Process) -> None:
        """The tasks of a process never get on; their coroutines are closed, so that nothing of them runs later."""
        self.scheduler.kill(process)
        for handle in [*self._ready, *self._scheduled]:  # type: ignore[attr-defined]  # of the base class
            if handle._context is not None and handle._context.get(CURRENT_PROCESS) is process:
                handle.cancel()
        for task in list(self._tasks.pop(process, {})):
            task._log_destroy_pending = False  # type: ignore[attr-defined]  # it ends with its process
            self._bury(task.get_coro())

    @staticmethod
    def _bury(job: Any) -> None:
        """Close a coroutine; one that waits in a `finally` is closed as often as it takes."""
        for _ in range(20):
            try:
                job.close()
                return
            except ValueError:  # it runs now: what it does next raises Killed
                return
            except BaseException:
                with contextlib.suppress(AttributeError):
                    if job.cr_frame is None:
                        return
