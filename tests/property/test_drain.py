"""The drain of an agent under random crashes, reboots and withdrawals: who begins, who is cut, what is told."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from server.core import agent_wire as wire
from server.core.agent_ledger import Outcome
from tests.unit.agent_world import A, World, specification

LIMIT_S = 30
STEPS = 60


class Random:
    """One agent and its master. Every outcome may be cut off by a crash before or after it is durable."""

    def __init__(self, seed: int) -> None:
        self.choice = random.Random(seed)
        self.world = World()
        self.ticket = 0
        self.revision = 1
        self.drain_at_us = 0
        self.number = 0
        self.began_at_us: dict[int, int] = {}
        self.cut: set[str] = set()
        self.early: list[str] = []
        self.begun_under_drain: list[str] = []
        self.connect()

    def connect(self) -> None:
        """A link to the master, which says again what is in force."""
        world = self.world
        self.ticket += 1
        world.do(world.session.link_closed(A))
        world.do(world.session.link_opened(A))
        world.hear(wire.Office(A, "master", wire.Epoch(1, A), world.wall_us, {}, 2))
        world.hear(wire.Admitted(self.ticket))
        world.hear(wire.SetGates(self.gates()))

    def gates(self) -> wire.GateSet:
        kinds = ("draining",) if self.drain_at_us else ()
        return wire.GateSet(self.revision, kinds, self.drain_at_us, LIMIT_S)

    def do(self, outcome: Outcome) -> None:
        """Carry out, with a crash one time in six; then the agent is connected again."""
        roll = self.choice.random()
        if roll < 0.08:
            self.world.do(outcome, crash_before_saves=True)
            self.connect()
        elif roll < 0.16:
            self.world.do(outcome, crash_after_saves=True)
            self.connect()
        else:
            self.world.do(outcome)

    def step(self) -> None:
        before = dict(self.world.processes)
        standing = self.drain_at_us if self.drain_at_us == self.heard() else 0
        name = self.choice.choice(("dispatch", "dispatch", "end", "pass", "pass", "gate", "reboot", "crash"))
        getattr(self, f"_{name}")()
        if standing and standing == self.drain_at_us == self.heard():
            self.begun_under_drain += [key for key in self.world.processes if key not in before]
        self._watch()

    def heard(self) -> int:
        """The drain that the agent's disk has in force."""
        gates = self.world.disk.durable.gates
        return gates.drain_at_us if "draining" in gates.kinds else 0

    def _watch(self) -> None:
        """When each drain began, by the machine's clock, and whether a run was cut before its limit."""
        note = self.world.disk.durable.drain
        if note is not None and note.asked_at_us not in self.began_at_us:
            self.began_at_us[note.asked_at_us] = self.world.wall_us
        for run in self.world.disk.runs.values():
            if run.stop == "drained" and run.key not in self.cut and note is not None:
                self.cut.add(run.key)
                age_s = (self.world.wall_us - self.began_at_us[note.asked_at_us]) / 1e6
                if age_s < LIMIT_S:
                    self.early.append(run.key)

    def _dispatch(self) -> None:
        self.number += 1
        message = wire.Dispatch(f"j1.r{self.number}.a1", specification())
        self.do(self.world.session.received(A, message, self.world.now))

    def _end(self) -> None:
        runs = [run for run in self.world.disk.runs.values() if run.state == "intent"]
        alive = [run for run in runs if run.key in self.world.pid_files and run.boot_id == self.world.boot]
        if alive:
            self.do(self.world.session.ended(self.choice.choice(alive).key, self.world.end(0), self.world.now))

    def _pass(self) -> None:
        seconds = self.choice.choice((1, 5, LIMIT_S))
        self.world.wall_us += seconds * 1_000_000
        self.world.boot_us += seconds * 1_000_000
        self.do(self.world.session.tick(self.world.now))

    def _gate(self) -> None:
        self.revision += 1
        self.drain_at_us = 0 if self.drain_at_us else self.revision
        self.do(self.world.session.received(A, wire.SetGates(self.gates()), self.world.now))

    def _reboot(self) -> None:
        if self.choice.random() < 0.3:
            self.world.reboot()
            self.connect()

    def _crash(self) -> None:
        self.world.start()
        self.connect()

    def conclude(self) -> None:
        """Everything ends: each run that is left, and then each drain."""
        self.choice.random = lambda: 1.0  # type: ignore[method-assign]  # no more crashes
        self.connect()
        for _ in range(3):
            self._pass()
            for run in list(self.world.disk.runs.values()):
                if run.state == "intent":
                    self.do(self.world.session.ended(run.key, self.world.end(0), self.world.now))


@pytest.mark.parametrize("block", range(4))
def test_no_run_begins_under_a_drain_none_is_cut_early_and_each_end_is_told_once(block: int) -> None:
    """100 random lives: whatever crashes, the master hears of each begun drain once, with each of its runs once."""
    withdrawn = cut = restarted = 0
    for seed in range(block * 25, block * 25 + 25):
        life = Random(seed)
        for _ in range(STEPS):
            life.step()
        life.conclude()
        assert life.begun_under_drain == [], f"seed {seed}"
        assert life.early == [], f"seed {seed}"
        begun = Counter(body.asked_at_us for _, body in life.world.bodies(wire.DrainBegun))
        ended = Counter(body.asked_at_us for _, body in life.world.bodies(wire.Drained))
        assert set(begun.values()) <= {1}, f"seed {seed}: {begun}"
        assert begun == ended, f"seed {seed}"
        for _, body in life.world.bodies(wire.Drained):
            assert len({one.key for one in body.outcomes}) == len(body.outcomes), f"seed {seed}"
            outcomes = Counter(one.outcome for one in body.outcomes)
            withdrawn, cut = withdrawn + body.withdrawn, cut + outcomes["cut"]
        restarted += len(life.began_at_us)
    assert min(withdrawn, cut, restarted) > 5, "the lives were too quiet to prove anything"
