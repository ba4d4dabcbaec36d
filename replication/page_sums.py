"""The rolling checksum of scheduler.db: the sum modulo 2^64 of crc32(page) times an odd weight of its number.

A plain XOR would miss equal flips in two pages. The page at 1 GiB is SQLite's lock page, never written: it counts 0.
"""

from __future__ import annotations

import struct
import zlib
from array import array
from operator import mul

from replication.files import Disk, File

SUMS_FILE = "page-sums"
PAGE_SIZE = 4096
LOCK_BYTE = 1 << 30
MASK = (1 << 64) - 1
_HEADER = struct.Struct(">8sQIIQI")
_MAGIC = b"USSUMS\x00\x01"
_SCAN_BYTES = 1 << 20


def page_size_of(database: File) -> int:
    """Return the page size that a database file names at offset 16 (1 stands for 65536); PAGE_SIZE when it is empty.

    https://www.sqlite.org/fileformat2.html, section 1.3.2.
    """
    named = int.from_bytes(database.read(2, 16), "big")
    return {0: PAGE_SIZE, 1: 65536}.get(named, named)


def weight(page: int) -> int:
    """Return the odd weight of page number `page` (from 1)."""
    return (page * 0x9E3779B97F4A7C15 & MASK) | 1


class PageSums:
    """crc32 of every page, and their weighted sum. Used by one thread at a time; pages are numbered from 1."""

    def __init__(self, page_size: int = PAGE_SIZE) -> None:
        self.page_size = page_size
        self.sum = 0
        self._crcs = array("I")
        self._lock_page = LOCK_BYTE // page_size + 1
        self._zero = zlib.crc32(bytes(page_size))

    @property
    def pages(self) -> int:
        """The number of pages that the database has."""
        return len(self._crcs)

    def crc(self, page: int) -> int:
        """Return the crc32 of one page (0 for the lock page)."""
        return self._crcs[page - 1]

    def put(self, page: int, data: bytes | memoryview) -> None:
        """Take in the new content of a page; a page behind the end grows the table with pages of zeros."""
        if page > len(self._crcs):
            self.resize(page)
        if page == self._lock_page:
            return
        new = zlib.crc32(data)
        self.sum = (self.sum + (new - self._crcs[page - 1]) * weight(page)) & MASK
        self._crcs[page - 1] = new

    def resize(self, pages: int) -> None:
        """Set the number of pages: drop the last ones, or add pages of zeros."""
        while len(self._crcs) > pages:
            page = len(self._crcs)
            self.sum = (self.sum - self._crcs.pop() * weight(page)) & MASK
        for page in range(len(self._crcs) + 1, pages + 1):
            crc = 0 if page == self._lock_page else self._zero
            self._crcs.append(crc)
            self.sum = (self.sum + crc * weight(page)) & MASK

    def scan(self, file: File) -> None:
        """Replace the table by a full reading of `file`: a third of a second per GiB that is cached."""
        size = file.size()
        step = max(_SCAN_BYTES // self.page_size, 1) * self.page_size
        crcs = array("I")
        for start in range(0, size, step):
            block = memoryview(file.read(min(step, size - start), start))
            crcs.extend([zlib.crc32(block[at : at + self.page_size]) for at in range(0, len(block), self.page_size)])
        if len(crcs) >= self._lock_page:
            crcs[self._lock_page - 1] = 0
        self._crcs = crcs
        self.sum = sum(map(mul, crcs, map(weight, range(1, len(crcs) + 1)))) & MASK

    def differing(self, file: File, first: int, count: int) -> list[int]:
        """Return which of up to `count` pages from `first` on `file` holds otherwise than this table says."""
        count = min(count, self.pages - first + 1)
        size = self.page_size
        data = memoryview(file.read(max(count, 0) * size, (first - 1) * size))
        pages = range(first, first + count)
        return [
            page
            for page in pages
            if page != self._lock_page
            and zlib.crc32(data[(page - first) * size : (page - first + 1) * size]) != self._crcs[page - 1]
        ]

    def save(self, disk: Disk, sequence: int) -> None:
        """Write the table as of request `sequence` in place and fdatasync it.

        A torn write fails its CRC and costs a full scan at the next start, nothing else; so there is no rename.
        """
        table = self._crcs.tobytes()
        crc = zlib.crc32(table)
        header = _HEADER.pack(_MAGIC, sequence, self.page_size, self.pages, self.sum, crc)
        fresh = not disk.exists(SUMS_FILE)
        file = disk.open(SUMS_FILE, create=True)
        try:
            file.write(0, header, table)
            file.sync()
        finally:
            file.close()
        if fresh:
            disk.sync_directory()

    @classmethod
    def load(cls, disk: Disk, sequence: int) -> PageSums | None:
        """Return the table saved as of `sequence`, or None: absent, torn, or of another checkpoint."""
        try:
            file = disk.open(SUMS_FILE)
        except FileNotFoundError:
            return None
        try:
            data = file.read(file.size(), 0)
        finally:
            file.close()
        if len(data) < _HEADER.size:
            return None
        magic, saved, page_size, pages, total, crc = _HEADER.unpack_from(data)
        table = data[_HEADER.size : _HEADER.size + 4 * pages]
        if magic != _MAGIC or saved != sequence or len(table) != 4 * pages or zlib.crc32(table) != crc:
            return None
        sums = cls(page_size)
        sums._crcs.frombytes(table)
        sums.sum = total
        return sums
