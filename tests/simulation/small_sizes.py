"""The shipped limits scaled down, so that a short run reaches what a company reaches in a week."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from unittest import mock

KIB = 1024
SEGMENT_BYTES = 64 * KIB
SIZES = {
    "replication.compare.RANGE_BLOCKS": 2,
    "replication.copy_source.CHUNK_BYTES": 16 * KIB,
    "replication.copy_source.WINDOW_BYTES": 64 * KIB,
    "replication.copy_target.BUFFER_BYTES": 64 * KIB,
    "replication.copy_target.COMPARE_BYTES": 64 * KIB,
    "replication.copy_target.SYNC_BYTES": 64 * KIB,
    "replication.core.codec.PART_BYTES": 24 * KIB,
    "replication.receiver.CHECKPOINT_BYTES": 150 * KIB,
    "replication.receiver.CREDIT_BYTES": 128 * KIB,
    "replication.redo.KEEP_BYTES": 300 * KIB,
    "replication.sender.BATCH_BYTES": 32 * KIB,
    "replication.sender.WINDOW_BYTES": 100 * KIB,
    "replication.store_threads.CHECKPOINT_WAL_BYTES": 100 * KIB,
    "replication.store_threads.TRUNCATE_WAL_BYTES": 400 * KIB,
    "replication.writer.GROUP_RESERVE_BYTES": 48 * KIB,
    "replication.writer.KEEP_BYTES": 300 * KIB,
}


@contextlib.contextmanager
def scaled_down() -> Iterator[None]:
    """In force for as long as the block runs."""
    with contextlib.ExitStack() as stack:
        for name, size in SIZES.items():
            stack.enter_context(mock.patch(name, size))
        yield
