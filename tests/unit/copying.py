"""Both halves of a copy on two directories, joined by a link in memory that counts and can break."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from replication.control import ControlFile
from replication.copy_source import CopySource
from replication.copy_target import CopyTarget
from replication.core import codec
from replication.core.messages import PROTOCOL_MAX, Decide, Decision, Follow, Message
from replication.core.types import ORIGIN
from replication.files import Disk
from replication.fork import BlockKeeper
from replication.tasks import run_beside
from tests.pair.wire import MemoryConnection

BLOCK = 256 * 1024
SEQUENCE = 77


def node(root: Path, files: dict[str, bytes]) -> Disk:
    """A data directory with these files."""
    disk = Disk(root)
    disk.make_directory("objects")
    for name, data in files.items():
        (root / name).write_bytes(data)
    return disk


def contents(root: Path) -> dict[str, bytes]:
    """The database and the objects of a node."""
    names = ["scheduler.db", *(f"objects/{path.name}" for path in (root / "objects").iterdir())]
    return {name: (root / name).read_bytes() for name in names}


class Link(MemoryConnection):
    """Remembers what its end sent; `allow` is asked before each frame; when it says no, the link closes once
    `until` is true."""

    def __init__(self, peer: str, allow: Callable[[Any], bool] = lambda message: True) -> None:
        super().__init__(peer)
        self.allow = allow
        self.until: Callable[[], bool] | None = None
        self.sent: list[Any] = []

    async def send(self, frame: bytes) -> None:
        message = codec.decode(frame)
        if not self.allow(message):
            while self.until is not None and not self.until():
                await asyncio.sleep(0.001)
            await self.close()
        await super().send(frame)
        self.sent.append(message)

    def count(self, kind: type[Message]) -> int:
        """How many of this kind were sent."""
        return sum(isinstance(message, kind) for message in self.sent)


class Copy:
    """A copy from `master` to `other`; `run` it once."""

    def __init__(
        self,
        master: Disk,
        other: Disk,
        *,
        keeper: BlockKeeper | None = None,
        protocol: int = PROTOCOL_MAX,
        unknown: bool = False,
    ) -> None:
        self.near, self.far = Link("b"), Link("a")
        self.near.other, self.far.other = self.far, self.near
        office = SimpleNamespace(store=SimpleNamespace(last=SimpleNamespace(sequence=SEQUENCE)))
        follow = Follow(
            cluster="c", node="b", last=ORIGIN, applied=0, checksum=0, history=[], empty=True, copying=False,
            protocol=protocol, database_bytes=-1 if unknown else other.size_of("scheduler.db"),
            objects=-1 if unknown else len(other.names("objects")),
        )  # fmt: skip
        control = cast(ControlFile, None)  # only a pin needs it
        self.source = CopySource(self.near, master, control, cast(Any, office), follow, lambda: 0.0)
        size = master.size_of("scheduler.db") + sum(master.size_of(f"objects/{n}") for n in master.names("objects"))
        self.source._meter.total = size
        decide = Decide(decision=Decision.COMPARE, sequence=0, reason="", protocol=protocol, copy_bytes=size)
        self.target = CopyTarget(self.far, other, keeper, decide)

    async def run(self) -> int:
        """Both halves to their end; returns what COPIED said. The first error of either ends both."""
        async with asyncio.timeout(20):
            return await run_beside(self.target.run(), self.source.run())

    @property
    def moved(self) -> int:
        """Bytes of blocks that the master sent."""
        return self.source.progress.bytes_moved
