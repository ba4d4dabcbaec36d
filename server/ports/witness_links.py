"""The witnesses asked through the agents' links, on a node of either role (design/replication, Modes and witnesses)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from replication.core.types import NO_EPOCH, Epoch, NodeId
from replication.core.witness import (
    Claim,
    Seats,
    Sight,
    WitnessAnswer,
    WitnessRecord,
    WitnessVerdict,
    agree,
    combine_sets,
    decide_alone,
    decide_claim,
)
from server.core import agent_wire as wire
from server.ports.agent_links import Links

WITNESS_S = 3.0
LOOK_S = 1.0
LOOK = Claim(NO_EPOCH, NO_EPOCH, 0)
"""No witness stores anything for a claim of epoch 0: its answer is a look at its record."""

Sets = Callable[[], Awaitable[Sequence[Seats]]]


@dataclass(frozen=True, slots=True)
class Heard:
    """A witness's record as its last answer here left it; `at_us` is when (UTC, for display)."""

    record: WitnessRecord
    at_us: int


class WitnessLinks:
    """`replication.ports.Witnesses`. `sets` reads who has a seat from rows: the store's in office, else the copy's.

    In office rows count as soon as they are written, committed or not: a change of witnesses only ever adds a set that
    has to agree, and what takes one away is written when the other node cannot decide without the new one
    (`server.core.witness_seats` has the argument). A standby's copy stands still while its witnesses are asked:
    replication stops following first.
    """

    def __init__(self, links: Links, sets: Sets, utc_us: Callable[[], int], monotonic: Callable[[], float]) -> None:
        self._links = links
        self._sets = sets
        self._utc_us = utc_us
        self._monotonic = monotonic
        self._majority_s: float | None = None
        self._heard: dict[str, Heard] = {}

    def heard(self, agent_id: str) -> Heard | None:
        """What this witness said last, or None when it said nothing since this node started."""
        return self._heard.get(agent_id)

    def is_connected(self, agent_id: str) -> bool:
        """Whether this node could ask it now."""
        return self._links.get(agent_id) is not None

    def silent_since_us(self, agent_id: str) -> int | None:
        """When its last link to this node ended; None: there never was one since the start."""
        return self._links.silent_since_us(agent_id)

    async def grant(self, claim: Claim) -> WitnessVerdict:
        """Ask every witness for `claim.epoch`; bounded by 3 s, silent witnesses count as asked."""

        def question(number: int) -> wire.AskGrant:
            return wire.AskGrant(number, claim.epoch, claim.seen, claim.last_sequence, claim.forced)

        sets, said = await self._ask_settled(question)
        answers = {who: WitnessAnswer(answer.granted, record_of(answer)) for who, answer in said.items()}
        verdict = combine_sets(answers, sets, self._unknown_since_s(sets, answers))
        sights = [Sight(answer.heard, answer.committed, answer.age_s) for answer in said.values() if answer.committed]
        return replace(verdict, sight=max(sights, key=lambda sight: (sight.epoch, sight.sequence), default=None))

    async def record_alone(self, epoch: Epoch, alone: NodeId | None, counter: int) -> bool:
        """Record who writes alone; True once a majority of each set has it durably, or when no witness is left to be
        asked: then the operator's word is all there is. Who goes alone by itself must know that there is one."""
        sets, said = await self._ask_settled(lambda number: wire.AskAlone(number, epoch, alone or "", counter))
        return not sets or agree(sets, {who for who, answer in said.items() if answer.granted})

    async def hold_nobody_alone(self, sets: Sequence[Seats], epoch: Epoch, counted: NodeId = "") -> bool:
        """Bring the present office to these witnesses; True when a majority of each set holds `epoch`, nobody alone.

        The master of `epoch` asks while its standby is in sync, which makes it true. Counter 0 is below whatever the
        role machine says in this epoch: a witness that knows more keeps it, and then its own record must say
        "nobody" too. One that was granted a higher epoch is no answer. Of more than two nodes the witnesses
        hear who is `counted` on instead.
        """
        everyone = frozenset[str]().union(*(seats.witnesses for seats in sets))
        deadline = self._monotonic() + WITNESS_S
        said = await self._ask(everyone, lambda number: wire.AskAlone(number, epoch, counted, 0), deadline)
        knowing = {who for who in said if self._heard[who].record.alone_epoch == epoch}
        return agree(sets, {who for who in knowing if _is_calm(self._heard[who].record, epoch, counted)})

    async def look(self, agent_ids: Collection[str]) -> None:
        """Ask those who are connected for their record, which `heard` then tells; changes nothing; bounded by 1 s."""
        here = [agent_id for agent_id in agent_ids if self._links.get(agent_id) is not None]
        deadline = self._monotonic() + LOOK_S
        await self._ask(here, lambda number: wire.AskGrant(number, LOOK.epoch, LOOK.seen, 0), deadline)

    async def _ask_settled(
        self, question: Callable[[int], wire.AskGrant | wire.AskAlone]
    ) -> tuple[Sequence[Seats], dict[str, wire.WitnessSays]]:
        """Ask all; once more when the rows changed meanwhile, since an answer counts for the sets of its time only."""
        deadline = self._monotonic() + WITNESS_S
        sets = await self._sets()
        while True:
            everyone = frozenset[str]().union(*(seats.witnesses for seats in sets))
            said = await self._ask(everyone, question, deadline)
            now = await self._sets()
            if now == sets:
                return sets, said
            sets = now

    async def _ask(
        self, who: Collection[str], question: Callable[[int], wire.AskGrant | wire.AskAlone], deadline_s: float
    ) -> dict[str, wire.WitnessSays]:
        async def one(agent_id: str) -> tuple[str, wire.WitnessSays | None]:
            answer = await self._links.ask(agent_id, question, deadline_s)
            if answer is not None:
                self._heard[agent_id] = Heard(_after(answer, question(0)), self._utc_us())
            return agent_id, answer

        found = await asyncio.gather(*map(one, who))
        return {agent_id: answer for agent_id, answer in found if answer is not None}

    def _unknown_since_s(self, sets: Sequence[Seats], answered: Collection[str]) -> float | None:
        """Seconds since a majority answered last; None when one has just answered, or never did."""
        now = self._monotonic()
        if agree(sets, answered):
            self._majority_s = now
            return None
        return None if self._majority_s is None else now - self._majority_s


def record_of(answer: wire.WitnessSays) -> WitnessRecord:
    """The record that a witness held before the question."""
    return WitnessRecord(answer.epoch, answer.alone, answer.alone_epoch, answer.counter)


def _after(answer: wire.WitnessSays, question: wire.AskGrant | wire.AskAlone) -> WitnessRecord:
    """The record that it holds now, by the rule that it went by."""
    before = record_of(answer)
    if isinstance(question, wire.AskGrant):
        claim = Claim(question.epoch, question.seen, question.last_sequence, question.forced)
        return decide_claim(before, claim)[0]
    return decide_alone(before, question.epoch, question.alone, question.counter)[0]


def _is_calm(record: WitnessRecord, epoch: Epoch, counted: NodeId = "") -> bool:
    return record.epoch == epoch and record.alone_epoch == epoch and record.alone == counted
