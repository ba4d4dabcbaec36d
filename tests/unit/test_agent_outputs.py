"""How an agent streams output: after the begin of its run, from where each master is, and done only when it is safe."""

from __future__ import annotations

from pathlib import Path

import pytest

from server.agent import outputs as outputs_module
from server.agent.ends import RUNS
from server.agent.outputs import Outputs
from server.core import agent_wire as wire
from server.core.agent_ledger import REPORTS_IN_FLIGHT, Outcome
from tests.unit.agent_world import World, specification

KEYS = [f"j1.r{number}.a1" for number in range(REPORTS_IN_FLIGHT)]


class Streaming:
    """A world whose output goes the way of the client's: in order with what its session sends."""

    def __init__(self, data: Path) -> None:
        self.world = World()
        self.runs = data / RUNS
        self.done: list[str] = []
        self.outputs = Outputs(data, lambda key: self.world.session.takes_output(key), self._send, self.done.append)

    def _send(self, message: wire.Output) -> None:
        self.world.do(Outcome(sends=[(self.world.session.obeyed, message)]))

    def print(self, key: str, data: bytes) -> None:
        (self.runs / key).mkdir(parents=True, exist_ok=True)
        (self.runs / key / "output").write_bytes(data)
        self.outputs.follow(key)

    def places(self, key: str) -> tuple[list[int], list[int]]:
        """Where in all that was sent are the begin of the run and its output."""
        begins, outputs = [], []
        for place, (_, message) in enumerate(self.world.sent):
            if isinstance(message, wire.Report) and message.key == key and isinstance(message.body, wire.Begun):
                begins.append(place)
            elif isinstance(message, wire.Output) and message.key == key:
                outputs.append(place)
        return begins, outputs


def test_output_waits_for_a_begin_that_is_behind_hundreds_of_reports(tmp_path: Path) -> None:
    """After a long absence not all reports go out at once: what a run printed comes after its begin all the same."""
    streaming = Streaming(tmp_path)
    world = streaming.world
    world.connect(1)
    for key in KEYS:
        world.hear(wire.Dispatch(key, specification()))
        world.do(world.session.ended(key, world.end(0), world.now))
        streaming.print(key, key.encode())
    world.sent.clear()
    world.connect(2, ticket=2)
    streaming.outputs.admitted({})
    streaming.outputs.pump()
    assert streaming.places(KEYS[0])[1], "what was announced goes out"
    assert streaming.places(KEYS[-1]) == ([], []), "its begin is not among the first reports"
    while unanswered := [
        m.id for m in world.told(wire.Report) if isinstance(m, wire.Report) and m.id in world.disk.reports
    ]:
        world.hear(wire.Kept(tuple(unanswered), 9, True))
    streaming.outputs.pump()
    for key in KEYS:
        begins, outputs = streaming.places(key)
        assert begins, key
        assert outputs, key
        assert begins[0] < outputs[0], key


def test_nothing_counts_as_sent_while_no_master_has_admitted_the_agent(tmp_path: Path) -> None:
    """The end of a run while the agent stands alone: all of its output goes to the master that comes."""
    streaming = Streaming(tmp_path)
    world = streaming.world
    world.connect(1)
    world.hear(wire.Dispatch(KEYS[0], specification()))
    world.do(world.session.link_closed(world.session.obeyed))
    streaming.print(KEYS[0], b"late")
    streaming.outputs.ended(KEYS[0], 4)
    assert world.told(wire.Output) == []
    world.connect(2, ticket=2)
    streaming.outputs.admitted({KEYS[0]: 0})
    streaming.outputs.pump()
    assert world.told(wire.Output) == [wire.Output(KEYS[0], 0, b"late", 4)]


def test_output_that_a_master_held_alone_is_sent_again_to_one_that_lacks_it(tmp_path: Path) -> None:
    """It is done only once it is replicated, and a place in the history of one office says nothing in the next."""
    streaming = Streaming(tmp_path)
    world, key = streaming.world, KEYS[0]
    world.connect(1)
    world.hear(wire.Dispatch(key, specification()))
    streaming.outputs.admitted({})
    streaming.print(key, b"x" * 7)
    streaming.outputs.ended(key, 7)
    streaming.outputs.kept(wire.OutputKept(key, 7, 50, False))
    streaming.outputs.replicated(49)
    assert streaming.done == []
    world.connect(2, ticket=2)
    streaming.outputs.admitted({key: 3})
    streaming.outputs.replicated(60)
    assert streaming.done == []
    streaming.outputs.pump()
    assert world.told(wire.Output)[-1] == wire.Output(key, 3, b"x" * 4, 7)
    streaming.outputs.kept(wire.OutputKept(key, 7, 61, True))
    assert streaming.done == [key]


def test_output_that_was_whole_before_the_end_is_done_after_it(tmp_path: Path) -> None:
    """Found by looking at what files were left: of a job that printed early and then slept, all were kept for ever."""
    streaming = Streaming(tmp_path)
    world, key = streaming.world, KEYS[0]
    world.connect(1)
    world.hear(wire.Dispatch(key, specification()))
    streaming.outputs.admitted({})
    streaming.print(key, b"x" * 7)
    streaming.outputs.pump()
    streaming.outputs.kept(wire.OutputKept(key, 7, 50, True))
    assert streaming.done == []
    streaming.outputs.ended(key, 7)
    assert world.told(wire.Output)[-1] == wire.Output(key, 7, b"", 7), "the question whether all of it is safe"
    streaming.outputs.pump()
    assert len(world.told(wire.Output)) == 2, "asked once"
    streaming.outputs.kept(wire.OutputKept(key, 7, 50, True))
    assert streaming.done == [key]


def test_an_output_that_cannot_be_read_now_is_not_given_up(tmp_path: Path) -> None:
    """Only a file that is gone has nothing to send: anything else is tried again."""
    streaming = Streaming(tmp_path)
    world, key = streaming.world, KEYS[0]
    world.connect(1)
    world.hear(wire.Dispatch(key, specification()))
    streaming.outputs.admitted({})
    (streaming.runs / key / "output").mkdir(parents=True)
    streaming.outputs.ended(key, 4)
    assert streaming.done == []
    (streaming.runs / key / "output").rmdir()
    streaming.print(key, b"back")
    streaming.outputs.pump()
    assert world.told(wire.Output) == [wire.Output(key, 0, b"back", 4)]


def test_what_gathered_in_a_long_absence_goes_out_a_part_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Never more than the bound is on its way, each run gets its turn, and all of it arrives."""
    monkeypatch.setattr(outputs_module, "IN_FLIGHT_BYTES_MAX", 1000)
    monkeypatch.setattr(outputs_module, "OUTPUT_CHUNK_BYTES", 100)
    sent: list[wire.Output] = []
    held: dict[str, int] = {}
    done: list[str] = []
    outputs = Outputs(tmp_path, lambda key: True, sent.append, done.append)
    for key in KEYS[:100]:
        (tmp_path / RUNS / key).mkdir(parents=True)
        (tmp_path / RUNS / key / "output").write_bytes(b"x" * 250)
        outputs.follow(key)
        outputs.ended(key, 250)
    for turn in range(100):
        outputs.admitted({}) if turn == 0 else outputs.pump()
        assert sum(len(one.data) for one in sent) <= 1100
        for one in sent:
            assert one.offset == held.get(one.key, 0)
            held[one.key] = one.offset + len(one.data)
        last = {one.key: one for one in sent}
        sent.clear()
        for key in last:
            outputs.kept(wire.OutputKept(key, held[key], 9, True))
    assert len(held) == 100
    assert sorted(done) == sorted(KEYS[:100])
