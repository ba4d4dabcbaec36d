"""The bounded output of one run: head and tail are kept, what lies between is dropped and the place is marked."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

OUTPUT_FILE = "output"


class OutputFile:
    """Written by the keeper as bytes come. `output` holds the head meanwhile; `finish` makes it whole.

    The tail goes in turns to two files of at most half the bound each, so that memory and disk stay bounded
    (1.5 times `bytes_max`). A full disk drops output and is marked as a cut.
    """

    def __init__(self, directory: Path, bytes_max: int) -> None:
        self._head_path = directory / OUTPUT_FILE
        self._tails = [directory / "tail.0", directory / "tail.1"]
        self._bytes_max = max(bytes_max, 2)
        self._half = self._bytes_max // 2
        self._head = open(self._head_path, "wb", buffering=0)  # noqa: SIM115 - open for as long as the run
        self._tail_sizes = [0, 0]
        self._turn = 0
        self._head_size = 0
        self._total = 0
        self._final: tuple[int, bool] | None = None

    def write(self, data: bytes) -> None:
        """Append; never raises for a full disk."""
        self._total += len(data)
        room = self._half - self._head_size
        with contextlib.suppress(OSError):
            if room > 0:
                self._head_size += self._head.write(data[:room])
            self._write_tail(memoryview(data)[max(room, 0) :])

    def _write_tail(self, data: memoryview) -> None:
        while data:
            if self._tail_sizes[self._turn] >= self._bytes_max - self._half:
                self._turn = 1 - self._turn
                self._tail_sizes[self._turn] = 0
                self._tails[self._turn].unlink(missing_ok=True)
            room = self._bytes_max - self._half - self._tail_sizes[self._turn]
            with open(self._tails[self._turn], "ab", buffering=0) as file:
                self._tail_sizes[self._turn] += file.write(data[:room])
            data = data[room:]

    def finish(self) -> tuple[int, bool]:
        """Join head and tail and fsync; return (size, whether something was cut). Repeatable after an OSError."""
        if self._final is None:
            parts = [path for path in (self._tails[1 - self._turn], self._tails[self._turn]) if path.exists()]
            tail = b"".join(path.read_bytes() for path in parts)
            tail = tail[-(self._bytes_max - self._half) :]
            dropped = self._total - self._head_size - len(tail)
            mark = f"\n[{dropped} bytes were cut here]\n".encode() if dropped > 0 else b""
            self._head.seek(self._head_size)
            if self._head.write(mark + tail) < len(mark) + len(tail):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if self._total:
                os.fsync(self._head.fileno())
            self._final = (self._head_size + len(mark) + len(tail), dropped > 0)
            self._head.close()
            for path in self._tails:
                path.unlink(missing_ok=True)
        return self._final
