"""Bytes of a frame to a message and back (docs/protocol.md, section 1). Never trusts a length.

Frame: type u8, flags u8, reserved u16, body length u32, CRC-32 of the body u32, then the body. Big endian.
"""

from __future__ import annotations

import struct
import zlib

import msgspec

from replication.core import messages
from replication.core.messages import Message, Requests

HEADER = struct.Struct(">BBHII")
REQUESTS_HEAD = struct.Struct(">QI")
FRAME_BYTES_MAX = 8 * 1024 * 1024
PART_BYTES = 4 * 1024 * 1024
MORE = 1

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
_DECODERS = {number: msgspec.msgpack.Decoder(kind) for number, kind in TYPES.items()}
_ENCODER = msgspec.msgpack.Encoder()


class FrameError(Exception):
    """The peer sent bytes that are no frame of this protocol; the link is closed and dialled again."""


def encode(message: Message) -> bytes:
    """One frame of a message."""
    return _frame(_NUMBERS[type(message)], 0, _ENCODER.encode(message))


def encode_requests(commit: int, requests: list[bytes]) -> list[bytes]:
    """Frames that carry `requests` in order; one larger than PART_BYTES is split, its last part without MORE."""
    frames: list[bytes] = []
    batch: list[bytes] = []
    size = 0
    for request in requests:
        if len(request) > PART_BYTES:
            if batch:
                frames.append(_requests_frame(commit, batch, 0))
                batch, size = [], 0
            frames += _parts(commit, request)
            continue
        if size + len(request) > PART_BYTES:
            frames.append(_requests_frame(commit, batch, 0))
            batch, size = [], 0
        batch.append(request)
        size += len(request)
    if batch or not requests:
        frames.append(_requests_frame(commit, batch, 0))
    return frames


def decode(frame: bytes) -> Message | Requests:
    """The message in a frame; raises FrameError for anything that is not exactly one valid frame."""
    if not HEADER.size <= len(frame) <= FRAME_BYTES_MAX + HEADER.size:
        raise FrameError(f"a frame of {len(frame)} bytes; allowed are {HEADER.size} to {FRAME_BYTES_MAX}")
    number, flags, _, length, crc = HEADER.unpack_from(frame)
    body = memoryview(frame)[HEADER.size :]
    if length != len(body) or zlib.crc32(body) != crc:
        raise FrameError("a frame whose length or checksum does not match its body")
    if number == REQUESTS:
        return _decode_requests(body, bool(flags & MORE))
    decoder = _DECODERS.get(number)
    if decoder is None:
        raise FrameError(f"an unknown frame type {number}")
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise FrameError(f"a {TYPES[number].__name__} frame that does not decode: {error}") from error


def _frame(number: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(number, flags, 0, len(body), zlib.crc32(body)) + body


def _requests_frame(commit: int, requests: list[bytes], flags: int) -> bytes:
    pieces = [REQUESTS_HEAD.pack(commit, len(requests))]
    for request in requests:
        pieces.append(len(request).to_bytes(4, "big"))
        pieces.append(request)
    return _frame(REQUESTS, flags, b"".join(pieces))


def _parts(commit: int, request: bytes) -> list[bytes]:
    starts = range(0, len(request), PART_BYTES)
    return [
        _requests_frame(commit, [request[at : at + PART_BYTES]], MORE if at + PART_BYTES < len(request) else 0)
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
