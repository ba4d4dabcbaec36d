"""Makes the ends of a keeper's runs durable, in threads: the loop that starts jobs waits for no disk."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from server.agent.child import Child, finish, write_status
from server.agent.ends import Ends, Status

BATCH_MAX = 256
FINISHERS = 8
"""Outputs are flushed side by side, so that the disk's own grouping makes one flush of many."""
Waiting = tuple[Child, Status, "Future[None]"]


class Recorder:
    """Of one keeper. `wake()` is called from another thread when a future is done."""

    def __init__(self, data: Path, wake: Callable[[], None]) -> None:
        self._ends = Ends(data)
        self._wake = wake
        self._waiting: queue.SimpleQueue[Waiting] = queue.SimpleQueue()
        self._finishers = ThreadPoolExecutor(FINISHERS)
        self._thread: threading.Thread | None = None

    def record(self, child: Child) -> Future[None]:
        """Done once output and end are durable and the status file is there; what an OSError stopped may come again."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._record_forever, daemon=True)
            self._thread.start()
        future: Future[None] = Future()
        if child.output.is_empty:
            self._finish(child, future)
        else:
            self._finishers.submit(self._finish, child, future)
        return future

    def _finish(self, child: Child, future: Future[None]) -> None:
        try:
            self._waiting.put((child, finish(child), future))
        except OSError as error:
            future.set_exception(error)
            self._wake()

    def _record_forever(self) -> None:
        while True:
            batch = [self._waiting.get()]
            while len(batch) < BATCH_MAX and not self._waiting.empty():
                batch.append(self._waiting.get())
            self._keep(batch)
            self._wake()

    def _keep(self, batch: list[Waiting]) -> None:
        """First durable, all of them once; then each visible, whatever becomes of the others."""
        try:
            self._make_durable([(child.key, status) for child, status, _ in batch if not child.is_durable])
        except OSError as error:
            for _, _, future in batch:
                future.set_exception(error)
            return
        for child, status, future in batch:
            child.is_durable = True
            try:
                self._show(child, status)
            except OSError as error:
                future.set_exception(error)
            else:
                future.set_result(None)

    def _make_durable(self, ends: list[tuple[str, Status]]) -> None:
        if ends:
            self._ends.add(ends)

    def _show(self, child: Child, status: Status) -> None:
        write_status(child.directory, status)


def waker(descriptor: int) -> Callable[[], None]:
    """Makes the other end of a pipe readable; a full one is."""

    def wake() -> None:
        try:
            os.write(descriptor, b".")
        except BlockingIOError:
            return

    return wake
