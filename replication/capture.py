"""Reads the pages that the last COMMIT wrote out of SQLite's write-ahead log. Used by the writer thread alone.

The end of a commit is the frame count in the wal-index header (the -shm file), never a commit frame found by scanning:
a rolled-back or failed transaction leaves valid frames behind it. Formats: https://www.sqlite.org/walformat.html.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from replication.errors import CaptureBroken
from replication.files import SHM_FILE, WAL_FILE, Disk, File
from replication.page_sums import LOCK_BYTE

WAL_HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
_INDEX_BYTES = 48
_COUNTS = struct.Struct("=II")
_FRAME_PAGE = struct.Struct(">I")
_UNSEALED = bytes(8)
"""SQLite writes a frame without salts while earlier frames of its transaction wait for new checksums; 3.40 leaves it so
when a savepoint was undone in between. It counts all the same: the wal-index says so, and SQLite reads it."""


class Captured(NamedTuple):
    """The last image of every page written since the last capture, by number, and the size of the database."""

    pages: dict[int, memoryview]
    page_count: int


class Capture:
    """One per open writer, made right after SQLite opened its files. `frames` is how far the log was read."""

    def __init__(self, disk: Disk, database: File, page_size: int) -> None:
        self._disk = disk
        self._database = database
        self._page_size = page_size
        self._frame_bytes = FRAME_HEADER_BYTES + page_size
        self._lock_page = LOCK_BYTE // page_size + 1
        self._salts = b""
        self._restart_allowed = True
        self.frames = 0
        self.page_count = database.size() // page_size

    @property
    def wal_bytes(self) -> int:
        """The length of the part of the log that is in use."""
        return WAL_HEADER_BYTES + self.frames * self._frame_bytes if self.frames else 0

    def check_empty(self) -> None:
        """Raise CaptureBroken when opening SQLite wrote something that no request carries."""
        if self._index()[0]:
            raise CaptureBroken("SQLite's log is not empty right after opening: frames would reach the file uncaptured")

    def allow_restart(self) -> None:
        """Every frame is in the database file: the next write may begin the log anew, with new salts."""
        self._restart_allowed = True

    def _index(self) -> tuple[int, int, bytes]:
        shm = self._disk.keep(SHM_FILE)
        both = shm.read(2 * _INDEX_BYTES, 0)
        if len(both) < 2 * _INDEX_BYTES or both[:_INDEX_BYTES] != both[_INDEX_BYTES:]:
            raise CaptureBroken("the two copies of SQLite's wal-index header differ while nobody writes")
        frames, pages = _COUNTS.unpack_from(both, 16)
        return frames, pages, both[32:40]

    def take(self) -> Captured:
        """Return what the COMMIT just done wrote; the writer holds no transaction. Raises CaptureBroken."""
        frames, page_count, salts = self._index()
        if salts != self._salts:
            if not self._restart_allowed:
                raise CaptureBroken("SQLite's log was restarted by somebody else: no other program may write here")
            self._salts = salts
            self.frames = 0
        if frames < self.frames:
            raise CaptureBroken(f"SQLite's log went back from {self.frames} to {frames} frames")
        pages = self._new_frames(frames)
        if pages:
            self._restart_allowed = False
        for page in range(self.page_count + 1, page_count + 1):
            if page not in pages and page != self._lock_page:
                raise CaptureBroken(f"the database grew over page {page}, which is not in SQLite's log")
        self.page_count = page_count
        return Captured({page: data for page, data in pages.items() if page <= page_count}, page_count)

    def _new_frames(self, frames: int) -> dict[int, memoryview]:
        if frames == self.frames:
            return {}
        count = frames - self.frames
        wal = self._disk.keep(WAL_FILE)
        start = WAL_HEADER_BYTES + self.frames * self._frame_bytes
        data = memoryview(wal.read(count * self._frame_bytes, start))
        if len(data) != count * self._frame_bytes:
            raise CaptureBroken(f"SQLite's log ends before its frame {frames}")
        pages = {}
        for index in range(count):
            at = index * self._frame_bytes
            if data[at + 8 : at + 16] not in (self._salts, _UNSEALED):
                raise CaptureBroken(f"frame {self.frames + index + 1} of SQLite's log is of another generation")
            page = _FRAME_PAGE.unpack_from(data, at)[0]
            pages[page] = data[at + FRAME_HEADER_BYTES : at + self._frame_bytes]
        self.frames = frames
        return pages
