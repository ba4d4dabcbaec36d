"""Any order of crashes, losses, repetitions and office changes: no run twice, nothing lost, no stale order obeyed."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.agent_ledger import Outcome
from server.core.model import SECOND_US
from tests.unit.agent_world import A, B, World, order, specification

NAMES = st.sampled_from(["p", "q", "r", "s", "t"])
POINTS = st.sampled_from(["none", "none", "none", "before", "after"])


class AgentLife(RuleBasedStateMachine):
    """An agent between two nodes. The model master remembers what it was told and gives lost dispatches again."""

    @initialize()
    def begin(self) -> None:
        self.world = World()
        self.number = 1
        self.node = A
        self.ticket = 1
        self.asked: set[str] = set()
        self.recorded: dict[str, wire.Ended] = {}
        self.seen = 0
        self.world.connect(1, A, 1)
        self.world.hear(order(5, 5, 200, misfire_policy="all"))

    def _do(self, outcome: Outcome, point: str = "none") -> None:
        self.world.do(outcome, crash_before_saves=point == "before", crash_after_saves=point == "after")

    def _hear(self, message: wire.FromNode, point: str = "none", node: str = "") -> None:
        self._do(self.world.session.received(node or self.node, message, self.world.now), point)

    @rule(name=NAMES, point=POINTS)
    def dispatch(self, name: str, point: str) -> None:
        key = f"j1.r{name}.a1"
        self.asked.add(key)
        self._hear(wire.Dispatch(key, specification()), point)

    @rule(name=NAMES, point=POINTS)
    def stop(self, name: str, point: str) -> None:
        self._hear(wire.StopRun(f"j1.r{name}.a1", kill=True), point)

    @rule(point=POINTS, code=st.integers(0, 3))
    def a_process_ends(self, point: str, code: int) -> None:
        alive = sorted(self.world.session.work.running)
        if alive:
            key = alive[0]
            self._do(self.world.session.ended(key, self.world.end(code), self.world.now), point)
            run = self.world.session.work
            if key in run.running:
                self._do(self.world.session.ended(key, self.world.end(code), self.world.now))

    @rule(seconds=st.integers(1, 40), point=POINTS)
    def time_passes(self, seconds: int, point: str) -> None:
        self.world.wall_us += seconds * SECOND_US
        self.world.boot_us += seconds * SECOND_US
        self._do(self.world.session.tick(self.world.now), point)

    @rule(locked=st.booleans(), stopped=st.booleans(), point=POINTS)
    def gates_change(self, locked: bool, stopped: bool, point: str) -> None:
        kinds = ("queue_locked",) * locked + ("scheduler_stopped",) * stopped
        revision = self.world.disk.durable.gates.revision + 1
        self._hear(wire.SetGates(wire.GateSet(revision, kinds)), point)

    @rule()
    def kill_9(self) -> None:
        self.world.start()

    @rule()
    def the_machine_reboots(self) -> None:
        self.world.reboot()

    @rule(new_office=st.booleans(), point=POINTS)
    def connect(self, new_office: bool, point: str) -> None:
        if new_office:
            self.number += 1
            self.node = B if self.node == A else A
        world = self.world
        world.do(world.session.link_closed(self.node))
        world.do(world.session.link_opened(self.node))
        self._hear(wire.Office(self.node, "master", Epoch(self.number, self.node), world.wall_us), point)
        self.ticket += 1
        self._hear(wire.Admitted(self.ticket), point)

    @rule(back=st.integers(1, 3))
    def a_stale_master_speaks(self, back: int) -> None:
        node = B if self.node == A else A
        world = self.world
        before, highest = dict(world.processes), world.disk.durable.epoch
        world.do(world.session.link_opened(node))
        epoch = Epoch(max(self.number - back, 1), node)
        world.hear(wire.Office(node, "master", epoch, world.wall_us), node)
        if epoch.number < highest.number:
            world.hear(wire.Admitted(99), node)
            world.hear(wire.Dispatch("j1.rstale.a1", specification()), node)
            assert world.processes == before
            assert world.disk.durable.epoch == highest
        world.do(world.session.link_closed(node))

    @rule(in_sync=st.booleans(), lost=st.booleans(), point=POINTS)
    def the_master_commits_what_it_was_sent(self, in_sync: bool, lost: bool, point: str) -> None:
        fresh, self.seen = self.world.sent[self.seen :], len(self.world.sent)
        reports = [m for node, m in fresh if isinstance(m, wire.Report) and node == self.world.session.obeyed]
        if lost or not reports or not self.world.session.admitted:
            return
        for report in reports:
            if isinstance(report.body, wire.Ended):
                self.recorded.setdefault(report.key, report.body)
        self._hear(wire.Kept(tuple(r.id for r in reports), 10, in_sync), point)

    @invariant()
    def nothing_began_twice(self) -> None:
        if hasattr(self, "world"):
            assert all(count == 1 for count in self.world.processes.values())

    @invariant()
    def memory_is_what_the_disk_says(self) -> None:
        if hasattr(self, "world"):
            assert self.world.session._memory == self.world.disk

    @invariant()
    def every_ended_run_is_recorded_or_still_reported(self) -> None:
        if not hasattr(self, "world"):
            return
        waiting = {r.key for r in self.world.disk.reports.values() if isinstance(r.body, wire.Ended)}
        for key, run in self.world.disk.runs.items():
            if run.state in ("ended", "forgotten"):
                assert key in waiting or key in self.recorded

    @invariant()
    def every_process_is_known(self) -> None:
        if hasattr(self, "world"):
            assert set(self.world.processes) <= set(self.world.disk.runs)

    def teardown(self) -> None:
        """With the master back and gates open, everything asked for comes to an end: nothing runs for ever."""
        if not hasattr(self, "world"):
            return
        world = self.world
        self.connect(True, "none")
        self._hear(wire.SetGates(wire.GateSet(world.disk.durable.gates.revision + 1)))
        for key in sorted(self.asked):
            self._hear(wire.Dispatch(key, specification()))
        world.do(world.session.tick(world.now))
        while world.session.work.running:
            self.a_process_ends("none", 0)
        assert not world.session.work.awaiting
        for key in self.asked:
            assert world.disk.runs[key].state in ("ended", "forgotten")
        self.nothing_began_twice()
        self.every_ended_run_is_recorded_or_still_reported()


AgentLife.TestCase.settings = settings(max_examples=60, stateful_step_count=40)
TestAgentLife = AgentLife.TestCase
