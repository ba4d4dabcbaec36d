"""Workflows of random shape, ended in random order: none stands still, none begins a step twice."""

from __future__ import annotations

import random

import pytest

from server.core import workflow_states as states
from server.core.workflow_states import StepState, WorkflowState
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep

S = StepState
ENDS = (S.SUCCEEDED, S.SUCCEEDED, S.FAILED)


def random_spec(rng: random.Random) -> WorkflowSpec:
    """Up to eight steps; each comes after some of those before it, in any order in the list."""
    steps = []
    for number in range(rng.randint(1, 8)):
        before = rng.sample(range(number), k=rng.randint(0, min(3, number)))
        steps.append(
            WorkflowStep(
                name=f"s{number}",
                command="true",
                after=[Edge(step=f"s{one}", on=rng.choice(list(Outcome))) for one in before],
                join=rng.choice(list(Join)),
                for_each=["a", "b"] if rng.random() < 0.2 else [],
                checkpoint=rng.random() < 0.3,
                restartable=rng.random() < 0.6,
            )
        )
    rng.shuffle(steps)
    return WorkflowSpec(name="w", steps=steps, agent="a")


def items_of(step: WorkflowStep) -> int:
    """How many runs a step makes."""
    return max(len(step.for_each), 1)


class Engine:
    """The least that runs a spec: an item begins when it is told, and ends as `ends` says."""

    def __init__(self, spec: WorkflowSpec, ends: dict[tuple[str, int], StepState]) -> None:
        self.spec, self.ends = spec, ends
        self.items: dict[str, list[StepState]] = {}
        self.begun: list[str] = []

    def advance(self) -> None:
        """Do what follows, once."""
        made = states.advance(self.spec, self.items)
        steps = {step.name: step for step in self.spec.steps}
        for name in made.skip:
            self.items[name] = [S.SKIPPED]
        for name in made.begin:
            self.begun.append(name)
            known = self.items.get(name, [])
            self.items[name] = [
                S.OPEN if index >= len(known) or known[index] is S.AGAIN else known[index]
                for index in range(items_of(steps[name]))
            ]

    def open(self) -> list[tuple[str, int]]:
        """What has begun and not ended."""
        return [(name, n) for name, found in sorted(self.items.items()) for n, at in enumerate(found) if at is S.OPEN]

    def run(self, rng: random.Random) -> None:
        """To the end, what is open ending in random order."""
        self.advance()
        while there := self.open():
            name, number = rng.choice(there)
            self.items[name][number] = self.ends[(name, number)]
            self.advance()
            if rng.random() < 0.3:
                self.advance()


def expected(spec: WorkflowSpec, ends: dict[tuple[str, int], StepState]) -> dict[str, StepState]:
    """The same by plain recursion over the edges: the end of each step, without an order of events."""
    steps = {step.name: step for step in spec.steps}
    found: dict[str, StepState] = {}

    def end(name: str) -> StepState:
        if name not in found:
            step = steps[name]
            taken = []
            for edge in step.after:
                came = end(edge.step)
                good = {"succeeded": came is S.SUCCEEDED, "failed": came is S.FAILED, "ended": came is not S.SKIPPED}
                taken.append(good[edge.on])
            begins = not taken or (all(taken) if step.join is Join.ALL else any(taken))
            own = [ends[(name, n)] for n in range(items_of(step))]
            found[name] = S.SKIPPED if not begins else S.FAILED if S.FAILED in own else S.SUCCEEDED
        return found[name]

    return {step.name: end(step.name) for step in spec.steps}


@pytest.mark.parametrize("block", range(4))
def test_every_workflow_ends_as_its_edges_say_in_whatever_order_its_steps_end(block: int) -> None:
    """No deadlock, no step begun twice, and the same states from three orders as from a plain recursion."""
    for seed in range(block * 150, block * 150 + 150):
        rng = random.Random(seed)
        spec = random_spec(rng)
        ends = {(step.name, n): rng.choice(ENDS) for step in spec.steps for n in range(items_of(step))}
        for order in range(3):
            engine = Engine(spec, ends)
            engine.run(random.Random(seed * 10 + order))
            assert len(engine.begun) == len(set(engine.begun)), seed
            assert states.phases(spec, engine.items) == expected(spec, ends), seed
            state = states.standing(spec, engine.items, "")
            assert state in (WorkflowState.SUCCEEDED, WorkflowState.FAILED), seed


def test_what_is_interrupted_runs_again_behind_its_checkpoints_and_the_rest_keeps_what_it_did() -> None:
    """Interrupted at any moment and resumed: ends as without it, no kept step twice, each repeated step once more."""
    repeated = 0
    for seed in range(300):
        rng = random.Random(seed)
        spec = random_spec(rng)
        ends = {(step.name, n): S.SUCCEEDED for step in spec.steps for n in range(items_of(step))}
        engine = Engine(spec, ends)
        engine.advance()
        for _ in range(rng.randint(0, 4)):
            if there := engine.open():
                name, number = rng.choice(there)
                engine.items[name][number] = S.SUCCEEDED
                engine.advance()
        there = engine.open()
        if not there:
            continue
        name, number = rng.choice(there)
        engine.items[name][number] = S.LOST
        engine.advance()
        again = states.behind_checkpoint(spec, engine.items, [name])
        kept = {step.name for step in spec.steps if step.checkpoint and step.name != name}
        assert name in again
        assert not {one for one in again if one in kept and engine.items[one] == [S.SUCCEEDED]}
        for one in again:
            engine.items[one] = [S.AGAIN if at in (S.LOST, S.SUCCEEDED) else at for at in engine.items[one]]
        before = list(engine.begun)
        engine.run(rng)
        assert states.phases(spec, engine.items) == expected(spec, ends), seed
        twice = [one for one in set(engine.begun) if engine.begun.count(one) > before.count(one) and one in before]
        assert set(twice) <= set(again), seed
        repeated += len(twice)
    assert repeated > 100


def test_one_step_without_an_answer_keeps_only_what_comes_after_it() -> None:
    """A lost step leaves its followers undecided, other branches go on, and the whole asks for a decision."""
    spec = WorkflowSpec(
        name="w",
        agent="a",
        steps=[
            WorkflowStep(name="a", command="true"),
            WorkflowStep(name="b", command="true", after=[Edge(step="a")]),
            WorkflowStep(name="c", command="true"),
            WorkflowStep(name="d", command="true", after=[Edge(step="c")]),
        ],
    )
    items = {"a": [S.LOST], "c": [S.SUCCEEDED]}
    assert states.advance(spec, items) == (("d",), ())
    assert states.standing(spec, items, "") is WorkflowState.DECIDING
    assert states.standing(spec, {**items, "d": [S.OPEN]}, "suspend") is WorkflowState.SUSPENDING
    assert states.standing(spec, {**items, "d": [S.SUCCEEDED]}, "suspend") is WorkflowState.SUSPENDED
    assert states.standing(spec, {**items, "d": [S.OPEN]}, "cancel") is WorkflowState.CANCELLING


def test_a_failed_step_fails_the_workflow_unless_a_step_is_after_its_failure() -> None:
    """`on: failed` and `on: ended` catch it; `on: succeeded` does not."""
    for on, state in ((Outcome.SUCCEEDED, "failed"), (Outcome.FAILED, "succeeded"), (Outcome.ENDED, "succeeded")):
        after = WorkflowStep(name="b", command="true", after=[Edge(step="a", on=on)])
        spec = WorkflowSpec(name="w", agent="a", steps=[WorkflowStep(name="a", command="false"), after])
        engine = Engine(spec, {("a", 0): S.FAILED, ("b", 0): S.SUCCEEDED})
        engine.run(random.Random(1))
        assert states.standing(spec, engine.items, "") == state


def test_only_steps_that_may_begin_anew_do_so_by_themselves() -> None:
    """One step behind the checkpoint that is not restartable leaves the decision to a person."""
    steps = [
        WorkflowStep(name="a", command="true", checkpoint=True),
        WorkflowStep(name="b", command="true", after=[Edge(step="a")], restartable=True),
        WorkflowStep(name="c", command="true", after=[Edge(step="b")], restartable=True),
    ]
    spec = WorkflowSpec(name="w", agent="a", steps=steps)
    items = {"a": [S.SUCCEEDED], "b": [S.SUCCEEDED], "c": [S.LOST]}
    assert states.behind_checkpoint(spec, items, ["c"]) == ["b", "c"]
    assert states.may_restart(spec, ["b", "c"])
    assert not states.may_restart(spec, ["a", "b"])
    assert states.before(spec, "c") == ["a", "b"]
