"""Safety rules, each taken away by one change to the shipped core, and the small search that has to see the damage.

The search looks for outcomes only: an acknowledged write lost, an epoch held twice, an agent that obeys two nodes in
one number, a pair that nobody can heal. What merely repeats a rule is not looked at.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest

from replication.core import commit, decide, effects, guards, in_office, machine, moves, witness
from replication.core.types import Mode, State
from replication.core.witness import WitnessAnswer, WitnessRecord
from server.core import agent_trust
from tests.search import deeds
from tests.search.bounds import Bounds

Apply = Callable[[pytest.MonkeyPatch], None]


@dataclass(frozen=True)
class Mutation:
    """One rule less. `lively`: the damage is a pair that does not heal, so every situation is healed as it is met.
    `deep` ones need too many states for CI.
    """

    name: str
    apply: Apply
    bounds: Bounds
    lively: bool = False
    deep: bool = False


def bounds(words: str, witnesses: int = 1, **fields: Any) -> Bounds:
    """Small ones: only these words of an operator; the rest of the keywords are budgets."""
    shape = {key: fields.pop(key) for key in list(fields) if key in Bounds.__dataclass_fields__}
    shape = {"agent": False, "states_max": 200_000, **shape}
    return Bounds("mutation", witnesses, fields, frozenset(words.split()), **shape)


def row(number: int, **changes: Any) -> Apply:
    """Another guard, action or next state of one row."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        rows = tuple(replace(r, **changes) if r.number == number else r for r in machine.TABLE)
        patch.setattr(machine, "TABLE", rows)

    return apply


def guard(name: str, other: Callable[..., bool]) -> Apply:
    """Another guard wherever a row asks this one."""

    def apply(patch: pytest.MonkeyPatch) -> None:
        rows = tuple(replace(r, guard=other) if r.guard.__name__ == name else r for r in machine.TABLE)
        patch.setattr(machine, "TABLE", rows)

    return apply


def never(it: Any, event: Any) -> bool:
    """The rule is gone."""
    return False


def attribute(where: Any, name: str, other: Any) -> Apply:
    """Another function under this name."""
    return lambda patch: patch.setattr(where, name, other)


# the rules


def grant_not_kept(record: Any, claim: Any) -> Any:
    """The witness says yes and goes on believing what it believed: its answer is not its grant."""
    return record, decide_claim(record, claim)[1]


def grant_erases(record: Any, claim: Any) -> Any:
    """A grant forgets who writes alone."""
    after, answer = decide_claim(record, claim)
    return (WitnessRecord(epoch=after.epoch) if after is not record else after), answer


def grant_by_number(record: Any, claim: Any) -> Any:
    """Numbers are compared, nodes are not."""
    if claim.epoch.number == record.epoch.number:
        return replace(record, epoch=claim.epoch), WitnessAnswer(True, record)
    return decide_claim(record, claim)


def grant_to_anyone(record: Any, claim: Any) -> Any:
    """A claimant need not know the office that was granted before."""
    return decide_claim(record, replace(claim, forced=True))


def no_one_alone(*found: Any) -> Any:
    """The promotion does not ask who writes alone."""
    return judge_promotion(*found[:3], replace(found[3], alone=""), *found[4:])


def everyone_counted(*found: Any) -> Any:
    """The promotion does not ask whether the master counted on this node."""
    return judge_promotion(msgspec.structs.replace(found[0], enlisted=True), *found[1:])


def own_fsync_only(rule: Any) -> int:
    """What is durable here is acknowledged, wherever the standby is."""
    rule.sequence = max(rule.sequence, rule._local)
    return int(rule.sequence)


def their_fsync_only(rule: Any) -> int:
    """What is durable at the standby is acknowledged, whatever is durable here."""
    reports = [rule._fsynced.get(node, 0) for node in rule.required]
    rule.sequence = max(rule.sequence, min(reports or [rule._local]))
    return int(rule.sequence)


def alone_at_once(it: Any, event: Any, now: float) -> Any:
    """The standby leaves the set first, the witnesses hear of it afterwards."""
    asked = in_office.record_alone_in_office(it, event, now)
    it.remember(in_sync=())
    return [*asked, effects.RequireAcks(frozenset())]


def number_not_seen(it: Any, event: Any, now: float) -> Any:
    """The number that a hand-off gives away does not count as seen: after an abort it is used again."""
    seen = it.memory.seen
    result = in_office.hand_off(it, event, now)
    it.remember(seen=seen)
    return result


def stand_down_freely(it: Any, event: Any, now: float) -> Any:
    """An old master forgets whose fsync it needed before its store is closed."""
    result = in_office.stand_down(it, event, now)
    return [*result, effects.RequireAcks(frozenset())]


def persist_last(it: Any, before: Any, result: Any) -> Any:
    """Said first, remembered afterwards."""
    return [*result, effects.Persist(it.memory)] if it.memory != before else result


def known_handoff(it: Any, event: Any) -> bool:
    """Office is given away as soon as HANDOFF is journaled."""
    return bool(it.pending.handoff.sequence)


def early_in_sync(it: Any, event: Any) -> bool:
    """Counts itself in before it holds what was acknowledged without it."""
    return guards.peer_in_office(it, event) and it.node in event.hello.in_sync


def any_answer(it: Any, event: Any) -> bool:
    """Any answer of the witnesses is leave to write alone."""
    return bool(event.done and (it.pending.request or it.pending.by_itself))


def clear_early(it: Any, event: Any, now: float) -> Any:
    """A standby is counted on, and the witnesses are told at once."""
    return [*in_office.enlist(it, event, now), *moves.clear_alone(it, now)]


decide_claim, judge_promotion = witness.decide_claim, decide.judge_promotion

MUTATIONS: tuple[Mutation, ...] = (
    Mutation(
        "an answer before the grant is kept",
        attribute(witness, "decide_claim", grant_not_kept),
        bounds("promote alone", writes=1, operations=2, cuts=2, crashing=()),
    ),
    Mutation(
        "one witness is a majority",
        attribute(witness.WitnessVerdict, "has_majority", property(lambda verdict: verdict.granted > 0)),
        bounds("promote alone", 3, writes=1, operations=2, cuts=2, silences=3, crashing=()),
    ),
    Mutation(
        "a longer chain of the standby is not fetched",
        guard("tail_missing", never),
        bounds("", writes=1, crashes=1, again=1, crashing=(0,), solid=False),
    ),
    Mutation(
        "the token is not repeated",
        row(78, guard=never),
        bounds("swap", operations=1, losses=1, crashing=()),
        lively=True,
    ),
    Mutation(
        "alone before the witnesses recorded it",
        row(136, action=alone_at_once, next=State.ALONE),
        bounds("promote alone", writes=1, operations=2, cuts=2, crashing=()),
    ),
    Mutation(
        "an agent compares numbers, not pairs",
        attribute(agent_trust, "obeys", lambda highest, offered: offered.number >= highest.number),
        bounds("force alone", operations=2, crashes=1, silences=2, cuts=1, crashing=(0,), agent=True),
    ),
    Mutation(
        "a witness compares numbers, not pairs",
        attribute(witness, "decide_claim", grant_by_number),
        bounds("promote alone", writes=1, operations=2, crashes=1, cuts=1, crashing=(0,)),
    ),
    Mutation(
        "a grant erases who writes alone",
        attribute(witness, "decide_claim", grant_erases),
        bounds("promote alone", writes=1, operations=3, cuts=2, crashing=()),
    ),
    Mutation(
        "the number of a hand-off is used again",
        row(160, action=number_not_seen),
        bounds("swap@0 promote@0", operations=2, crashing=()),
    ),
    Mutation(
        "said before it is remembered",
        attribute(machine.Machine, "_persisted", persist_last),
        bounds("swap", operations=1, crashes=1, crashing=(1,), dying=True),
        lively=True,
    ),
    Mutation(
        "a witness grants without asking what the claimant saw",
        attribute(witness, "decide_claim", grant_to_anyone),
        bounds("promote alone", writes=1, operations=2, crashes=2, cuts=1),
    ),
    Mutation(
        "a promotion does not ask who writes alone",
        attribute(guards, "judge_promotion", no_one_alone),
        bounds("promote alone", writes=1, operations=2, cuts=2, crashing=()),
    ),
    Mutation(
        "a promotion does not ask who was counted on",
        attribute(guards, "judge_promotion", everyone_counted),
        bounds("promote@1", writes=1, operations=1, cuts=1, crashing=(), founding=True),
    ),
    Mutation(
        "the standby's fsync is not needed",
        attribute(commit.CommitRule, "_advanced", own_fsync_only),
        bounds("promote", writes=1, operations=1, cuts=1, crashing=()),
    ),
    Mutation(
        "the own fsync is not needed",
        attribute(commit.CommitRule, "_advanced", their_fsync_only),
        bounds("alone", writes=1, operations=1, crashes=2, again=1, solid=False),
    ),
    Mutation(
        "an old master does not stand down",
        guard("peer_ahead", never),
        bounds("promote", writes=1, operations=1, cuts=1, crashing=()),
        lively=True,
    ),
    Mutation(
        "an old master acknowledges while its store closes",
        row(30, action=stand_down_freely),
        bounds("promote", writes=1, operations=1, cuts=1, crashing=(), eager=False),
    ),
    Mutation(
        "a hand-off does not wait for the standby",
        guard("target_holds_all", known_handoff),
        bounds("swap", writes=1, operations=1, crashing=(), losses=1),
        lively=True,
    ),
    Mutation(
        "a standby counts itself in too early",
        guard("told_in_sync", early_in_sync),
        bounds("promote@1", writes=1, operations=1, cuts=1, crashing=(), founding=True),
    ),
    Mutation(
        "an old answer is leave to write alone",
        guard("recorded_for_office", any_answer),
        bounds("promote@1", writes=2, operations=1, cuts=3, crashing=(), prompt=False, mode=Mode.AVAILABLE),
        deep=True,
    ),
    Mutation(
        "witnesses hear that all is well before the standby holds all",
        row(146, action=clear_early),
        bounds("promote alone", writes=1, operations=2, cuts=2, crashing=()),
    ),
    Mutation(
        "a tail is cut without a fork",
        attribute(deeds.Doer, "_keep", lambda doer, common: None),
        bounds("force alone", writes=1, operations=2, cuts=2, crashing=()),
    ),
)
