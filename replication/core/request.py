"""File-replication requests: what the journal holds, the wire carries and the standby applies. Pure.

The encoding is, in this order: the chain hash of the request before (32 bytes); a fixed header (`_HEADER`, big-endian);
a msgpack array (`_Head`) that names files and extents; the bytes of the extents, one behind the other. The chain hash
of a request is SHA-256 over all of it. Later versions append to `_Head`; a reader skips what it does not know.

Protocol: docs/protocol.md, section 2.
"""

from __future__ import annotations

import hashlib
import struct
from enum import IntEnum
from typing import NamedTuple

import msgspec

from replication.core.types import Epoch, Position

DATABASE_FILE = "scheduler.db"
OBJECT_PREFIX = "objects/"
GONE = -1
"""`FileChange.size_after` of an object that was removed."""

HASH_BYTES = 32
VERSION = 1
_HEADER = struct.Struct(">BBHQQ16sQQqII")
HEADER_BYTES = HASH_BYTES + _HEADER.size


class MalformedRequest(ValueError):
    """Bytes that are no request of a version this program knows."""


class Kind(IntEnum):
    """What a request is. All but the first two change no file and carry a msgpack `note` instead."""

    DATABASE = 1
    OBJECT = 2
    EPOCH = 3
    HANDOFF = 4
    ABORT = 5
    CLOSED = 6


class FileChange(NamedTuple):
    """Write `extents` (offset, bytes) into file `name`, whose size is then `size_after`; GONE removes it."""

    name: str
    size_after: int
    extents: tuple[tuple[int, bytes | memoryview], ...] = ()


class Request(NamedTuple):
    """One entry of the journal. `files` are changed together or not at all.

    `commit` is the commit sequence that the master knew when it wrote this. `checksum` is the rolling checksum of
    scheduler.db after it. `at_us` is the master's wall clock (display only). A decoded request's extents are views of
    the encoded bytes: they live as long as those.
    """

    sequence: int
    epoch: Epoch
    kind: Kind
    previous_hash: bytes
    commit: int
    checksum: int
    at_us: int
    page_size: int = 0
    files: tuple[FileChange, ...] = ()
    note: bytes = b""


class Header(NamedTuple):
    """The cheap part of a request: enough to check the chain and to send it on."""

    sequence: int
    epoch: Epoch
    kind: Kind
    previous_hash: bytes
    commit: int
    checksum: int
    at_us: int
    page_size: int
    head_bytes: int


class _FileHead(msgspec.Struct, array_like=True, frozen=True):
    name: str
    size_after: int
    extents: list[tuple[int, int]]


class _Head(msgspec.Struct, array_like=True, frozen=True):
    files: list[_FileHead]
    note: bytes = b""


_encoder = msgspec.msgpack.Encoder()
_head_decoder = msgspec.msgpack.Decoder(_Head)


def encode(request: Request) -> bytes:
    """Return the bytes that are journaled, sent and hashed."""
    head = _encoder.encode(
        _Head(
            [
                _FileHead(file.name, file.size_after, [(at, len(data)) for at, data in file.extents])
                for file in request.files
            ],
            request.note,
        )
    )
    fixed = _HEADER.pack(
        VERSION,
        request.kind,
        0,
        request.sequence,
        request.epoch.number,
        bytes.fromhex(request.epoch.node),
        request.commit,
        request.checksum,
        request.at_us,
        request.page_size,
        len(head),
    )
    parts: list[bytes | memoryview] = [request.previous_hash, fixed, head]
    for file in request.files:
        parts.extend(data for _, data in file.extents)
    return b"".join(parts)


def chain_hash(encoded: bytes | memoryview) -> bytes:
    """Return the chain hash of an encoded request: SHA-256 over the hash before and its body."""
    return hashlib.sha256(encoded).digest()


def peek(encoded: bytes | memoryview) -> Header:
    """Read the fixed header only. Raises MalformedRequest."""
    if len(encoded) < HEADER_BYTES:
        raise MalformedRequest(f"a request has at least {HEADER_BYTES} bytes, this one {len(encoded)}")
    version, kind, _, sequence, number, node, commit, checksum, at_us, page_size, head_bytes = _HEADER.unpack_from(
        encoded, HASH_BYTES
    )
    if version != VERSION:
        raise MalformedRequest(f"request version {version} is not known here: update this node first")
    try:
        known = Kind(kind)
    except ValueError as error:
        raise MalformedRequest(f"request kind {kind} is not known here: update this node first") from error
    epoch = Epoch(number, node.hex() if number else "")
    return Header(sequence, epoch, known, bytes(encoded[:HASH_BYTES]), commit, checksum, at_us, page_size, head_bytes)


def decode(encoded: bytes) -> Request:
    """Return the request without copying its extents. Raises MalformedRequest; checks no chain."""
    header = peek(encoded)
    body_at = HEADER_BYTES + header.head_bytes
    view = memoryview(encoded)
    try:
        head = _head_decoder.decode(view[HEADER_BYTES:body_at])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise MalformedRequest(f"request {header.sequence}: {error}") from error
    files = []
    for file in head.files:
        extents = []
        for at, length in file.extents:
            if at < 0 or length < 0 or body_at + length > len(encoded):
                raise MalformedRequest(f"request {header.sequence}: an extent of {file.name} ends outside")
            extents.append((at, view[body_at : body_at + length]))
            body_at += length
        files.append(FileChange(file.name, file.size_after, tuple(extents)))
    if body_at != len(encoded):
        raise MalformedRequest(f"request {header.sequence}: {len(encoded) - body_at} bytes belong to no extent")
    return Request(*header[:-1], tuple(files), head.note)


def position_of(encoded: bytes) -> Position:
    """Return the place in the history at which this request leaves the journal."""
    header = peek(encoded)
    return Position(header.epoch, header.sequence, chain_hash(encoded))


def continues(header: Header, last: Position) -> bool:
    """Return whether a request follows `last` in the chain. Epochs never go back."""
    return header.sequence == last.sequence + 1 and header.previous_hash == last.hash and header.epoch >= last.epoch
