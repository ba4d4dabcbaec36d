"""What a fork holds, in the application's words: asked before anything of the node is changed.

The application reads the database as it was at the fork's last request. A node that applied everything has that file;
of one with an unapplied tail a copy is made in the fork's folder and the tail redone onto it. Bounded in time and disk;
a failure is written down as the reason why the contents are unknown, and never keeps the node from its master.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator

from replication import threads
from replication.core.request import DATABASE_FILE, Kind, decode, peek
from replication.errors import DiskFull, MustEnd
from replication.files import OBJECT_DIRECTORY, Disk, object_file
from replication.fork import FORKS, Fork, write_whole
from replication.ports import ForkReader
from replication.redo import Applier

CONTENTS = "contents.json"
TIP_FILE = "tip.db"
TIME_S = 60.0
"""How long copying and reading may take together; a larger list is cut by the application before."""
OUTPUTS_S = 30.0
"""How much of that reading objects may take: those behind it count as empty, and the list is still made."""
RESERVE_BYTES = 256 * 1024 * 1024
"""What stays free on the disk beside the copy of the database."""
STEPS = 10_000


class TooMuch(Exception):
    """The copy would take too long or too much disk; the text says which."""


def describe_fork(disk: Disk, applier: Applier, fork: Fork, after: int, reader: ForkReader) -> str:
    """Have the application list what lies beyond `after` into the fork's folder; returns why it could not, or "".

    Durable when it returns; again is nothing. Blocks: call it in a thread, with nothing being applied. Raises MustEnd.
    """
    folder = f"{FORKS}/{fork.name}"
    if disk.exists(f"{folder}/{CONTENTS}"):
        disk.unlink(f"{folder}/{TIP_FILE}")
        return ""
    problem = ""
    try:
        _describe(disk, applier, fork, after, reader)
    except MustEnd:
        raise
    except Exception as error:  # whatever the application's rows are like: the node must get back to its master
        problem = str(error) or type(error).__name__
        with contextlib.suppress(DiskFull):
            write_whole(disk, f"{folder}/{CONTENTS}", reader.unknown(problem))
    disk.unlink(f"{folder}/{TIP_FILE}")
    disk.sync_directory(folder)
    return problem


def _describe(disk: Disk, applier: Applier, fork: Fork, after: int, reader: ForkReader) -> None:
    folder = f"{FORKS}/{fork.name}"
    began = threads.monotonic()
    deadline = began + TIME_S
    name = _tip(disk, applier, f"{folder}/{TIP_FILE}", deadline)
    objects = Objects(disk, f"{folder}/requests", began + OUTPUTS_S)
    connection = sqlite3.connect(f"file:{disk.path(name)}?mode=ro&immutable=1", uri=True)
    try:
        connection.set_progress_handler(lambda: threads.monotonic() > deadline, STEPS)
        for file, data in reader.describe(fork.name, after, connection, objects.read):
            write_whole(disk, f"{folder}/{file}", data)
    except sqlite3.OperationalError as error:
        if threads.monotonic() > deadline:
            raise TooMuch(f"reading it took longer than {TIME_S:.0f} s") from error
        raise
    finally:
        connection.close()
        objects.close()


def _tip(disk: Disk, applier: Applier, target: str, deadline: float) -> str:
    """The file that holds the database at the end of the journal: the node's own, or a copy with the tail redone."""
    if applier.copying:
        raise TooMuch("a copy from the master was under way, so its database is no state of anything")
    last = applier.journal.last.sequence
    if applier.applied >= last:
        return DATABASE_FILE
    size = disk.size_of(DATABASE_FILE)
    if disk.free_bytes() < size + RESERVE_BYTES:
        raise TooMuch(f"reading it needs a copy of the database, {size >> 20} MiB, and the disk has no room for that")
    disk.unlink(target)
    copy = disk.open(target, create=True)
    try:
        for _ in copy.copy_from(disk.keep(DATABASE_FILE)):
            if threads.monotonic() > deadline:
                raise TooMuch(f"copying the database took longer than {TIME_S:.0f} s")
        for encoded in applier.journal.read(applier.applied + 1):
            if threads.monotonic() > deadline:
                raise TooMuch(f"redoing its requests took longer than {TIME_S:.0f} s")
            for file in decode(encoded).files:
                if file.name == DATABASE_FILE:
                    for offset, data in file.extents:
                        copy.write(offset, data)
                    copy.truncate(file.size_after)
    finally:
        copy.close()
    return target


class Objects:
    """This node's objects as they were at the end of the fork: its files, the fork's requests written over them.

    Behind `deadline` (monotonic) every object is empty: a fork of a week has more requests than anybody waits for, and
    a part of an object would be wrong.
    """

    def __init__(self, disk: Disk, requests: str, deadline: float) -> None:
        self._disk = disk
        self._requests = disk.open(requests)
        self._deadline = deadline
        self._places: dict[str, list[tuple[int, int]]] = {}
        for at, length in self._all():
            if self._is_late():
                return
            encoded = self._requests.read(length, at)
            if peek(encoded).kind is Kind.OBJECT:
                for file in decode(encoded).files:
                    self._places.setdefault(file.name, []).append((at, length))

    def _all(self) -> Iterator[tuple[int, int]]:
        at, size = 0, self._requests.size()
        while at < size:
            length = int.from_bytes(self._requests.read(4, at), "big")
            yield at + 4, length
            at += 4 + length

    def _is_late(self) -> bool:
        return threads.monotonic() > self._deadline

    def read(self, name: str, length: int) -> bytes:
        """Return the first `length` bytes of an object; empty without one or without time. Raises BadName."""
        file_name = object_file(name)
        data = bytearray(self._own(file_name, length))
        for at, size in self._places.get(file_name, ()):
            if self._is_late():
                break
            for file in decode(self._requests.read(size, at)).files:
                if file.name != file_name:
                    continue
                for offset, part in file.extents:
                    if offset < length:
                        data.extend(bytes(max(offset - len(data), 0)))
                        data[offset : offset + len(part)] = part
                del data[max(file.size_after, 0) :]  # GONE: all of it
        return b"" if self._is_late() else bytes(data[:length])

    def _own(self, file_name: str, length: int) -> bytes:
        if not self._disk.exists(OBJECT_DIRECTORY) or not self._disk.exists(file_name):
            return b""
        file = self._disk.open(file_name)
        try:
            return file.read(length, 0)
        finally:
            file.close()

    def close(self) -> None:
        """Close the requests."""
        self._requests.close()
