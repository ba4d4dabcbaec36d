"""The rolling checksum: the same whether computed page by page or from the whole file, and blind to nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from replication.files import Disk, File
from replication.page_sums import SUMS_FILE, PageSums

SIZE = 512


def file_of(root: Path, pages: list[bytes]) -> File:
    """Return an open file with these pages."""
    (root / "data").write_bytes(b"".join(pages))
    return Disk(root).open("data")


def test_incremental_and_full_are_equal(tmp_path: Path) -> None:
    """After random writes, growth and shrinking the table is that of the file."""
    rng = random.Random(1)
    sums = PageSums(SIZE)
    pages: list[bytes] = []
    for _ in range(300):
        count = rng.randint(max(len(pages) - 3, 0), len(pages) + 3)
        del pages[count:]
        pages += [bytes(SIZE)] * (count - len(pages))
        sums.resize(count)
        if pages:
            number = rng.randrange(len(pages))
            pages[number] = rng.randbytes(SIZE)
            sums.put(number + 1, pages[number])
    scanned = PageSums(SIZE)
    scanned.scan(file_of(tmp_path, pages))
    assert (sums.sum, sums.pages) == (scanned.sum, scanned.pages)
    assert sums.differing(file_of(tmp_path, pages), 1, sums.pages) == []


def test_equal_flips_in_two_pages_do_not_cancel() -> None:
    """A plain XOR of page sums misses the same flip in two equal pages; the weights do not."""
    sums = PageSums(SIZE)
    for page in (1, 2):
        sums.put(page, bytes(SIZE))
    before = sums.sum
    for page in (1, 2):
        sums.put(page, b"\x01" + bytes(SIZE - 1))
    assert sums.sum != before


def test_swapped_pages_change_the_sum() -> None:
    """The number of a page counts, not only its content."""
    one, two = PageSums(SIZE), PageSums(SIZE)
    for page, data in ((1, b"a" * SIZE), (2, b"b" * SIZE)):
        one.put(page, data)
        two.put(3 - page, data)
    assert one.sum != two.sum


@pytest.mark.parametrize("size", [512, 4096, 65536])
def test_the_lock_page_counts_nothing(size: int) -> None:
    """The page at 1 GiB has no frame in SQLite's log: whatever is there, the sum is the same."""
    lock_page = (1 << 30) // size + 1
    sums = PageSums(size)
    sums._lock_page = 3
    sums.put(2, b"x" * size)
    before = sums.sum
    sums.put(3, b"y" * size)
    assert (sums.sum, sums.crc(3)) == (before, 0)
    assert PageSums(size)._lock_page == lock_page


def test_a_wrong_page_is_found_by_number(tmp_path: Path) -> None:
    """The table says which page of the file is not what was written, and which are missing."""
    pages = [bytes([number]) * SIZE for number in range(5)]
    sums = PageSums(SIZE)
    sums.scan(file_of(tmp_path, pages))
    pages[3] = b"!" * SIZE
    assert sums.differing(file_of(tmp_path, pages), 1, 9) == [4]
    assert sums.differing(file_of(tmp_path, pages[:2]), 1, 9) == [3, 4, 5]
    assert sums.differing(file_of(tmp_path, pages), 1, 3) == []


def test_a_saved_table_is_used_for_its_own_checkpoint_only(tmp_path: Path) -> None:
    """A torn table, or one of another checkpoint, is not used: the file is read instead."""
    disk = Disk(tmp_path)
    sums = PageSums(SIZE)
    sums.put(7, b"z" * SIZE)
    sums.save(disk, 12)
    loaded = PageSums.load(disk, 12)
    assert loaded is not None
    assert (loaded.sum, loaded.pages, loaded.page_size) == (sums.sum, 7, SIZE)
    assert PageSums.load(disk, 11) is None
    data = bytearray((tmp_path / SUMS_FILE).read_bytes())
    data[-1] ^= 1
    (tmp_path / SUMS_FILE).write_bytes(data)
    assert PageSums.load(disk, 12) is None
    (tmp_path / SUMS_FILE).write_bytes(data[:10])
    assert PageSums.load(disk, 12) is None
