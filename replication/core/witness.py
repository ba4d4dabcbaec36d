"""The rule by which a witness answers (design/replication, Modes and witnesses). Pure: the agent makes it durable.

A witness fsyncs the record that a rule returns before it sends the answer.

Protocol: docs/protocol.md, section 6.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from replication.core.types import NO_EPOCH, Epoch, NodeId


@dataclass(frozen=True, slots=True)
class WitnessRecord:
    """What one witness remembers. `alone` names the node that may acknowledge alone, "" for nobody.

    `counter` orders what was said of `alone` within `alone_epoch`. A later grant keeps both: which of two witnesses
    heard last must stay known until another office says something new.
    """

    epoch: Epoch = NO_EPOCH
    alone: NodeId = ""
    alone_epoch: Epoch = NO_EPOCH
    counter: int = 0


@dataclass(frozen=True, slots=True)
class Claim:
    """A node asks for office in `epoch`; `seen` is the highest epoch that its own journal or last office holds.

    `last_sequence` is the last request of the claimant's last office. `forced` is an operator's recorded leave to
    claim although another node was granted an epoch that the claimant never saw (--allow-data-loss).
    """

    epoch: Epoch
    seen: Epoch
    last_sequence: int
    forced: bool = False


@dataclass(frozen=True, slots=True)
class WitnessAnswer:
    """`record` is what the witness held *before* the claim: its `alone` answers the question of loss."""

    granted: bool
    record: WitnessRecord


@dataclass(frozen=True, slots=True)
class Seats:
    """One set of witnesses. `lost` seats belong to witnesses that are none any more: they count and never answer.

    So losing a witness changes nobody's idea of what a majority is, and two nodes of which only one knows of the loss
    still meet in a witness.
    """

    witnesses: frozenset[str]
    lost: int = 0

    @property
    def size(self) -> int:
        """How many answers there could be."""
        return len(self.witnesses) + self.lost

    @property
    def can_agree(self) -> bool:
        """Enough seats are left for a majority."""
        return self.has_majority(self.witnesses)

    def has_majority(self, agreed: Collection[str]) -> bool:
        """More than half of the seats are among `agreed`."""
        return len(self.witnesses.intersection(agreed)) * 2 > self.size


def agree(sets: Sequence[Seats], agreed: Collection[str]) -> bool:
    """True when `agreed` is a majority of *each* set (the present one, and the former one while it is on record).

    Never with no set. Two decisions by two nodes meet in a witness as long as both ask a common set: see
    `server.core.witness_seats`.
    """
    return bool(sets) and all(seats.has_majority(agreed) for seats in sets)


@dataclass(frozen=True, slots=True)
class Sight:
    """What a witness heard last of a master in `epoch`: it had committed up to `sequence`, `age_s` ago.

    Kept in the agent's memory only: it bounds a loss for people, nothing is decided by it.
    """

    epoch: Epoch
    sequence: int
    age_s: float


@dataclass(frozen=True, slots=True)
class WitnessVerdict:
    """Answers of all witnesses together. `alone` is a node that a witness knows to write alone, or "".

    `joint` is None with one set of witnesses; with a former and a present one, whether each granted by its majority.
    `sight` is the newest of what they heard of a master.
    """

    asked: int
    answered: int
    granted: int
    highest: Epoch = NO_EPOCH
    alone: NodeId = ""
    unknown_since_s: float | None = None
    joint: bool | None = None
    sight: Sight | None = None

    @property
    def has_majority(self) -> bool:
        """True when a majority of all configured witnesses granted, of each set there is; never with none."""
        return self.granted * 2 > self.asked if self.joint is None else self.joint


def decide_claim(record: WitnessRecord, claim: Claim) -> tuple[WitnessRecord, WitnessAnswer]:
    """Grant a strictly higher epoch unless another node holds one that the claimant never saw.

    Granting makes the witness refuse every ALONE of a lower epoch. A refusal stores nothing. The same claim asked
    again is granted again.
    """
    if claim.epoch == record.epoch:
        return record, WitnessAnswer(True, record)
    unseen = record.epoch.node != claim.epoch.node and record.epoch > claim.seen
    if claim.epoch <= record.epoch or (unseen and not claim.forced):
        return record, WitnessAnswer(False, record)
    return replace(record, epoch=claim.epoch), WitnessAnswer(True, record)


def decide_alone(record: WitnessRecord, epoch: Epoch, alone: NodeId, counter: int) -> tuple[WitnessRecord, bool]:
    """Record who writes alone in `epoch`. Refused for an epoch below the granted one or a counter not above the last.

    An epoch above the recorded one is adopted: the office was granted by the standby instead.
    """
    if epoch < record.epoch:
        return record, False
    if epoch == record.alone_epoch and counter <= record.counter:
        return record, counter == record.counter and alone == record.alone
    return WitnessRecord(epoch, alone, epoch, counter), True


def combine(answers: list[WitnessAnswer], asked: int, unknown_since_s: float | None = None) -> WitnessVerdict:
    """Fold the answers of those who replied. `asked` counts all configured witnesses, silent ones included."""
    newest = max(answers, key=lambda a: (a.record.alone_epoch, a.record.counter), default=None)
    return WitnessVerdict(
        asked=asked,
        answered=len(answers),
        granted=sum(a.granted for a in answers),
        highest=max((a.record.epoch for a in answers), default=NO_EPOCH),
        alone=newest.record.alone if newest else "",
        unknown_since_s=unknown_since_s,
    )


def combine_sets(
    answers: Mapping[str, WitnessAnswer], sets: Sequence[Seats], unknown_since_s: float | None = None
) -> WitnessVerdict:
    """As `combine`, by witness: each set has to have its own majority, everybody's record is heeded."""
    asked = len(frozenset[str]().union(*(seats.witnesses for seats in sets))) + max((s.lost for s in sets), default=0)
    verdict = combine(list(answers.values()), asked, unknown_since_s)
    if len(sets) < 2:
        return verdict
    return replace(verdict, joint=agree(sets, {who for who, answer in answers.items() if answer.granted}))
