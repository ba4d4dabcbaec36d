"""The step chains of an agent: a step that ends begins those after it, connected or not (JS7-1, JS7-4). Pure.

Who begins a step. The agent does when it holds the chain at the moment in which a step before it ends: the report of
that end, which names what it began (`Ended.begun`), and the intents are saves of one outcome, durable together or not
at all. The master does in every other case, and never before it has recorded the end: the same report tells it which
case it is. So no step is begun by both; and since both make the same key, a dispatch that crosses the report starts
nothing.

What ends a chain, for the whole of a workflow's run, so that from then on the master decides: a master admits this
agent (it may have decided otherwise meanwhile, and gives the chain again), a stop or a suspension of a step of it
arrives, or a step ends while something is in the way. In the way is: an end that is neither success nor failure of the
step itself, a failure that its rule may repeat, any gate (a stopped scheduler too), a drain, a full disk, quarantine, a
start of the machine or a copy that no master has answered yet, a clock that is not trusted, the chain's time being
over, and outputs that are more than a step may be given.

What had begun when the master decided otherwise is told, is stopped where the workflow was cancelled, and ran once:
docs/workflow-runs.md. docs/decisions/0122 says what is left to the master.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from server.core import agent_wire as wire
from server.core.agent_ledger import Ledger
from server.core.agent_memory import DropChain, SaveChain
from server.core.agent_trust import Moment
from server.core.chain_messages import Chain, ChainStep, KeptChain
from server.core.model import Specification
from server.core.run_keys import parse_key
from server.core.step_outputs import GIVEN_BYTES_MAX, size
from server.core.workflow_runs import parse_request_id
from server.core.workflow_states import Items, StepState, advance
from server.core.workflows import Edge, Join, Outcome, WorkflowSpec, WorkflowStep

Begun = tuple[str, Specification]
"""A step that begins: the key of its run, and what the run is."""


class Chains:
    """Over the ledger of one agent; each workflow's run has one chain at most."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._memory = ledger.memory

    def take(self, chain: Chain) -> None:
        """Hold a chain in place of the earlier one. What ended here meanwhile, and this master cannot know, stays."""
        former = self._memory.chains.get(chain.workflow_run)
        kept = KeptChain(chain)
        if former is not None:
            keys = {step.name: step.key for step in former.chain.steps}
            same = {step.name for step in chain.steps if keys.get(step.name) == step.key} & set(former.ended)
            ended = {name: former.ended[name] for name in same}
            kept = KeptChain(chain, ended, {name: former.outputs.get(name, {}) for name in same})
        self._ledger.save(SaveChain(kept))

    def drop(self) -> None:
        """Begin nothing by a chain any more: a master has admitted this agent and decides."""
        for number in list(self._memory.chains):
            self._ledger.save(DropChain(number))

    def stopped(self, key: str) -> None:
        """Somebody stops or suspends this run: nothing of its workflow's run begins by itself any more."""
        name = parse_request_id(parse_key(key).request_id)
        if name is not None and name.workflow_run in self._memory.chains:
            self._ledger.save(DropChain(name.workflow_run))

    def ended(self, key: str, end: wire.Ended, in_the_way: str, now: Moment) -> list[Begun]:
        """The steps that begin because this run ends; whoever asks begins them in the same outcome.

        `in_the_way`: why nothing begins now, "" when it does.
        """
        run = self._memory.runs.get(key)
        kept, step = self._find(key)
        if run is None or run.state != "intent" or kept is None or step is None:
            return []
        number, state = kept.chain.workflow_run, came_to(step, run.stop, end)
        if state is None or in_the_way or now.wall_us >= kept.chain.until_us:
            self._ledger.save(DropChain(number))
            return []
        kept = KeptChain(kept.chain, {**kept.ended, step.name: state}, {**kept.outputs, step.name: dict(end.outputs)})
        begun, is_over = follow(kept, set(self._memory.runs))
        if any(size(specification.environment.items()) > GIVEN_BYTES_MAX for _, specification in begun):
            self._ledger.save(DropChain(number))  # the master finds the same and says it
            return []
        self._ledger.save(DropChain(number) if is_over else SaveChain(kept))
        return begun

    def _find(self, key: str) -> tuple[KeptChain | None, ChainStep | None]:
        for kept in self._memory.chains.values():
            for step in kept.chain.steps:
                if step.key == key:
                    return kept, step
        return None, None


def came_to(step: ChainStep, stop: str, end: wire.Ended) -> StepState | None:
    """What a step has come to by the end of its run, as the master will judge it; None when the master must decide."""
    if stop or end.cause not in ("", "timeout"):
        return None
    if end.cause == "timeout":
        is_success = False
    elif end.verdict:
        is_success = end.verdict == "succeeded"
    elif end.exit_code is None and end.signal is None:
        return None
    else:
        is_success = end.exit_code == 0 and end.signal is None
    if is_success:
        return StepState.SUCCEEDED
    return None if step.retried else StepState.FAILED


def follow(kept: KeptChain, known: set[str]) -> tuple[list[Begun], bool]:
    """What begins now, and whether nothing else ever will. `known`: keys of the runs that this agent has or had."""
    spec, items = as_workflow(kept.chain), states(kept, known)
    made = advance(spec, items)
    own = {step.name: step for step in kept.chain.steps if step.specification is not None and step.key not in known}
    begun = [_begun(own[name], kept) for name in made.begin if name in own]
    later = [name for name in own if name not in made.begin and name not in made.skip]
    return begun, not later


def states(kept: KeptChain, known: set[str]) -> Items:
    """The state of each step that the chain speaks of; what has not begun has none."""
    found = {name: (StepState(state),) for name, state in kept.chain.ended.items()}
    for step in kept.chain.steps:
        if step.name in kept.ended:
            found[step.name] = (StepState(kept.ended[step.name]),)
        elif step.specification is None or step.key in known:
            found[step.name] = (StepState.OPEN,)
    return found


def as_workflow(chain: Chain) -> WorkflowSpec:
    """The steps of a chain as a workflow, for the rule that says which of a workflow's steps begin."""
    over = [WorkflowStep(name=name) for name in chain.ended]
    steps = [
        WorkflowStep(
            name=step.name,
            after=[Edge(step=name, on=Outcome(on)) for name, on in step.after],
            join=Join(step.join),
        )
        for step in chain.steps
    ]
    return WorkflowSpec(name="", steps=[*over, *steps])


def _begun(step: ChainStep, kept: KeptChain) -> Begun:
    assert step.specification is not None, "only such steps begin here"
    return step.key, told(step, step.specification, kept.outputs)


def told(step: ChainStep, specification: Specification, outputs: Mapping[str, Mapping[str, str]]) -> Specification:
    """The specification with the outputs of the steps before it: `outputs` by step, of those that ended here."""
    environment = dict(specification.environment)
    for name, known in step.given:
        environment.update(outputs.get(name, {}) if name else known)
    environment.update(step.own)
    return msgspec.structs.replace(specification, environment=environment)
