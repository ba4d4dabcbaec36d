"""A thread behind the store never ends silently: what cannot be trusted any more ends the process."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from replication.errors import SyncFailed
from replication.files import File
from replication.segments import PREPARED
from tests.unit.engine import opened


async def test_a_failed_fsync_of_the_next_segment_is_fatal(tmp_path: Path) -> None:
    """The segment that is prepared beside the writes lies on the same disk: when its fsync fails, the process ends."""
    shipped = File.sync

    def sync(file: File) -> None:
        if file.name == PREPARED:
            raise SyncFailed(f"{file.name} could not be made durable")
        shipped(file)

    async with opened(tmp_path) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(File, "sync", sync)
            await asyncio.to_thread(engine.store._threads._prepare)
        assert [type(error) for error in engine.fatal] == [SyncFailed]
