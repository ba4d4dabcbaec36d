"""Two role machines, witnesses and a bad network: no acknowledged write is lost, no epoch is held twice, all heals.

Then the proof that these tests see something: each safety rule, switched off, is caught.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from replication.core import commit, decide, events, guards, in_office, machine, memory, roles, witness
from replication.core.types import Mode
from tests.property import role_simulation
from tests.property.role_nodes import PEER
from tests.property.role_stories import STORIES, world
from tests.property.role_walks import World
from tests.unit.role_world import A, B

NAMES = st.sampled_from((A, B))
MODES = st.sampled_from((Mode.STRICT, Mode.AVAILABLE))
SEEDS = 200


class RolesUnderFaults(RuleBasedStateMachine):
    """Hypothesis picks the faults and the operator's words; small things happen in between."""

    @initialize(
        seed=st.integers(0, 2**32), witnesses=st.sampled_from((1, 3)), mode=MODES, has_fence=st.booleans()
    )  # fmt: skip
    def found(self, seed: int, witnesses: int, mode: Mode, has_fence: bool) -> None:
        """A pair in sync."""
        self.world = World(random.Random(seed), witnesses, mode, has_fence=has_fence)

    @rule(moves=st.integers(1, 60))
    def go_on(self, moves: int) -> None:
        """Messages, fsyncs, writes, ticks; now and then something seldom."""
        self.world.walk(moves)

    @rule()
    def drama(self) -> None:
        """A story of a few troubles and words."""
        self.world.drama()

    @rule(name=NAMES, power=st.booleans())
    def crash(self, name: str, power: bool) -> None:
        """Of the process, or of the machine with what was not fsynced."""
        self.world.crash(name, power=power)

    @rule(effect=st.integers(0, 3))
    def crash_between_effects(self, effect: int) -> None:
        """The next step that has so many effects loses the rest."""
        self.world.crash_at = effect

    @rule(name=NAMES)
    def start(self, name: str) -> None:
        """From the last persisted memory only."""
        self.world.start(name)

    @rule(name=NAMES)
    def stop(self, name: str) -> None:
        """Cleanly."""
        self.world.stop(name)

    @rule(is_cut=st.booleans())
    def cut_or_heal(self, is_cut: bool) -> None:
        """The network between the two."""
        self.world.is_cut = is_cut

    @rule(name=NAMES)
    def promote(self, name: str) -> None:
        """An operator, who accepts no loss."""
        self.world.promote(name, force=False)

    @rule(name=NAMES)
    def go_alone(self, name: str) -> None:
        """An operator, with the witnesses' leave."""
        self.world.ask(name, lambda number: events.GoAloneRequested(number, b""))

    @rule(name=NAMES)
    def swap(self, name: str) -> None:
        """An operator."""
        self.world.ask(name, lambda number: events.SwapRequested(number, PEER[name], 3.0, b""))

    @rule()
    def all_is_well_again(self) -> None:
        """Whatever happened: one master, the other in sync, nothing acknowledged lost."""
        self.world.heal()

    def teardown(self) -> None:
        """Every story ends well."""
        if hasattr(self, "world"):
            self.world.heal()


RolesUnderFaults.TestCase.settings = settings(
    max_examples=25, stateful_step_count=25, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)  # fmt: skip
TestRolesUnderFaults = RolesUnderFaults.TestCase


def modes(seed: int) -> Mode:
    """Both modes, each with one witness and with three."""
    return (Mode.STRICT, Mode.AVAILABLE)[seed // 2 % 2]


@pytest.mark.parametrize("seed", range(10))
def test_forced_promotions_heal_too(seed: int) -> None:
    """With --allow-data-loss in the story epochs still grow, none is held twice, and the pair becomes whole again."""
    world = World(random.Random(seed), 1 + 2 * (seed % 2), modes(seed))
    for _ in range(3):
        world.walk(400, force=True)
        world.heal()


def forget_counter(record: Any, claim: Any) -> Any:
    """A grant that forgets in which order it was told who writes alone."""
    after, answer = witness.decide_claim(record, claim)
    return (replace(after, counter=0) if after is not record else after), answer


def handoff_known(it: Any, event: Any) -> bool:
    """HANDOFF is journaled here, wherever the standby is."""
    return bool(it.pending.handoff.sequence)


def early_in_sync(it: Any, event: Any) -> bool:
    """Counts itself in before it holds what was acknowledged without it."""
    return guards.peer_in_office(it, event) and it.node in event.hello.in_sync


def no_one_alone(*arguments: Any) -> Any:
    """Promotion does not ask who writes alone."""
    found = list(arguments)
    found[3] = replace(found[3], alone="")
    return judge_promotion(*found)


def always_enlisted(*arguments: Any) -> Any:
    """Promotion does not ask whether the master counted on this node."""
    found = list(arguments)
    found[0] = memory.Memory(**{**{f: getattr(found[0], f) for f in found[0].__struct_fields__}, "enlisted": True})
    return judge_promotion(*found)


judge_promotion = decide.judge_promotion
Apply = Callable[[pytest.MonkeyPatch], None]


def table(**mutants: Any) -> Apply:
    """A mutation of the role table."""
    rows = tuple(replace(row, guard=mutants.get(row.guard.__name__, row.guard)) for row in roles.TABLE)
    return lambda patch: patch.setattr(machine, "TABLE", rows)


MUTATIONS: dict[str, Apply] = {
    "any claim is granted": table(may_grant=guards.always),
    "a hand-off does not wait for the standby": table(target_holds_all=handoff_known),
    "a standby is in sync at the first word, and witnesses are told as early": lambda patch: (
        table(told_in_sync=early_in_sync)(patch),
        patch.setattr(in_office, "clear_once_held", told_at_once),
    )[0],
    "an old master does not stand down": table(peer_ahead=lambda it, event: False),
    "a late answer is leave to go alone": table(
        recorded_for_office=lambda it, event: event.done and bool(it.pending.request)
    ),
    "a witness majority is not needed": lambda patch: patch.setattr(
        witness.WitnessVerdict, "has_majority", property(lambda verdict: True)
    ),
    "promotion does not ask who is alone": lambda patch: patch.setattr(guards, "judge_promotion", no_one_alone),
    "promotion does not ask who was counted on": lambda patch: patch.setattr(
        guards, "judge_promotion", always_enlisted
    ),
    "a witness forgets the order": lambda patch: patch.setattr(role_simulation, "decide_claim", forget_counter),
    "a witness grants any claim": lambda patch: patch.setattr(
        role_simulation, "decide_claim", lambda record, claim: witness.decide_claim(record, replace(claim, forced=True))
    ),
    "the standby's fsync is not needed": lambda patch: patch.setattr(
        commit.CommitRule, "_advanced", lambda rule: own_only(rule)
    ),
    "the own fsync is not needed": lambda patch: patch.setattr(
        commit.CommitRule, "_advanced", lambda rule: eager(rule)
    ),
    "alone before the witnesses recorded it": table(
        recorded_for_office=lambda it, event: bool(it.pending.request or it.pending.by_itself)
    ),
    "a number is raised before the witnesses recorded it": table(
        recorded_for_raise=lambda it, event: it.pending.raising and event.epoch == it.pending.claim
    ),
    "strict goes alone by itself": table(
        should_go_alone=lambda it, event: guards.standby_lost(it, event) and not it.pending.request
    ),
    "strict resumes by itself": table(
        standby_silent=lambda it, event: it.now - it.answered_at >= it.standby_timeout_s and not it.pending.request
    ),
    "witnesses are told at once that the standby counts again": lambda patch: patch.setattr(
        in_office, "clear_once_held", told_at_once
    ),
    "a standby that moves is lost": lambda patch: patch.setattr(machine.Machine, "_watch_standby", blind),
    "the late record of a withdrawn wish counts": table(
        recorded_for_office=lambda it, event: event.done and event.alone == it.node and bool(it.pending.alone_from)
    ),
    "a promotion does not wait for the fence": table(fence_wanted=lambda it, event: False),
    "a failed fence is no reason": table(fence_held=guards.fence_ended),
    "nothing is persisted": lambda patch: patch.setattr(role_simulation, "PERSIST", False),
}


def told_at_once(it: Any, now: float) -> None:
    """Does not wait until the standby holds what was acknowledged without it."""
    it.clear_after, it.pending.ask_again_at = 1, now


def blind(it: Any, facts: Any, now: float) -> None:
    """Takes everything outstanding for stalled."""
    it.progressed_at = now - it.standby_timeout_s


def own_only(rule: Any) -> int:
    """Commits what is durable here, wherever the standby is."""
    rule.sequence = max(rule.sequence, rule._local)
    return int(rule.sequence)


def eager(rule: Any) -> int:
    """Commits what the standby has, whatever is durable here."""
    reports = [rule._fsynced.get(node, 0) for node in rule.required]
    rule.sequence = max(rule.sequence, min(reports or [rule._local]))
    return int(rule.sequence)


@pytest.mark.parametrize(("story", "witnesses", "mode"), STORIES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_story_keeps_every_promise(story: Callable[[World], None], witnesses: int, mode: Mode) -> None:
    """Told move by move: nothing acknowledged is lost, and all is well in the end."""
    told = world(witnesses, mode)
    story(told)
    told.heal()


def is_broken() -> bool:
    """A story, or a random one, breaks a promise."""
    for story, witnesses, mode in STORIES:
        try:
            story(world(witnesses, mode))
        except AssertionError:
            return True
    return walk_until_broken(range(SEEDS)) is not None


def walk_until_broken(seeds: range) -> int | None:
    """The first seed whose story breaks a promise."""
    for seed in seeds:
        try:
            world = World(random.Random(seed), 1 + 2 * (seed % 2), modes(seed), has_fence=seed % 8 == 7)
            for _ in range(4):
                world.drama()
            world.heal()
        except AssertionError:
            return seed
    return None


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_rule_switched_off_is_caught(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stories see the missing rule: without it some promise is broken."""
    MUTATIONS[name](monkeypatch)
    assert is_broken()
