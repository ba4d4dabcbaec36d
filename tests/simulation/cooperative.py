"""Cooperative threads under a virtual clock: exactly one runs, and a seed says who is next.

A thread is a greenlet. It gives the turn away when it blocks, takes a lock, or says `pause`; the clock moves only when
nobody can run. Threads belong to a `Process`, which can be killed: whoever belongs to it never gets on.
"""

from __future__ import annotations

import contextvars
import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any

import greenlet

SWITCH_S = 2e-6


class Killed(BaseException):
    """Raised in a thread of a killed process at whatever it tries next."""


class Stuck(BaseException):
    """Nobody can run and no timer is set."""


class Process:
    """One life of a node's program: what it started is found by it, and ends with it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.alive = True
        self.threads: dict[Thread, None] = {}


CURRENT_PROCESS: contextvars.ContextVar[Process | None] = contextvars.ContextVar("process", default=None)


class Thread:
    """One thread; made by `Scheduler.spawn`."""

    def __init__(self, name: str, process: Process | None) -> None:
        self.name = name
        self.process = process
        self.greenlet: greenlet.greenlet | None = None
        self.done = False
        self.is_ready = False
        self.timed_out = False
        self.turn = 0
        self.killed = False
        self.joiners: list[Thread] = []
        self.locals: dict[int, dict[str, Any]] = {}


class Scheduler:
    """The turn, the clock and the timers. `now` is virtual seconds; the thread that makes it is the first one."""

    def __init__(self, seed: object) -> None:
        self._rng = random.Random(f"turns/{seed}")
        self.now = 100.0
        self._ready: list[Thread] = []
        self._timers: list[tuple[float, int, Thread, int]] = []
        self._order = itertools.count()
        self.current = Thread("loop", None)
        self.main = self.current
        self.main.greenlet = greenlet.getcurrent()
        self.turns = 0
        self.wrong: list[str] = []

    def spawn(self, run: Callable[[], Any], name: str, process: Process | None) -> Thread:
        """Start a thread; it gets its turn like everybody else. No exception may leave it: `wrong` has it then."""
        thread = Thread(name, process)

        def body() -> None:
            try:
                if not thread.killed:
                    run()
            except Killed:
                pass
            except Exception as error:
                self.wrong.append(f"thread {name} ended with {error!r}")
            finally:
                self._ended(thread)

        thread.greenlet = greenlet.greenlet(body, parent=self.main.greenlet)
        thread.greenlet.gr_context = contextvars.copy_context()
        if process is not None:
            process.threads[thread] = None
        self.wake(thread)
        return thread

    def _ended(self, thread: Thread) -> None:
        thread.done = True
        if thread.process is not None:
            thread.process.threads.pop(thread, None)
        for joiner in thread.joiners:
            self.wake(joiner)

    def wake(self, thread: Thread) -> None:
        """Let a blocked thread run again; nothing when it can already."""
        if not thread.is_ready and not thread.done and (thread is not self.current or thread.turn % 2):
            thread.is_ready = True
            self._ready.append(thread)

    def block(self, timeout_s: float | None = None) -> bool:
        """Wait for `wake`; False when the time ran out first. Raises Killed."""
        thread = self.current
        if thread.killed:
            raise Killed
        thread.turn += 1  # odd: blocked
        thread.timed_out = False
        if timeout_s is not None:
            heapq.heappush(self._timers, (self.now + timeout_s, next(self._order), thread, thread.turn))
        self._give_away(thread)
        thread.turn += 1
        if thread.killed:
            raise Killed
        return not thread.timed_out

    def sleep(self, seconds: float) -> None:
        """Let virtual time pass in this thread, not in the event loop."""
        if self.current is not self.main:
            self.block(seconds)

    def pause(self) -> None:
        """Let another thread run here, if the seed says so."""
        thread = self.current
        if thread.killed:
            raise Killed
        if self._ready:
            thread.turn += 1
            self.wake(thread)
            self._give_away(thread)
            thread.turn += 1
            if thread.killed:
                raise Killed

    def _give_away(self, thread: Thread) -> None:
        while True:
            chosen = self._next()
            self.current = chosen
            if chosen is thread:
                return
            assert chosen.greenlet is not None
            chosen.greenlet.switch()
            if self.current is thread:
                return
            # a thread ended, and its greenlet returned to the first one, which is not due yet: choose again

    def _next(self) -> Thread:
        self.turns += 1
        self.now += SWITCH_S
        while self._timers and (self._timers[0][0] <= self.now or not self._ready):
            at, _, thread, turn = heapq.heappop(self._timers)
            if thread.turn != turn or thread.is_ready or thread.done:
                continue
            self.now = max(self.now, at)
            thread.timed_out = True
            thread.is_ready = True
            self._ready.append(thread)
        if not self._ready:
            raise Stuck("nobody can run and no timer is set")
        index = self._rng.randrange(len(self._ready)) if len(self._ready) > 1 else 0
        thread = self._ready.pop(index)
        thread.is_ready = False
        return thread

    def kill(self, process: Process) -> None:
        """End a process here and now; its threads find out when they get their turn."""
        process.alive = False
        for thread in list(process.threads):
            thread.killed = True
            if thread is not self.current:
                self.wake(thread)
