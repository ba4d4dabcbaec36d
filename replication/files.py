"""Every file operation of replication: one `Disk` per data directory, so that tests can cut its power.

POSIX locks belong to a process and a file: closing *any* descriptor of scheduler.db or its -shm drops SQLite's locks on
it. Those files are therefore opened once (`keep`) and closed (`release_kept`) only after SQLite's last connection is
closed. No other module opens a file of the data directory.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

from replication import threads
from replication.core.request import DATABASE_FILE, OBJECT_PREFIX
from replication.errors import BadName, DiskFull, SyncFailed

WAL_FILE = DATABASE_FILE + "-wal"
SHM_FILE = DATABASE_FILE + "-shm"
OBJECT_DIRECTORY = OBJECT_PREFIX.rstrip("/")
COPY_BYTES = 16 * 1024 * 1024
_OBJECT_NAME = re.compile(r"objects/[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW


def object_file(name: str) -> str:
    """Return the file name of object `name` below the data directory. Raises BadName."""
    return checked_name(OBJECT_PREFIX + name)


def checked_name(name: str) -> str:
    """Return a name that a request may change: the database or one object; anything else raises BadName."""
    if name != DATABASE_FILE and not _OBJECT_NAME.fullmatch(name):
        raise BadName(f"{name!r} is neither {DATABASE_FILE} nor an object of letters, digits and ._-")
    return name


class File:
    """An open file. Safe in several threads: every operation names its offset. Sizes and offsets are bytes."""

    def __init__(self, disk: Disk, name: str, descriptor: int) -> None:
        self.disk = disk
        self.name = name
        self.descriptor = descriptor

    def read(self, length: int, offset: int) -> bytes:
        """Return up to `length` bytes; fewer only at the end of the file."""
        data = os.pread(self.descriptor, length, offset)
        if len(data) == length or not data:
            return data
        parts = [data]
        done = len(data)
        while done < length and (data := os.pread(self.descriptor, length - done, offset + done)):
            parts.append(data)
            done += len(data)
        return b"".join(parts)

    def write(self, offset: int, *buffers: bytes | memoryview) -> None:
        """Write all buffers one behind the other. Raises DiskFull with an unknown part written, or OSError."""
        self.disk.begin("write", self.name)
        total = sum(len(buffer) for buffer in buffers)
        try:
            done = os.pwritev(self.descriptor, buffers, offset)
            if done < total:
                rest = b"".join(buffers)
                while done < total:
                    done += os.pwrite(self.descriptor, rest[done:], offset + done)
        except OSError as error:
            raise _explained(error, self.name) from error
        self.disk.end("write", self.name)

    def truncate(self, size: int) -> None:
        """Set the size; a grown part reads as zeros."""
        self.disk.begin("write", self.name)
        os.ftruncate(self.descriptor, size)
        self.disk.end("write", self.name)

    def copy_from(self, source: File) -> Iterator[int]:
        """Become a copy of `source`, yielding the bytes done after each part; a file system that can shares them.

        Not durable before `sync`. Raises DiskFull, OSError.
        """
        done, size = 0, source.size()
        self.truncate(0)
        while done < size:
            self.disk.begin("write", self.name)
            try:
                count = os.copy_file_range(source.descriptor, self.descriptor, min(COPY_BYTES, size - done), done, done)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise _explained(error, self.name) from error
                data = source.read(min(COPY_BYTES, size - done), done)
                self.write(done, data)
                count = len(data)
            self.disk.end("write", self.name)
            if count == 0:
                return
            done += count
            yield done

    def size(self) -> int:
        """Return the size in bytes."""
        return os.fstat(self.descriptor).st_size

    def sync(self) -> None:
        """Make content and size durable (fdatasync), not the directory entry. Raises SyncFailed: end the process."""
        self.disk.begin("sync", self.name)
        try:
            os.fdatasync(self.descriptor)
        except OSError as error:
            raise SyncFailed(
                f"{self.name} could not be made durable ({error}): check the disk, then start again"
            ) from error
        self.disk.end("sync", self.name)

    def close(self) -> None:
        """Close; idempotent. Never call it on a kept file: `Disk.release_kept` does that."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _explained(error: OSError, name: str) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFull(f"no space left on the disk for {name}: free some, then try again")
    return error


class Disk:
    """The data directory at `root` (made when absent). Names are relative to it and never leave it.

    `begin` and `end` bracket each change and do nothing; a test's disk overrides them.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._kept: dict[str, File] = {}
        self._lock = threads.Lock()

    def begin(self, operation: str, name: str) -> None:
        """Called before each change: write, sync, create, unlink, rename, sync-directory, sqlite-checkpoint."""

    def end(self, operation: str, name: str) -> None:
        """Called after each change that succeeded."""

    def open(self, name: str, *, create: bool = False) -> File:
        """Open for reading and writing. Raises FileNotFoundError; a symbolic link is never followed."""
        assert name not in (DATABASE_FILE, SHM_FILE), "scheduler.db and -shm are only kept"
        return self._open(name, create)

    def keep(self, name: str) -> File:
        """Return the one descriptor of a file, opened (and created, except -shm) at the first call."""
        with self._lock:
            if name not in self._kept:
                self._kept[name] = self._open(name, create=name not in (SHM_FILE, WAL_FILE))
            return self._kept[name]

    def release_kept(self) -> None:
        """Close the kept descriptors. Only after SQLite's last connection in this process is closed."""
        with self._lock:
            for file in self._kept.values():
                file.close()
            self._kept.clear()

    def _open(self, name: str, create: bool) -> File:
        if create and not self.exists(name):
            self.begin("create", name)
            try:
                descriptor = os.open(name, _FLAGS | os.O_CREAT, 0o600, dir_fd=self._directory)
            except OSError as error:
                raise _explained(error, name) from error
            self.end("create", name)
            return File(self, name, descriptor)
        return File(self, name, os.open(name, _FLAGS, dir_fd=self._directory))

    def path(self, name: str) -> Path:
        """Return the path, for SQLite and for programs that only read."""
        return self.root / name

    def exists(self, name: str) -> bool:
        """Return whether the name is there (a dangling link counts)."""
        try:
            os.stat(name, dir_fd=self._directory, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    def size_of(self, name: str) -> int:
        """Return the size in bytes; 0 when absent."""
        try:
            return os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_size
        except FileNotFoundError:
            return 0

    def allocated_of(self, name: str) -> int:
        """Return the bytes that the file takes on the disk, holes left out; 0 when absent."""
        try:
            return os.stat(name, dir_fd=self._directory, follow_symlinks=False).st_blocks * 512
        except FileNotFoundError:
            return 0

    def names(self, directory: str) -> list[str]:
        """Return the names in a directory, sorted; empty when it is absent."""
        try:
            return sorted(os.listdir(self.root / directory))
        except FileNotFoundError:
            return []

    def make_directory(self, name: str) -> None:
        """Make a directory and make its entry durable; idempotent."""
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=self._directory)
            self.sync_directory()

    def unlink(self, name: str) -> bool:
        """Remove a file; False when it was absent. Durable only after `sync_directory`."""
        self.begin("unlink", name)
        try:
            os.unlink(name, dir_fd=self._directory)
        except FileNotFoundError:
            return False
        self.end("unlink", name)
        return True

    def rename(self, name: str, target: str) -> None:
        """Rename within the data directory. Durable only after `sync_directory`."""
        self.begin("rename", f"{name}>{target}")
        os.rename(name, target, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        self.end("rename", f"{name}>{target}")

    def sync_directory(self, name: str = ".") -> None:
        """Make the entries of a directory durable. Raises SyncFailed: end the process."""
        self.begin("sync-directory", name)
        descriptor = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self._directory)
        try:
            os.fsync(descriptor)
        except OSError as error:
            raise SyncFailed(f"{name} could not be made durable ({error}): check the disk, then start again") from error
        finally:
            os.close(descriptor)
        self.end("sync-directory", name)

    def free_bytes(self) -> int:
        """Return what an unprivileged program may still write."""
        status = os.fstatvfs(self._directory)
        return status.f_bavail * status.f_frsize

    def sqlite_connections(self) -> int:
        """Return how many connections of this process have SQLite's log open, by their descriptors. Linux: /proc.

        A cursor that somebody still holds keeps a closed connection's log and shared memory alive; opening SQLite again
        beside it would mix two states of the log. (Descriptors of scheduler.db itself may be closed late by design.)
        """
        mine = str(self.path(WAL_FILE).resolve())
        held = 0
        for descriptor in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                held += os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)") == mine
        return held - (WAL_FILE in self._kept)

    @contextlib.contextmanager
    def sqlite_writing(self) -> Iterator[None]:
        """Bracket SQLite's own writing of scheduler.db: only a checkpoint, only in the writer thread."""
        self.begin("sqlite-checkpoint", DATABASE_FILE)
        yield
        self.end("sqlite-checkpoint", DATABASE_FILE)

    def close(self) -> None:
        """Release everything; only after SQLite's last connection is closed."""
        self.release_kept()
        if self._directory >= 0:
            os.close(self._directory)
            self._directory = -1
