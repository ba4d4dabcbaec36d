"""A disk that a seed spoils: slow or hanging fsyncs, EIO, no space, and a power loss between any two operations.

The shipped `Disk` and `File` run unchanged on it: `FaultyOs` stands where `replication.files` has `os`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from replication import files
from tests.failpoints.points import kind_of
from tests.simulation.cooperative import Killed, Process
from tests.simulation.primitives import current_process, scheduler
from tests.simulation.recording_disk import RecordingDisk

FREE_BYTES = 1 << 30
SYNC_S = 0.0004


class SeededDisk(RecordingDisk):
    """The disk of one life of a node. `landed(what)` is told of each fault that did something."""

    def __init__(self, root: Path, process: Process, rng: random.Random, landed: Callable[[str], None]) -> None:
        self.process = process
        self._rng = rng
        self._landed = landed
        self.kill_at: int | None = None
        self.on_kill: Callable[[str], None] = lambda where: None
        self.is_deadly: Callable[[str], bool] = lambda point: False
        self.stalled_until = 0.0
        self.is_full = False
        self.fail_next = ""
        self.descriptors: set[int] = set()
        self.full_noted = False
        self.failed = False
        process.disk = self  # type: ignore[attr-defined]  # FaultyOs finds it there
        super().__init__(root, self._stepped)

    def begin(self, operation: str, name: str) -> None:
        """Takes its time; the power may go here."""
        run = scheduler()
        if not self.process.alive:
            raise Killed
        if operation == "sync":
            wait = self._rng.expovariate(1 / SYNC_S)
            if self.stalled_until > run.now:
                self._landed(f"fsync of {name} hangs for {self.stalled_until - run.now:.1f} s")
                wait += self.stalled_until - run.now
            run.sleep(wait)
        else:
            run.pause()
        if not self.process.alive:
            raise Killed
        super().begin(operation, name)

    def _stepped(self, operation: str, name: str) -> None:
        if self.is_deadly(f"{operation} {kind_of(name)}"):
            self.kill_at = 1
        if self.kill_at is not None:
            self.kill_at -= 1
            if self.kill_at <= 0:
                self.kill_at = None
                self.on_kill(f"{operation} {name}")
                raise Killed

    def refuse(self, operation: str, growing: bool) -> None:
        """Raise what the operating system would: EIO once when asked for, ENOSPC while full."""
        if not self.process.alive:
            raise Killed
        if self.fail_next == operation:
            self.fail_next = ""
            self.failed = True
            self._landed(f"EIO on {operation}")
            raise OSError(errno.EIO, "Input/output error")
        if growing and self.is_full:
            if not self.full_noted:
                self.full_noted = True
                self._landed("no space left")
            raise OSError(errno.ENOSPC, "No space left on device")

    def fill(self, full: bool) -> None:
        """No space from now on, or space again."""
        self.is_full, self.full_noted = full, False

    def bury(self) -> None:
        """Close what a killed process left open."""
        for descriptor in self.descriptors:
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self.descriptors.clear()


class FaultyOs:
    """`os` for `replication.files`, with the current process's disk in between."""

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)

    @staticmethod
    def _disk() -> SeededDisk | None:
        return getattr(current_process(), "disk", None)

    def open(self, path: Any, flags: int, *args: Any, **kwargs: Any) -> int:
        """Remembered, so that a killed process leaves nothing open."""
        disk = self._disk()
        descriptor = os.open(path, flags, *args, **kwargs)
        if disk is not None:
            disk.descriptors.add(descriptor)
        return descriptor

    def close(self, descriptor: int) -> None:
        """Close."""
        disk = self._disk()
        if disk is not None:
            if descriptor not in disk.descriptors:
                return
            disk.descriptors.discard(descriptor)
        os.close(descriptor)

    def pwritev(self, descriptor: int, buffers: Any, offset: int) -> int:
        """Write, or refuse."""
        if (disk := self._disk()) is not None:
            total = sum(map(len, buffers))
            disk.refuse("write", disk.is_full and offset + total > os.fstat(descriptor).st_size)
        return os.pwritev(descriptor, buffers, offset)

    def fdatasync(self, descriptor: int) -> None:
        """No real fsync: what is durable is what RecordingDisk remembers."""
        if (disk := self._disk()) is not None:
            disk.refuse("sync", False)

    def fsync(self, descriptor: int) -> None:
        """As fdatasync."""
        self.fdatasync(descriptor)

    def fstatvfs(self, descriptor: int) -> Any:
        """Room, or none."""
        disk = self._disk()
        return SimpleNamespace(f_bavail=0 if disk is not None and disk.is_full else FREE_BYTES, f_frsize=1)


@contextlib.contextmanager
def spoiled() -> Iterator[None]:
    """Put FaultyOs in place for as long as the block runs."""
    shipped, files.os = files.os, FaultyOs()  # type: ignore[assignment]  # that is the point
    try:
        yield
    finally:
        files.os = shipped
