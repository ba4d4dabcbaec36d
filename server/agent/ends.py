"""The ends of runs in one file, `ends` in the data directory: many are made durable with one flush.

A line for each end: the run's key and what its `status` file says. That file is written behind it and needs no flush:
`restore` writes it again where it was lost with the machine's power or with the keeper (docs/decisions/0143).
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from server.agent.platform import sync_file
from server.trust.identity import sync_directory

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
        self._shorten_above = bytes_max
        self._descriptor = -1

    def add(self, ends: Iterable[tuple[str, Status]]) -> None:
        """Durable when it returns. Raises OSError: add them again; what is there of them by then is there twice."""
        lines = b"".join(json.dumps([key, status]).encode() + b"\n" for key, status in ends)
        size = -1
        try:
            if self._descriptor < 0:
                self._open()
            if os.fstat(self._descriptor).st_size > self._shorten_above:
                self._shorten()
            size = os.fstat(self._descriptor).st_size
            _write(self._descriptor, lines)
            sync_file(self._descriptor)
        except OSError:
            with contextlib.suppress(OSError):
                if size >= 0:
                    os.ftruncate(self._descriptor, size)
            self.close()  # opened again, it begins on a line of its own, and its name is made durable again
            raise

    def close(self) -> None:
        """Let go of the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        """Begin on a line of its own behind what a keeper could not finish."""
        descriptor = os.open(self._data / ENDS_FILE, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            size = os.lseek(descriptor, 0, os.SEEK_END)
            if size and os.pread(descriptor, 1, size - 1) != b"\n":
                _write(descriptor, b"\n")
            sync_directory(self._data)  # also of a file that is there: who made it may have been killed before this
        except OSError:
            os.close(descriptor)
            raise
        self._descriptor = descriptor

    def _shorten(self) -> None:
        """Keep what is still asked for, in a new file beside; where there is no room, the old one goes on.

        Done again at twice the size: while the ends of many runs are asked for, it is not done for each of them.
        """
        beside = self._data / f"{ENDS_FILE}.new"
        descriptor = -1
        try:
            kept = {key: status for key, status in read(self._data) if (self._data / RUNS / key).is_dir()}
            descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
            _write(descriptor, b"".join(json.dumps(one).encode() + b"\n" for one in kept.items()))
            sync_file(descriptor)
            os.replace(beside, self._data / ENDS_FILE)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            if descriptor >= 0:
                os.close(descriptor)
            self._shorten_above *= 2
            return
        os.close(self._descriptor)
        self._descriptor = descriptor
        self._shorten_above = max(self._bytes_max, 2 * os.fstat(descriptor).st_size)
        sync_directory(self._data)


def read(data: Path) -> Iterator[tuple[str, Status]]:
    """All ends that are whole, the oldest first. Raises OSError when nobody can say what is there."""
    try:
        lines = (data / ENDS_FILE).read_bytes().split(b"\n")
    except FileNotFoundError:
        return
    for line in lines:
        with contextlib.suppress(ValueError, TypeError):
            key, status = json.loads(line)
            yield str(key), dict(status)


def restore(data: Path, begun: Mapping[str, int] | None = None) -> dict[str, Status]:
    """Write the `status` files that were lost. Call before it is judged by them how a run ended.

    Returns the ends whose files could not be written now: they are ends all the same. Beside a keeper that writes them
    itself it changes nothing. `begun`: keys of intents and when these were made, microseconds UTC; of them an end
    counts also when folder or pid file were lost with the power. Raises OSError when `ends` cannot be read.
    """
    unwritten: dict[str, Status] = {}
    for key, status in dict(read(data)).items():
        directory, intent_us = data / RUNS / key, (begun or {}).get(key)
        if (intent_us is None and not directory.is_dir()) or _is_whole(directory / "status"):
            continue
        if is_of(directory, status, intent_us):
            try:
                _write_again(directory, status)
            except OSError:
                unwritten[key] = status
    return unwritten


def _write_again(directory: Path, status: Status) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    beside = directory / "status.new"
    beside.write_bytes(json.dumps(status).encode())
    os.replace(beside, directory / "status")


def is_of(directory: Path, status: Status, intent_us: int | None = None) -> bool:
    """Whether it is the end of this very run: its files say when it began, unless they were lost with the power.

    Without a pid file it is when it began after its intent was made: of an earlier run of that key nothing is open.
    """
    try:
        note = json.loads((directory / "pid").read_bytes())
    except FileNotFoundError:
        return bool(intent_us is not None and status["started_at_us"] >= intent_us)
    except OSError:
        return False
    except ValueError:
        return True
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
