"""Bytes of a frame to a message and back. Never trusts a length.

Frame: type u8, flags u8, reserved u16, body length u32, CRC-32 of the body u32, then the body. Big endian.

Protocol: docs/protocol.md, sections 1 and 8.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from replication.core import messages
from replication.core.compression import OFF, CompressionError, compress, decompress
from replication.core.messages import Message, Requests

HEADER = struct.Struct(">BBHII")
REQUESTS_HEAD = struct.Struct(">QI")
FRAME_BYTES_MAX = 8 * 1024 * 1024
PART_BYTES = 4 * 1024 * 1024
MORE = 1
COMPRESSED = 2

TYPES: dict[int, type[Message]] = {
    1: messages.Hello,
    2: messages.Heartbeat,
    3: messages.ClaimOffice,
    4: messages.Grant,
    5: messages.Refuse,
    6: messages.Token,
    7: messages.Taken,
    16: messages.Follow,
    17: messages.Decide,
    19: messages.Ack,
    20: messages.Hashes,
    21: messages.Want,
    22: messages.Block,
    23: messages.Copied,
    24: messages.CopyState,
}
REQUESTS = 18
_NUMBERS = {kind: number for number, kind in TYPES.items()}
COMPRESSIBLE = (REQUESTS, _NUMBERS[messages.Block])
_DECODERS = {number: msgspec.msgpack.Decoder(kind) for number, kind in TYPES.items()}
_ENCODER = msgspec.msgpack.Encoder()


class FrameError(Exception):
    """The peer sent bytes that are no frame of this protocol; the link is closed and dialled again."""


def encode(message: Message, compression: str = OFF) -> bytes:
    """One frame of a message; `compression` is for Blocks only."""
    return _frame(_NUMBERS[type(message)], 0, _ENCODER.encode(message), compression)


def encode_requests(commit: int, requests: list[bytes], compression: str = OFF) -> list[bytes]:
    """Frames that carry `requests` in order; one larger than PART_BYTES is split, its last part without MORE."""
    return [_frame(REQUESTS, flags, body, compression) for flags, body in _requests_bodies(commit, requests)]


def _requests_bodies(commit: int, requests: list[bytes]) -> list[tuple[int, bytes]]:
    bodies: list[tuple[int, bytes]] = []
    batch: list[bytes] = []
    size = 0
    for request in requests:
        if len(request) > PART_BYTES:
            if batch:
                bodies.append((0, _requests_body(commit, batch)))
                batch, size = [], 0
            bodies += _parts(commit, request)
            continue
        if size + len(request) > PART_BYTES:
            bodies.append((0, _requests_body(commit, batch)))
            batch, size = [], 0
        batch.append(request)
        size += len(request)
    if batch or not requests:
        bodies.append((0, _requests_body(commit, batch)))
    return bodies


def decode(frame: bytes) -> Message | Requests:
    """The message in a frame; raises FrameError for anything that is not exactly one valid frame."""
    if not HEADER.size <= len(frame) <= FRAME_BYTES_MAX + HEADER.size:
        raise FrameError(f"a frame of {len(frame)} bytes; allowed are {HEADER.size} to {FRAME_BYTES_MAX}")
    number, flags, _, length, crc = HEADER.unpack_from(frame)
    body = memoryview(frame)[HEADER.size :]
    if length != len(body) or zlib.crc32(body) != crc:
        raise FrameError("a frame whose length or checksum does not match its body")
    if flags & COMPRESSED:
        body = _decompressed(number, body)
    if number == REQUESTS:
        return _decode_requests(body, bool(flags & MORE))
    decoder = _DECODERS.get(number)
    if decoder is None:
        raise FrameError(f"an unknown frame type {number}")
    try:
        return decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise FrameError(f"a {TYPES[number].__name__} frame that does not decode: {error}") from error


def _decompressed(number: int, body: memoryview) -> memoryview:
    if number not in COMPRESSIBLE:
        raise FrameError(f"a compressed frame of type {number}")
    try:
        return memoryview(decompress(body, FRAME_BYTES_MAX))
    except CompressionError as error:
        raise FrameError(str(error)) from error


def _frame(number: int, flags: int, body: bytes, compression: str = OFF) -> bytes:
    smaller = compress(body, compression) if number in COMPRESSIBLE else None
    if smaller is not None:
        flags, body = flags | COMPRESSED, smaller
    return HEADER.pack(number, flags, 0, len(body), zlib.crc32(body)) + body


def _requests_body(commit: int, requests: list[bytes]) -> bytes:
    pieces = [REQUESTS_HEAD.pack(commit, len(requests))]
    for request in requests:
        pieces.append(len(request).to_bytes(4, "big"))
        pieces.append(request)
    return b"".join(pieces)


def _parts(commit: int, request: bytes) -> list[tuple[int, bytes]]:
    starts = range(0, len(request), PART_BYTES)
    return [
        (MORE if at + PART_BYTES < len(request) else 0, _requests_body(commit, [request[at : at + PART_BYTES]]))
        for at in starts
    ]


def _decode_requests(body: memoryview, more: bool) -> Requests:
    if len(body) < REQUESTS_HEAD.size:
        raise FrameError("a Requests frame shorter than its head")
    commit, count = REQUESTS_HEAD.unpack_from(body)
    requests: list[bytes] = []
    at = REQUESTS_HEAD.size
    for _ in range(count):
        end = at + 4 + int.from_bytes(body[at : at + 4], "big")
        if end > len(body) or end < at + 4:
            raise FrameError("a Requests frame whose lengths pass its end")
        requests.append(bytes(body[at + 4 : end]))
        at = end
    if at != len(body):
        raise FrameError("a Requests frame with bytes behind its last request")
    return Requests(commit, tuple(requests), more)
