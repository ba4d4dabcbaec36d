"""The ends of runs in one file, `ends` in the data directory: many are made durable with one flush.

A line for each end: the run's key and what its `status` file says. That file is written behind it and needs no flush:
`restore` writes it again where it was lost with the machine's power or with the keeper (docs/decisions/0143).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from server.agent.platform import sync_file
from server.identity import sync_directory

RUNS = "runs"
ENDS_FILE = "ends"
ENDS_BYTES_MAX = 4 * 1024 * 1024
"""Above it the ends of runs that have no files any more are dropped: nobody asks for those."""
Status = dict[str, Any]


class Ends:
    """What the keeper adds to. One writer at a time: the keeper that serves the directory."""

    def __init__(self, data: Path, bytes_max: int = ENDS_BYTES_MAX) -> None:
        self._data = data
        self._bytes_max = bytes_max
        self._descriptor = -1

    def add(self, ends: Iterable[tuple[str, Status]]) -> None:
        """Durable when it returns. Raises OSError, and then none of them is there: add them again."""
        if self._descriptor < 0:
            self._open()
        size = os.lseek(self._descriptor, 0, os.SEEK_END)
        if size > self._bytes_max:
            self._shorten()
            size = os.lseek(self._descriptor, 0, os.SEEK_END)
        lines = b"".join(json.dumps([key, status]).encode() + b"\n" for key, status in ends)
        try:
            _write(self._descriptor, lines)
            sync_file(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, size)
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        """Begin on a line of its own behind what a keeper could not finish."""
        path = self._data / ENDS_FILE
        is_new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                _write(descriptor, b"\n")
            if is_new:
                sync_directory(self._data)
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _shorten(self) -> None:
        """Keep what is still asked for, in a new file beside; where there is no room, the old one goes on."""
        beside = self._data / f"{ENDS_FILE}.new"
        descriptor = -1
        try:
            kept = [(key, status) for key, status in read(self._data) if (self._data / RUNS / key).is_dir()]
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            _write(descriptor, b"".join(json.dumps([key, status]).encode() + b"\n" for key, status in kept))
            sync_file(descriptor)
            os.replace(beside, self._data / ENDS_FILE)
        except OSError:
            if descriptor >= 0:
                os.close(descriptor)
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        sync_directory(self._data)


def read(data: Path) -> Iterator[tuple[str, Status]]:
    """All ends that are whole, the oldest first."""
    try:
        lines = (data / ENDS_FILE).read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            key, status = json.loads(line)
            yield str(key), dict(status)


def restore(data: Path) -> None:
    """Write the `status` files that were lost. Call before it is judged by them how a run ended.

    Beside a keeper that writes them itself it changes nothing. Where there is no room
    they stay lost until a later call.
    """
    last = dict(read(data))
    for key, status in last.items():
        directory = data / RUNS / key
        if directory.is_dir() and is_of(directory, status) and not _is_whole(directory / "status"):
            with contextlib.suppress(OSError):
                beside = directory / "status.new"
                beside.write_bytes(json.dumps(status).encode())
                os.replace(beside, directory / "status")


def is_of(directory: Path, status: Status) -> bool:
    """Whether it is the end of this very run: its files say when it began, unless they were lost with the power."""
    try:
        note = json.loads((directory / "pid").read_bytes())
    except ValueError:
        return True
    except OSError:
        return False
    return bool(note.get("at_us") == status["started_at_us"])


def _is_whole(path: Path) -> bool:
    try:
        return isinstance(json.loads(path.read_bytes()), dict)
    except (OSError, ValueError):
        return False


def _write(descriptor: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(descriptor, rest) :]
