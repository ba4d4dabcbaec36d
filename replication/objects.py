"""Objects on the master: job output, scripts and certificates, under immutable names below `objects/`.

A change's objects are journaled with its rows and written to their files only when they are committed, so that a tail
which is cut later never reached them. Writing is done by the event loop (the gate), planning and syncing by the writer.
"""

from __future__ import annotations

from collections import deque

from replication import threads
from replication.core.request import DATABASE_FILE, GONE, FileChange
from replication.errors import DiskFull
from replication.files import OBJECT_DIRECTORY, Disk


def write_file(disk: Disk, change: FileChange) -> None:
    """Write one object as a request says; idempotent. Not durable before the file and the directory are synced."""
    if change.size_after == GONE:
        disk.unlink(change.name)
        return
    file = disk.open(change.name, create=True)
    try:
        for offset, data in change.extents:
            file.write(offset, data)
        if file.size() != change.size_after:
            file.truncate(change.size_after)
    finally:
        file.close()


class Objects:
    """Pending object writes, and the names that the next checkpoint has to fsync."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        disk.make_directory(OBJECT_DIRECTORY)
        self._lock = threads.Lock()
        self._pending: deque[tuple[int, FileChange]] = deque()
        self._dirty: set[str] = set()
        self._sizes: dict[str, int] = {}

    def plan(self, writes: list[tuple[str, int, bytes | None]]) -> list[FileChange]:
        """Turn the writes of a group into changes with their sizes. Writer thread."""
        changes = []
        for name, offset, data in writes:
            if data is None:
                self._sizes[name] = 0
                changes.append(FileChange(name, GONE))
                continue
            known = self._sizes.get(name)
            size = max(self._disk.size_of(name) if known is None else known, offset + len(data))
            self._sizes[name] = size
            changes.append(FileChange(name, size, ((offset, data),)))
        return changes

    def hold(self, sequence: int, files: tuple[FileChange, ...]) -> None:
        """Keep the objects of an appended request until they are committed. Writer thread."""
        changes = [(sequence, file) for file in files if file.name != DATABASE_FILE]
        if changes:
            with self._lock:
                self._pending.extend(changes)

    def allowed(self, commit: int, recorded: int) -> int:
        """Return how far the commit sequence may be advanced: not onto an object whose commit is not durable yet.

        `recorded` is the journal's synced commit. A later cut must find no byte of an object that the journal does not
        know to be committed (invariant 7).
        """
        with self._lock:
            for sequence, _ in self._pending:
                if recorded < sequence <= commit:
                    return sequence - 1
        return commit

    def apply(self, commit: int) -> int:
        """Write everything at or below the commit sequence; returns how far that went. Called before anybody is told.

        A full disk stops it in front of the first object that has no room; that one stays pending. Raises OSError.
        """
        with self._lock:
            while self._pending and self._pending[0][0] <= commit:
                sequence, change = self._pending[0]
                try:
                    write_file(self._disk, change)
                except DiskFull:
                    return sequence - 1
                self._pending.popleft()
                self._dirty.add(change.name)
        return commit

    def sync(self) -> None:
        """Make the written objects and their directory durable. Writer thread; nothing is pending (commit = last)."""
        with self._lock:
            assert not self._pending, "a checkpoint runs only when everything is committed"
            dirty, self._dirty = self._dirty, set()
            self._sizes.clear()
        sync_objects(self._disk, dirty)


def sync_objects(disk: Disk, names: set[str]) -> None:
    """Make the named objects (gone ones too) and their directory durable."""
    for name in sorted(names):
        try:
            file = disk.open(name)
        except FileNotFoundError:
            continue
        try:
            file.sync()
        finally:
            file.close()
    if names:
        disk.sync_directory(OBJECT_DIRECTORY)
