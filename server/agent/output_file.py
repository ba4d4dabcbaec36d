"""The bounded output of one run: head and tail are kept, what lies between is dropped and the place is marked."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable
from io import FileIO
from pathlib import Path

from server.agent.platform import sync_file

OUTPUT_FILE = "output"
COPY_BYTES = 1024 * 1024
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.ENOENT)
"""The last one: somebody removed the run's folder."""


class OutputFile:
    """Written by the keeper as bytes come. `output` holds the head meanwhile; `finish` makes it whole.

    The file is made with the first byte: most jobs print nothing. Its descriptor is taken before, so that it is there.

    The tail goes in turns to two files of at most half the bound each, and is copied behind the head at the end: memory
    is bounded by `COPY_BYTES`, disk by twice `bytes_max`. Where `has_room` says no, and on a full disk, output is
    dropped: the head ends there, and the tail begins with what comes once there is room again.
    """

    def __init__(self, directory: Path, bytes_max: int, has_room: Callable[[], bool] = lambda: True) -> None:
        self._has_room = has_room
        self._head_path = directory / OUTPUT_FILE
        self._tails = [directory / "tail.0", directory / "tail.1"]
        self._head_max = max(bytes_max, 2) // 2
        self._tail_max = max(bytes_max, 2) - self._head_max
        self._head: FileIO | None = None
        self._taken = os.open(os.devnull, os.O_RDONLY)
        self._tail_sizes = [0, 0]
        self._has_tail = False
        self._turn = 0
        self._head_size = 0
        self._total = 0
        self._final: tuple[int, bool] | None = None

    @property
    def is_empty(self) -> bool:
        """Nothing came so far: there is nothing to make durable."""
        return self._total == 0

    def write(self, data: bytes) -> None:
        """Append; never raises: a disk that takes nothing drops it."""
        self._total += len(data)
        try:
            if data and not self._has_room():
                raise OSError(errno.ENOSPC, "the reserve of the disk is reached")
            rest = memoryview(data)
            while rest and self._head_size < self._head_max:
                written = self._file().write(rest[: self._head_max - self._head_size])
                self._head_size += written
                rest = rest[written:]
            self._write_tail(rest)
        except OSError:
            self._head_max = self._head_size
            self._drop_tail()

    def _file(self) -> FileIO:
        """The file, made when it is wanted first. Raises OSError: no room."""
        if self._head is None:
            self._give_back()
            self._head = FileIO(self._head_path, "w")
        return self._head

    def _give_back(self) -> None:
        if self._taken >= 0:
            os.close(self._taken)
            self._taken = -1

    def _write_tail(self, data: memoryview) -> None:
        while data:
            if self._tail_sizes[self._turn] >= self._tail_max:
                self._turn = 1 - self._turn
                self._tail_sizes[self._turn] = 0
                self._tails[self._turn].unlink(missing_ok=True)
            room = self._tail_max - self._tail_sizes[self._turn]
            self._has_tail = True
            with open(self._tails[self._turn], "ab", buffering=0) as file:
                written = file.write(data[:room])
            self._tail_sizes[self._turn] += written
            data = data[written:]

    def _drop_tail(self) -> None:
        if self._has_tail:
            for path in self._tails:
                path.unlink(missing_ok=True)
        self._tail_sizes = [0, 0]

    def finish(self) -> tuple[int, bool]:
        """Join head and tail and fsync; return (size, whether something was cut). Repeatable after an OSError.

        Where there is no room for the tail, the head alone is kept: an end waits for no output.
        """
        if self._final is None:
            try:
                size, dropped = self._join()
            except OSError as error:
                if error.errno not in NO_ROOM:
                    raise
                self._drop_tail()
                if self._head is not None:
                    self._head.truncate(self._head_size)
                size, dropped = self._head_size, self._total - self._head_size
            if self._head is not None:
                sync_file(self._head.fileno())
                self._head.close()
            self._final = size, dropped > 0
            self._give_back()
            self._drop_tail()
        return self._final

    def read_ends(self, size: int) -> list[bytes]:
        """After `finish`: the first and the last `size` bytes, or all at once when that is less."""
        whole = self._final[0] if self._final is not None else 0
        if not whole:
            return [b""]
        with contextlib.suppress(FileNotFoundError), open(self._head_path, "rb") as file:
            if whole <= 2 * size:
                return [file.read(whole)]
            first = file.read(size)
            file.seek(whole - size)
            return [first, file.read(size)]
        return [b""]

    def _join(self) -> tuple[int, int]:
        """Write mark and tail behind the head; (bytes in all, bytes that were dropped)."""
        kept = min(sum(self._tail_sizes), self._tail_max)
        skip = sum(self._tail_sizes) - kept
        dropped = self._total - self._head_size - kept
        if not self._total:
            return 0, 0
        self._file().seek(self._head_size)
        size = self._head_size + (self._put(f"\n[{dropped} bytes were cut here]\n".encode()) if dropped else 0)
        for turn in (1 - self._turn, self._turn):
            if self._tail_sizes[turn] <= skip:
                skip -= self._tail_sizes[turn]
                continue
            with open(self._tails[turn], "rb") as file:
                file.seek(skip)
                skip = 0
                while data := file.read(COPY_BYTES):
                    size += self._put(data)
        return size, dropped

    def _put(self, data: bytes) -> int:
        if self._file().write(data) < len(data):
            raise OSError(errno.ENOSPC, "the disk is full")
        return len(data)
