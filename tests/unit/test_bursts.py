"""What waits for starts: nothing longer than its bound, also when starts never stop. Clocks are values here."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.agent import keeper as keeper_module
from server.agent.child import Child
from server.agent.keeper import STARTS_S, Keeper
from server.agent.output_file import OutputFile
from server.agent.process_tree import Tree
from server.agent.untold import Untold
from server.core import agent_wire as wire
from server.core.bursts import BEGINS_WAIT_S, ENDS_WAIT_S, Burst
from server.core.model import SECOND_US
from tests.unit.agent_world import World, order

A, B = "a" * 32, "b" * 32
ENDED = wire.Ended(0, None, 1, 2, 0, False, "")


class Clock:
    """Moves when it is told to, and calls what was asked for."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self._calls: list[tuple[float, Callable[[float], None], float]] = []

    def __call__(self) -> float:
        return self.now_s

    def call_at(self, when_s: float, function: Callable[[float], None], argument: float) -> None:
        self._calls.append((when_s, function, argument))

    def pass_s(self, seconds: float) -> None:
        """In steps of a millisecond."""
        for _ in range(round(seconds * 1000)):
            self.now_s += 0.001
            due = [call for call in self._calls if call[0] <= self.now_s]
            self._calls = [call for call in self._calls if call[0] > self.now_s]
            for _, function, argument in due:
                function(argument)


def test_work_waits_for_starts_up_to_the_first_bound() -> None:
    """Without starts it does not wait at all; after it was done, what comes next has its whole time again."""
    burst = Burst()
    burst.put_off(10.0, 0.5)
    assert not burst.waits(False, 10.0)
    burst.put_off(10.0, 0.5)
    burst.put_off(10.1, 0.25)
    assert burst.waits(True, 10.34)
    assert not burst.waits(True, 10.35)
    burst.put_off(10.4, 0.5)
    assert burst.waits(True, 10.89)
    assert not burst.waits(True, 10.9)


class BusyKeeper(Keeper):
    """One that is asked for starts without end: each takes a millisecond, and its run has ended at once."""

    def __init__(self, data: Path, clock: Clock) -> None:
        super().__init__(data, 1)
        self.clock = clock
        self.waited_s: list[float] = []
        self.after: list[int] = []
        self._ended_s: dict[str, float] = {}

    def _start(self, request: dict[str, Any]) -> None:
        self.clock.pass_s(0.001)
        key = request["key"]
        child = Child(key, None, -1, OutputFile(self._data, 100), 1, self._data, Tree(key))
        child.ended = (0, None)
        self._children[key] = self._ending[key] = child
        self._ended_s[key] = self.clock()

    def _conclude(self, child: Child) -> None:
        self.waited_s.append(self.clock() - self._ended_s[child.key])
        self.after.append(len(self._ended_s))
        child.output.finish()
        del self._children[child.key], self._ending[child.key]


def test_no_end_waits_longer_in_a_keeper_that_never_stops_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its bound, the turn that saw it and the turn under way: then every end is written down, and starts go on."""
    clock = Clock()
    monkeypatch.setattr(keeper_module.time, "monotonic", clock)
    keeper = BusyKeeper(tmp_path, clock)
    asked = 0
    for _ in range(60):
        while len(keeper._asked) < 100:
            asked += 1
            keeper._asked.append({"op": "start", "key": f"j{asked}"})
        keeper._turn()
    assert len(keeper.waited_s) > 2000
    assert 0.2 < max(keeper.waited_s) <= ENDS_WAIT_S + 2 * STARTS_S + 0.001
    assert keeper.after[0] > 200, "the starts of the first quarter of a second came before any end"
    keeper._asked.clear()
    keeper._turn()
    assert not keeper._children, "without starts nothing waits"


def test_ends_wait_for_nothing_where_descriptors_are_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each end that waits keeps some: with many runs they are written down in every turn."""
    clock = Clock()
    monkeypatch.setattr(keeper_module.time, "monotonic", clock)
    keeper = BusyKeeper(tmp_path, clock)
    keeper._at_once = 10
    keeper._asked.extend({"op": "start", "key": f"j{number}"} for number in range(500))
    while keeper._asked:
        keeper._turn()
    assert max(keeper.waited_s) <= 2 * STARTS_S


def test_what_is_still_in_the_socket_waits_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket holds fewer requests than are due at once: no end comes between two halves of them."""
    clock = Clock()
    monkeypatch.setattr(keeper_module.time, "monotonic", clock)
    keeper = BusyKeeper(tmp_path, clock)
    mine, its = socket.socketpair()
    keeper._agents.accept(its, [])
    for half in range(2):
        for number in range(40):
            mine.sendall(json.dumps({"op": "start", "key": f"j{half}.{number}"}).encode() + b"\n")
        keeper._turn()
        if half == 0:
            assert keeper.after == [40] * 40, "nothing more was asked for"
    mine.sendall(b"".join(json.dumps({"op": "start", "key": f"k{n}"}).encode() + b"\n" for n in range(60)))
    keeper._turn()
    assert len(keeper.after) == 80, "ten are not begun: ends wait for them"
    mine.close()
    keeper._turn()
    assert keeper.after[80:] == [140] * 60, "also those that an agent asked for which has gone"
    assert not len(keeper._agents)


def test_what_an_agent_has_to_tell_waits_in_order_and_not_too_long() -> None:
    """While starts never stop: a begin up to its bound, an end up to the shorter one, and what is before it goes."""
    clock, told = Clock(), list[tuple[float, str, Any]]()
    untold = Untold(lambda: True, lambda node, message: told.append((clock(), node, message)), clock, clock.call_at)
    untold.add([(A, wire.OrderKept(1, 1)), (B, wire.OrderKept(2, 1))])
    clock.pass_s(0.1)
    untold.add([(A, wire.Report(1, "j1", 1, ENDED))])
    untold.tell()
    assert not told
    clock.pass_s(ENDS_WAIT_S - 0.002)
    assert not told
    clock.pass_s(0.004)
    assert [type(message).__name__ for _, _, message in told] == ["OrderKept", "OrderKept", "Report"]
    untold.add([(A, wire.OrderKept(3, 1))])
    clock.pass_s(BEGINS_WAIT_S + 0.001)
    assert told[-1][2] == wire.OrderKept(3, 1)
    assert told[-1][0] - told[-2][0] <= BEGINS_WAIT_S + 0.002


def test_nothing_waits_without_starts_and_nothing_goes_to_a_later_link() -> None:
    """It is told in the same turn; what was meant for a link that has gone is dropped, for that node alone."""
    clock, told = Clock(), list[str]()
    starts = [True]
    untold = Untold(lambda: starts[0], lambda node, _: told.append(node), clock, clock.call_at)
    untold.add([(A, wire.OrderKept(1, 1)), (B, wire.OrderKept(1, 1))])
    untold.drop(A)
    starts[0] = False
    untold.tell()
    assert told == [B]
    untold.add([(A, wire.OrderKept(2, 1))])
    untold.tell()
    assert told == [B, A]
    clock.pass_s(1.0)
    assert told == [B, A], "once"


def test_what_comes_soon_is_what_begins() -> None:
    """The keys are those of the runs; what has begun, is far away or behind the order's end is none of them."""
    world = World()
    world.connect()
    world.hear(order(2, 1, 10, valid_s=6))
    soon = world.session.work.soon(world.now, 3 * SECOND_US)
    assert len(soon) == 2
    assert not world.processes, "it was only asked"
    world.pass_s(2)
    assert list(world.processes) == soon[:1]
    assert soon[1] in world.session.work.soon(world.now, 3 * SECOND_US)
    assert soon[0] not in world.session.work.soon(world.now, 3 * SECOND_US)
    for _ in range(3):
        world.pass_s(1)
    assert list(world.processes)[:2] == soon
    assert len(world.session.work.soon(world.now, 9 * SECOND_US)) == 1
