"""Compression between two nodes: the standby asks for it, the stream and the copy get smaller, all else is the same.

Protocol: docs/protocol.md, section 8.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from replication.core import codec
from replication.core.codec import COMPRESSED
from tests.pair.pair import A, B, Pair

LINE = "the same words in every line, as in every database " * 100


def spy(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The flags of every frame that any node decodes."""
    flags: list[int] = []
    decode = codec.decode

    def seen(frame: bytes) -> object:
        flags.append(frame[1])
        return decode(frame)

    monkeypatch.setattr(codec, "decode", seen)
    return flags


@pytest.mark.parametrize("compression", ["zstd", "off"])
async def test_a_standby_gets_what_it_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compression: str
) -> None:
    """The first copy and the stream are packed for `zstd` and for nothing else, and both nodes end equal."""
    flags = spy(monkeypatch)
    pair = Pair(tmp_path)
    try:
        first = await pair.start(A)
        await first.found()
        for number in range(40):
            await pair.books[A].write(f"{number} {LINE}")
        pair.more = {"compression": compression}
        second = await pair.start(B)
        first.set_peers({B: "b:1"})
        await second.join({A: "a:1"})
        await pair.until(lambda: first.status().in_sync)
        copied = any(flag & COMPRESSED for flag in flags)
        flags.clear()
        sender = first.serving.followers[B].sender
        before = sender.bytes_sent, sender.frame_bytes_sent
        for number in range(20):
            await pair.books[A].write(f"more {number} {LINE}")
        await pair.settle()
        sent, on_the_line = sender.bytes_sent - before[0], sender.frame_bytes_sent - before[1]
        is_packed = compression == "zstd"
        assert (copied, any(flag & COMPRESSED for flag in flags)) == (is_packed, is_packed)
        assert (on_the_line < sent / 2) is is_packed
        assert await pair.lines(A) == await pair.lines(B)
    finally:
        await pair.close()
