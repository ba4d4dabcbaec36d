"""Objects that do not fit on the disk, or cannot be written: nothing that was answered lacks its object."""

from __future__ import annotations

import asyncio
import errno
from pathlib import Path

import pytest

from replication.errors import DiskFull
from replication.files import File
from tests.unit.engine import opened


async def test_an_object_without_room_holds_the_commit_back(tmp_path: Path) -> None:
    """A full disk at the commit delays the answer until there is room; then the object is whole."""
    shipped = File.write

    def write(file: File, offset: int, *buffers: bytes | memoryview) -> None:
        if file.name.startswith("objects/"):
            raise DiskFull("no space left on the disk: free some")
        shipped(file, offset, *buffers)

    async with opened(tmp_path) as engine:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(File, "write", write)
            task = asyncio.create_task(engine.store.write(lambda t: t.write_object("out", 0, b"hello")))
            while engine.store._without_room is None:
                await asyncio.sleep(0.001)
            assert not task.done()
            assert engine.store.gate.sequence == 0
            await engine.store.checkpoint()
        _, sequence = await task
        assert sequence == 1
        assert engine.store.object_path("out").read_bytes() == b"hello"


async def test_an_object_that_cannot_be_written_ends_the_process(tmp_path: Path) -> None:
    """A broken disk at the commit is fatal: the commit never passes the object that is missing."""

    def write(file: File, offset: int, *buffers: bytes | memoryview) -> None:
        raise OSError(errno.EIO, "Input/output error")

    async with opened(tmp_path, alone=False) as engine:
        task = asyncio.create_task(engine.store.write(lambda t: t.write_object("out", 0, b"hello")))
        while engine.applier.journal.synced < 1:
            await asyncio.sleep(0.001)
        engine.applier.journal.mark_commit(1)
        engine.applier.journal.sync()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(File, "write", write)
            with pytest.raises(OSError, match="Input/output"):
                engine.store.gate.advance(1)
        assert [type(error) for error in engine.fatal] == [OSError]
        assert engine.store.gate.sequence == 0
        assert not task.done()
        engine.store.gate.advance(1)
        await task
