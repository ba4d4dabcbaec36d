"""Compressed frames (docs/protocol.md, section 8): smaller, bounded, and only where both sides agreed."""

from __future__ import annotations

import tracemalloc
import zlib
from pathlib import Path

import pytest

from replication.core import codec, compression
from replication.core.codec import COMPRESSED, HEADER, FrameError
from replication.core.compression import KINDS, OFF, ZSTD, agreed
from replication.core.messages import Ack, Block, Requests
from server.config import CHECKS, Config

zstd = compression._zstd()
PAGE = b"a page of a database " * 3000
BLOCK = Block(file="scheduler.db", number=7, size=65536, data=PAGE)


def frame(number: int, body: bytes) -> bytes:
    """A compressed frame of a peer that may send anything."""
    return HEADER.pack(number, COMPRESSED, 0, len(body), zlib.crc32(body)) + body


def test_requests_and_blocks_get_smaller_and_come_back() -> None:
    """The flag says so, the checksum is over what is sent, and the reader needs to be told nothing."""
    (requests,) = codec.encode_requests(9, [PAGE, b"small"], ZSTD)
    block = codec.encode(BLOCK, ZSTD)
    for sent in (requests, block):
        assert sent[1] & COMPRESSED
        assert len(sent) < len(PAGE) / 10
    assert codec.decode(requests) == Requests(9, (PAGE, b"small"))
    assert codec.decode(block) == BLOCK


def test_a_large_request_is_compressed_in_its_parts() -> None:
    """MORE and COMPRESSED stand side by side."""
    request = bytes(codec.PART_BYTES + 5000)
    first, second = codec.encode_requests(1, [request], ZSTD)
    assert (first[1], second[1]) == (codec.MORE | COMPRESSED, COMPRESSED)
    parts = [codec.decode(first), codec.decode(second)]
    assert b"".join(part.requests[0] for part in parts if isinstance(part, Requests)) == request


def test_what_does_not_get_smaller_is_sent_as_it_is() -> None:
    """Small bodies, bodies that are random already, other frames, and everything while it is off."""
    noise = b"".join(zlib.crc32(bytes([a, b])).to_bytes(4, "big") for a in range(50) for b in range(50))
    ack = Ack(received=1, fsynced=1, applied=1, checksum=1, disk_free_bytes=1, credit=1)
    assert codec.encode_requests(1, [b"small"], ZSTD) == codec.encode_requests(1, [b"small"])
    assert codec.encode_requests(1, [noise], ZSTD) == codec.encode_requests(1, [noise])
    assert codec.encode(ack, ZSTD) == codec.encode(ack)
    assert not codec.encode(BLOCK, OFF)[1] & COMPRESSED


def test_a_bomb_is_refused_before_it_is_held() -> None:
    """A body of a few bytes that would become gigabytes ends the link: what comes out is bounded as a frame is."""
    bomb = zstd.compress(bytes(1 << 30), 1)
    assert len(bomb) < 100_000
    tracemalloc.start()
    try:
        with pytest.raises(FrameError, match=f"more than {codec.FRAME_BYTES_MAX} bytes"):
            codec.decode(frame(codec.REQUESTS, bomb))
        assert tracemalloc.get_traced_memory()[1] < 4 * codec.FRAME_BYTES_MAX
    finally:
        tracemalloc.stop()


def test_a_window_that_takes_too_much_memory_is_refused() -> None:
    """A frame of zstd says how much history its reader must hold: more than a frame can be is refused."""
    options = {zstd.CompressionParameter.window_log: 27, zstd.CompressionParameter.compression_level: 1}
    compressor = zstd.ZstdCompressor(options=options)
    body = compressor.compress(bytes(1 << 20)) + compressor.flush()
    with pytest.raises(FrameError, match="does not decompress"):
        codec.decode(frame(codec.REQUESTS, body))


@pytest.mark.parametrize("change", [lambda b: b[:-3], lambda b: b + b"x", lambda b: b"\x00" + b[1:]])
def test_a_damaged_body_is_refused(change: object) -> None:
    """Cut, continued or of another format: an error of frames, as for any other damage."""
    assert callable(change)
    with pytest.raises(FrameError, match="compressed body"):
        codec.decode(frame(codec.REQUESTS, change(zstd.compress(PAGE, 1))))


def test_no_other_frame_may_come_compressed() -> None:
    """What is not due ends the link."""
    with pytest.raises(FrameError, match="a compressed frame of type 19"):
        codec.decode(frame(19, zstd.compress(PAGE, 1)))


def test_what_is_not_known_is_off() -> None:
    """A peer that asks for another algorithm, and one of protocol 1 that asks for none, get plain frames."""
    assert (agreed("zstd"), agreed("brotli"), agreed("off")) == (ZSTD, OFF, OFF)


def test_the_setting_offers_what_there_is() -> None:
    """`compression` in understudy.toml: off unless asked for, and nothing else than what a frame can be."""
    assert Config(Path()).compression == OFF
    assert [CHECKS["compression"](kind) for kind in KINDS] == list(KINDS)
    with pytest.raises(ValueError, match="off, zstd"):
        CHECKS["compression"]("brotli")
