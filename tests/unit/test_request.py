"""The encoding of requests: for ever the same bytes, cheap to look into, and never taken for what it is not.

Protocol: docs/protocol.md, section 2.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from replication.core.request import (
    GONE,
    HASH_BYTES,
    FileChange,
    Kind,
    MalformedRequest,
    Request,
    chain_hash,
    continues,
    decode,
    encode,
    peek,
    position_of,
)
from replication.core.types import NO_EPOCH, Epoch, Position

GOLDEN = Path(__file__).parent / "golden" / "request_v1.hex"
EPOCH = Epoch(7, "00112233445566778899aabbccddeeff")
SAMPLE = Request(
    sequence=42,
    epoch=EPOCH,
    kind=Kind.OBJECT,
    previous_hash=bytes(range(32)),
    commit=40,
    checksum=0x0123456789ABCDEF,
    at_us=1_700_000_000_000_000,
    page_size=4096,
    files=(
        FileChange("scheduler.db", 8192, ((0, b"p" * 16), (4096, b"q" * 16))),
        FileChange("objects/output-1", 5, ((0, b"hello"),)),
        FileChange("objects/old", GONE),
    ),
    note=b"n",
)


def plain(request: Request) -> Request:
    """Return the request with its extents as bytes."""
    files = tuple(f._replace(extents=tuple((at, bytes(data)) for at, data in f.extents)) for f in request.files)
    return request._replace(files=files)


def test_encoding_is_the_golden_one() -> None:
    """Both nodes hash these bytes, so a changed encoding would fork every chain in use."""
    assert encode(SAMPLE).hex() == GOLDEN.read_text().strip()


def test_golden_bytes_decode_to_the_sample() -> None:
    """What an older version journaled is read as it was meant."""
    assert plain(decode(bytes.fromhex(GOLDEN.read_text()))) == SAMPLE


def test_peek_reads_the_header_of_a_request() -> None:
    """The header alone is enough to check the chain."""
    encoded = encode(SAMPLE)
    header = peek(encoded)
    assert (header.sequence, header.epoch, header.kind, header.commit) == (42, EPOCH, Kind.OBJECT, 40)
    assert position_of(encoded) == Position(EPOCH, 42, chain_hash(encoded))


def test_extents_of_a_decoded_request_are_not_copied() -> None:
    """Decoding a large request costs its header only."""
    encoded = encode(SAMPLE)
    extent = decode(encoded).files[0].extents[0][1]
    assert isinstance(extent, memoryview)
    assert extent.obj is encoded


@pytest.mark.parametrize("cut", [0, 10, HASH_BYTES + 5, 100, -1])
def test_a_shortened_request_is_refused(cut: int) -> None:
    """A part of a request is never applied."""
    with pytest.raises(MalformedRequest):
        decode(encode(SAMPLE)[:cut])


def test_bytes_behind_the_extents_are_refused() -> None:
    """Bytes that no extent claims are a mistake, not padding."""
    with pytest.raises(MalformedRequest, match="belong to no extent"):
        decode(encode(SAMPLE) + b"x")


def test_an_unknown_version_or_kind_names_the_remedy() -> None:
    """A newer peer's request is refused with what to do: update this node."""
    for at in (HASH_BYTES, HASH_BYTES + 1):
        encoded = bytearray(encode(SAMPLE))
        encoded[at] = 200
        with pytest.raises(MalformedRequest, match="update this node"):
            peek(bytes(encoded))


def test_a_request_of_another_chain_does_not_continue() -> None:
    """Sequence, hash and epoch must all fit."""
    header = peek(encode(SAMPLE))
    fits = Position(EPOCH, 41, SAMPLE.previous_hash)
    assert continues(header, fits)
    assert not continues(header, fits._replace(sequence=40))
    assert not continues(header, fits._replace(hash=bytes(32)))
    assert not continues(header, fits._replace(epoch=Epoch(8, EPOCH.node)))


@given(
    st.builds(
        Request,
        sequence=st.integers(1, 2**63),
        epoch=st.one_of(st.just(NO_EPOCH), st.just(EPOCH)),
        kind=st.sampled_from(Kind),
        previous_hash=st.binary(min_size=32, max_size=32),
        commit=st.integers(0, 2**63),
        checksum=st.integers(0, 2**64 - 1),
        at_us=st.integers(-(2**62), 2**62),
        page_size=st.sampled_from((0, 512, 4096, 65536)),
        files=st.lists(
            st.builds(
                FileChange,
                st.text(max_size=20),
                st.integers(-1, 2**50),
                st.lists(st.tuples(st.integers(0, 2**50), st.binary(max_size=50)), max_size=4).map(tuple),
            ),
            max_size=3,
        ).map(tuple),
        note=st.binary(max_size=30),
    )
)
def test_any_request_survives_encoding(request: Request) -> None:
    """Decode undoes encode, whatever is in it."""
    assert plain(decode(encode(request))) == request
