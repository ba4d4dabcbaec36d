"""What `replication.threads` is replaced by: locks, conditions, queues, pools and clocks of one `Scheduler`."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from replication import threads
from tests.simulation.cooperative import CURRENT_PROCESS, Process, Scheduler
from tests.simulation.cooperative import Thread as Turn

_active: list[Scheduler] = []


def scheduler() -> Scheduler:
    """The scheduler of the seed that runs now."""
    return _active[-1]


def current_process() -> Process | None:
    """Whose code runs now: of the thread, or in the event loop of the task."""
    thread = scheduler().current
    return CURRENT_PROCESS.get() if thread is scheduler().main else thread.process


class RLock:
    """A lock that its holder may take again. What a killed thread held is let go."""

    def __init__(self) -> None:
        self._holder: Turn | None = None
        self._depth = 0
        self._waiting: deque[Turn] = deque()

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """As threading's."""
        run = scheduler()
        run.pause()
        me = run.current
        until = run.now + timeout if timeout >= 0 else None
        while self._holder is not None and not (self._holder is me and self._reentrant()):
            if not blocking or (until is not None and run.now >= until):
                return False
            self._waiting.append(me)
            try:
                run.block(None if until is None else until - run.now)
            finally:
                with contextlib.suppress(ValueError):
                    self._waiting.remove(me)
        self._holder = me
        self._depth += 1
        return True

    def _reentrant(self) -> bool:
        return True

    def release(self) -> None:
        """As threading's; after a kill nothing is checked any more."""
        if self._holder is not scheduler().current and scheduler().current.killed:
            return
        assert self._depth > 0, "released a lock that is free"
        self._depth -= 1
        if self._depth == 0:
            self._holder = None
            if self._waiting:
                scheduler().wake(self._waiting[0])

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Lock(RLock):
    """A lock that may be released by another thread, as threading's."""

    def _reentrant(self) -> bool:
        return False


class Condition:
    """A condition with a lock of its own."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._waiting: list[Turn] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    def notify_all(self) -> None:
        """Wake everybody who waits."""
        waiting, self._waiting = self._waiting, []
        for thread in waiting:
            scheduler().wake(thread)

    def wait(self, timeout: float | None = None) -> bool:
        """Let the lock go until notified; False when the time ran out first."""
        self._waiting.append(scheduler().current)
        self._lock.release()
        try:
            return scheduler().block(timeout)
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(scheduler().current)
            self._lock.acquire()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None = None) -> bool:
        """Wait until it is true, at most so long; returns what it is then."""
        until = None if timeout is None else scheduler().now + timeout
        while not predicate():
            left = None if until is None else until - scheduler().now
            if left is not None and left <= 0:
                return predicate()
            self.wait(left)
        return True


class Event:
    """A flag that threads wait for."""

    def __init__(self) -> None:
        self._set = False
        self._waiting: list[Turn] = []

    def set(self) -> None:
        """Raise it."""
        self._set = True
        waiting, self._waiting = self._waiting, []
        for thread in waiting:
            scheduler().wake(thread)

    def clear(self) -> None:
        """Lower it."""
        self._set = False

    def is_set(self) -> bool:
        """Whether it is raised."""
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is raised."""
        scheduler().pause()
        if not self._set:
            self._waiting.append(scheduler().current)
            scheduler().block(timeout)
        return self._set


class SimpleQueue:
    """A queue without bounds."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()
        self._waiting: deque[Turn] = deque()

    def __class_getitem__(cls, item: object) -> type[SimpleQueue]:
        return cls

    def put(self, item: object) -> None:
        """Append; never waits."""
        self._items.append(item)
        if self._waiting:
            scheduler().wake(self._waiting.popleft())

    def get(self) -> Any:
        """The first item, when there is one."""
        scheduler().pause()
        while not self._items:
            self._waiting.append(scheduler().current)
            scheduler().block()
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """The first item, or Empty."""
        if not self._items:
            raise threads.Empty
        return self._items.popleft()


class Thread:
    """A thread that is started later."""

    def __init__(self, target: Callable[[], Any], name: str = "thread", daemon: bool = True) -> None:
        self._target = target
        self._name = name
        self._turn: Turn | None = None

    def start(self) -> None:
        """Begin."""
        self._turn = scheduler().spawn(self._target, self._name, current_process())

    def is_alive(self) -> bool:
        """Whether it has begun and not ended."""
        return self._turn is not None and not self._turn.done

    def join(self) -> None:
        """Wait for its end."""
        assert self._turn is not None
        while not self._turn.done:
            self._turn.joiners.append(scheduler().current)
            scheduler().block()


class ThreadPoolExecutor:
    """A pool whose threads begin when work comes."""

    def __init__(self, max_workers: int, thread_name_prefix: str = "pool") -> None:
        self._max = max_workers
        self._name = thread_name_prefix
        self._queue = SimpleQueue()
        self._threads: list[Thread] = []
        self._idle = 0
        self._closed = False

    def put(self, work: Callable[[], None]) -> None:
        """Have it run by one of the threads."""
        if self._closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        self._queue.put(work)
        if self._idle == 0 and len(self._threads) < self._max:
            thread = Thread(self._work, f"{self._name}-{len(self._threads)}")
            self._threads.append(thread)
            thread.start()

    def _work(self) -> None:
        while True:
            self._idle += 1
            work = self._queue.get()
            self._idle -= 1
            if work is None:
                return
            work()

    def shutdown(self, wait: bool = True, cancel_futures: bool = False) -> None:
        """End the threads when the work is done, or at once."""
        self._closed = True
        if cancel_futures:
            self._queue._items.clear()
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads if wait else []:
            thread.join()


class Local:
    """Attributes that each thread has for itself."""

    def __getattr__(self, name: str) -> Any:
        try:
            return scheduler().current.locals[id(self)][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name: str, value: object) -> None:
        scheduler().current.locals.setdefault(id(self), {})[name] = value


def wait_for_loop(loop: asyncio.AbstractEventLoop, job: Coroutine[Any, Any, Any]) -> Any:
    """Have a job done by the event loop, and wait for it in this thread."""
    done = Event()
    task: list[asyncio.Task[Any]] = []

    def begin() -> None:
        task.append(loop.create_task(job))
        task[0].add_done_callback(lambda _: done.set())

    loop.call_soon_threadsafe(begin)
    done.wait()
    return task[0].result()


@contextlib.contextmanager
def in_place(run: Scheduler) -> Iterator[None]:
    """Replace what `replication.threads` offers, for as long as the block runs."""
    mine = {
        "Condition": Condition, "Event": Event, "Lock": Lock, "RLock": RLock, "SimpleQueue": SimpleQueue,
        "Thread": Thread, "ThreadPoolExecutor": ThreadPoolExecutor, "local": Local, "monotonic": lambda: run.now,
        "utc_us": lambda: 1_700_000_000_000_000 + int(run.now * 1e6), "wait_for_loop": wait_for_loop,
    }  # fmt: skip
    shipped = {name: getattr(threads, name) for name in mine}
    _active.append(run)
    for name, value in mine.items():
        setattr(threads, name, value)
    try:
        yield
    finally:
        _active.pop()
        for name, value in shipped.items():
            setattr(threads, name, value)
