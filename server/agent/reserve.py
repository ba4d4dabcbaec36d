"""Room on the agent's disk for the ends of what it has started: a file that is given back when nothing else is left.

Below `platform.reserve_bytes` of free space the agent starts nothing and drops output by itself. The file is for when
others have filled the disk to the last byte all the same: ends and reports are written into what it gives back.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path

from server.agent.ends import RUNS
from server.agent.platform import disk_is_full
from server.agent.spool import SPOOL_FILE

RESERVE_FILE = "reserve"
FILE_BYTES_MAX = 16 * 1024 * 1024
LOW_BYTES = 1024 * 1024
SPOOL_BYTES_MAX = 4 * 1024 * 1024 * 1024
"""Above so many bytes of reports and output that no master has acknowledged, nothing begins."""


class Reserve:
    """The reserve of one data directory. Nothing here raises: a disk that takes nothing is what it is for."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._path = data / RESERVE_FILE

    def keep(self, runs: int) -> bool:
        """Once a second: give back when the disk is all but full, else see that the file is there.

        True while nothing may begin. `runs` are those that have begun.
        """
        usage = shutil.disk_usage(self._data)
        if usage.free < LOW_BYTES:
            self.give()
        is_full = disk_is_full(self._data, runs)
        wanted = min(FILE_BYTES_MAX, usage.total // 20)
        if not is_full and usage.free > 4 * wanted and self._size() < wanted:
            self._make(wanted)
        return is_full

    def give(self) -> None:
        """Give a quarter of it back, or all that is left of it."""
        size = self._size()
        with contextlib.suppress(OSError):
            os.truncate(self._path, size - size // 4 if size > LOW_BYTES else 0)

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError:
            return 0

    def _make(self, size: int) -> None:
        """Blocks that are really there, where the file system can say so; else zeros that were written."""
        with contextlib.suppress(OSError), open(self._path, "wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                for _ in range(size // LOW_BYTES):
                    file.write(bytes(LOW_BYTES))


def held_bytes(data: Path) -> tuple[int, int]:
    """What the spool occupies with its log, and what the files of runs do. Takes a while with many runs."""
    spool = sum(_size_of(data / f"{SPOOL_FILE}{ending}") for ending in ("", "-wal"))
    output = 0
    with contextlib.suppress(OSError):
        for run in os.scandir(data / RUNS):
            with contextlib.suppress(OSError):
                output += sum(_size_of(Path(file.path)) for file in os.scandir(run.path))
    return spool, output


def _size_of(path: Path) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0
