"""Frames that nobody meant, through decoders and machines: a small form of `./scripts/soak hostile-frames`."""

from __future__ import annotations

import zlib

import msgspec
import pytest

from replication.core import codec
from replication.core.codec import FrameError
from replication.core.messages import Grant
from replication.core.types import ORIGIN, Epoch
from server.agent.link import check_keys
from server.core import agent_wire as wire
from server.core.agent_wire import ProtocolError
from server.core.chain_messages import Chain, ChainStep
from server.core.run_keys import is_key
from tests.hostile import frames
from tests.hostile.mutations import DEPTHS
from tests.unit.agent_world import specification


def test_nothing_but_the_documented_errors() -> None:
    """20,000 frames, half of them changed from recorded ones; those that decode go through the machines."""
    frames.prepare()
    tally = frames.run(20_000)
    assert tally.faults == []
    assert tally.frames.total() == 20_000
    kinds = {name.split()[1] for name in tally.decoded}
    assert tally.decoded.total() > 1000
    assert {"Hello", "Grant", "Requests", "Present", "Report", "Dispatch", "Office"} <= kinds


def framed(number: int, body: bytes) -> bytes:
    return codec.HEADER.pack(number, 0, 0, len(body), zlib.crc32(body)) + body


@pytest.mark.parametrize("depth", DEPTHS)
def test_nesting_is_refused(depth: int) -> None:
    """Deeper than the interpreter goes: an error of the protocol, not of Python."""
    body = b"\x91" * depth + b"\x00"
    for number in codec.TYPES:
        with pytest.raises(FrameError):
            codec.decode(framed(number, body))
    for decode in (wire.decode_from_agent, wire.decode_from_node):
        with pytest.raises(ProtocolError):
            decode(b"\x92\xa5hello" + body)
        with pytest.raises(ProtocolError):
            decode(body)


def test_text_that_is_no_text_is_refused() -> None:
    """Bytes that are not UTF-8 where a text belongs."""
    body = msgspec.msgpack.encode(["hello", "NAME", 2, "v", "b", "i", 0]).replace(b"NAME", b"\xff\xfe\xfd\xfc")
    with pytest.raises(ProtocolError):
        wire.decode_from_agent(body)
    grant = codec.encode(Grant(epoch=Epoch(1, "NAME"), last=ORIGIN))
    with pytest.raises(FrameError):
        codec.decode(framed(4, grant[codec.HEADER.size :].replace(b"NAME", b"\xff\xfe\xfd\xfc")))


@pytest.mark.parametrize("number", [2**62 + 1, 2**63, 2**64 - 1])
def test_numbers_that_no_table_takes_are_refused(number: int) -> None:
    """On both wires, wherever in a message; the largest allowed one can still be counted on from."""
    for message in (
        wire.TicketKept(number),
        wire.Released(1, 1, (5, number)),
        wire.Report(1, "j1.rone.a1", number, wire.Trouble("x")),
        wire.Present(Epoch(1, "a"), 1, wire.GateSet(), (wire.RunNote("k", "held", number),), ()),
    ):
        with pytest.raises(ProtocolError):
            wire.decode_from_agent(wire.encode(message))
    assert wire.decode_from_agent(wire.encode(wire.TicketKept(2**62))) == wire.TicketKept(2**62)
    with pytest.raises(FrameError):
        codec.decode(codec.encode(Grant(epoch=Epoch(number, "a"), last=ORIGIN)))
    with pytest.raises(FrameError):
        codec.decode(codec.encode(Grant(epoch=Epoch(1, "a"), last=ORIGIN._replace(sequence=number))))


@pytest.mark.parametrize(
    "key",
    ["", ".", "..", "../../etc/cron.d/x", "/etc/passwd", "j1.r../x.a1", "j1.rone.a1/..", "j1.rone.a1\0", "j1.rone.a1\n",
     "j1.r" + "x" * 65 + ".a1", "j" + "9" * 19 + ".rone.a1", "j\u0661.rone.a1", "j1.s1.99999999T999999Z.a1"],
)  # fmt: skip
def test_keys_that_are_paths_are_refused(key: str) -> None:
    """An agent names folders by keys: whatever a node says, nothing lies elsewhere."""
    assert not is_key(key)
    step = Chain(1, 2, (ChainStep("one", key),))
    for message in (
        wire.Dispatch(key, specification()),
        wire.Dispatch("j1.rone.a1", specification(), chain=step),
        wire.StopRun(key),
        wire.Suspend(key),
        wire.OutputKept(key, -1, 1, True),
    ):
        with pytest.raises(ProtocolError):
            check_keys(message)
    check_keys(wire.Dispatch("j1.rone.a1", specification()))
