"""Decisions that are not moves: the question of loss at a promotion, and how a follower goes on from its position."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from replication.core.events import Facts
from replication.core.memory import Memory
from replication.core.messages import Decision, Follow
from replication.core.types import Epoch, NodeId, Position
from replication.core.witness import Sight, WitnessVerdict


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether a standby may take over; `code` and `text` say why (not) and what to type next."""

    may: bool
    lossless: bool
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class LastWord:
    """What was last heard of the master in office: how long ago, its last request then, and the size of what its
    standby had not reported durable. `counted` says that it counted on this node then."""

    age_s: float
    sequence: int
    behind_bytes: int
    counted: bool


def judge_promotion(
    memory: Memory,
    facts: Facts,
    node: NodeId,
    verdict: WitnessVerdict,
    allow_data_loss: bool,
    stopped: bool,
    heard: LastWord | None = None,
) -> Verdict:
    """The question of loss (design/replication, Modes and witnesses; Clean stop).

    With more than two nodes CLOSED proves nothing: the master may have started again by another one's grant.

    Lossless: the master's last word was CLOSED and nobody was granted a later epoch; or this node was counted on and
    a majority of witnesses says that nobody (or this node itself) writes alone. Everything else is a loss that is
    known, or not known, and needs the operator's flag. So is what a witness saw acknowledged and this node lacks,
    whatever else is said: a directory that was put back, or a disk that lost what it had confirmed.
    """
    lacks = _saw_more(facts, verdict.sight)
    here = f"This node holds everything up to request {facts.last.sequence} of epoch {facts.last.epoch.number}."
    later = verdict.highest > facts.last.epoch and verdict.highest.node != node
    counted = verdict.has_majority or (verdict.asked == 0 and facts.closed)
    closed = facts.closed and not memory.many
    if closed and counted and not later and not lacks and memory.granted <= facts.last.epoch:
        if stopped:
            return Verdict(True, True, "", f"{here} The master closed cleanly: nothing is lost.")
        text = "The master closed cleanly. Is it still shut down? If so, type: standby-to-master --yes"
        return Verdict(False, True, "confirm", text)
    if memory.enlisted and verdict.has_majority and verdict.alone in ("", node) and not lacks:
        return Verdict(True, True, "", f"{here} The witnesses prove that nothing was acknowledged without it.")
    loss = f"{here} {_unknown(memory, facts, verdict, node, heard)} {bound(facts, heard, verdict.sight)}"
    if allow_data_loss:
        return Verdict(True, False, "", loss)
    text = (
        f"{loss} Look at the other machine first: if understudy runs there, leave it master. To take over all the "
        "same, and lose that, type: standby-to-master --allow-data-loss"
    )
    return Verdict(False, False, "data_loss", text)


def _saw_more(facts: Facts, sight: Sight | None) -> bool:
    """A witness heard this node's last office, or a later one, acknowledge a request that this node lacks."""
    return sight is not None and sight.epoch >= facts.last.epoch and sight.sequence > facts.last.sequence


def bound(facts: Facts, heard: LastWord | None, sight: Sight | None = None) -> str:
    """What is at stake, by the master's last heartbeat to this node or to a witness, whichever tells more (BEY-6)."""
    last = facts.last.sequence
    if sight is not None and (heard is None or sight.sequence > heard.sequence):
        known, size = sight.sequence, ""
        begun = f"A witness last heard the master {_age(sight.age_s)} ago: it had acknowledged request {known:,}"
    elif heard is not None:
        known, size = heard.sequence, f" ({_size(heard.behind_bytes)})" if heard.behind_bytes else ""
        begun = f"The master was last heard {_age(heard.age_s)} ago at request {known:,}"
    else:
        return "The master was not heard since this node started: what it did meanwhile is at stake."
    if known <= last:
        return f"{begun}; this node holds that and all before: whatever came after is at stake."
    missing = f"{_requests(known - last)}{size}"
    return f"{begun}; this node holds up to {last:,}: {missing} and whatever came after are at stake."


def _requests(count: int) -> str:
    return f"{count:,} request{'s' if count > 1 else ''}"


def _age(seconds: float) -> str:
    whole = int(seconds)
    if whole < 120:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 7200 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _size(count: int) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count} {unit}"
        count = -(-count // 1024)
    return f"{count} GiB"


def _since(facts: Facts, verdict: WitnessVerdict, heard: LastWord | None) -> str:
    """Since when nobody here knows whether the master writes alone: the last proof of it, by the wall clock."""
    ages = [verdict.unknown_since_s] if verdict.unknown_since_s is not None else []
    ages += [heard.age_s] if heard is not None and heard.counted else []
    if not ages:
        return "since this node started"
    at_us = facts.utc_us - int(min(ages) * 1_000_000)
    return f"since {datetime.fromtimestamp(at_us // 1_000_000, UTC):%H:%M:%S} UTC"


def _unknown(memory: Memory, facts: Facts, verdict: WitnessVerdict, node: NodeId, heard: LastWord | None) -> str:
    if memory.observer and not memory.enlisted:
        return "This node is an observer: the master did not wait for it, and what it did not receive would be lost."
    if verdict.alone not in ("", node):
        if memory.many and verdict.alone != facts.last.epoch.node:
            return f"The witnesses name node {verdict.alone[:8]} as the one that has everything, not this one."
        return "The master was recorded as writing alone: what it acknowledged since then would be lost."
    if not memory.enlisted:
        return "The master did not count on this node: what it acknowledged beyond that would be lost."
    if verdict.has_majority and _saw_more(facts, verdict.sight):
        return (
            "It was counted on, and yet lacks what was acknowledged: its data directory was put back from an older "
            "copy, or its disk lost what it had confirmed."
        )
    if verdict.asked == 0:
        since = _since(facts, verdict, heard)
        return f"No witness is enrolled: whether the master went on alone is unknown {since}."
    if verdict.highest.node not in ("", node) and verdict.granted == 0 and verdict.answered:
        return f"The witnesses granted epoch {verdict.highest.number} to another node, which this node never saw."
    answered = f"{verdict.answered} of {verdict.asked} witnesses answered"
    if verdict.joint is not None:
        answered += ", and while they are being changed the former and the new ones must each agree"
    return f"Only {answered}: whether the master went on alone is unknown {_since(facts, verdict, heard)}."


@dataclass(frozen=True, slots=True)
class WayOn:
    """How a follower goes on: after `sequence`. `reason` is a sentence for people."""

    decision: Decision
    sequence: int
    reason: str


History = list[tuple[Epoch, int, bytes]]


def decide_follow(
    follow: Follow,
    cluster: str,
    history: History,
    last: Position,
    first: int,
    position_at: Callable[[int], Position | None],
) -> WayOn:
    """STREAM, CUT, COMPARE or REFUSE for a node at `follow.last` (design/replication, Return of an old master).

    `history`, `last` and `first` describe the master's own journal; `position_at` looks a request up in it.
    """
    if follow.cluster != cluster:
        return WayOn(Decision.REFUSE, 0, "The node belongs to another cluster; nothing of it is changed.")
    theirs = follow.last.sequence
    if follow.empty or follow.copying:
        common = common_sequence(follow.history, theirs, history, last.sequence)
        return WayOn(Decision.COMPARE, common, "The node is empty or its copy is not finished.")
    found = position_at(theirs)
    if theirs + 1 >= first and found is not None and found.hash == follow.last.hash:
        return WayOn(Decision.STREAM, theirs, "The node's position is in the master's history.")
    common = common_sequence(follow.history, theirs, history, last.sequence)
    if common == theirs > 0 and found is not None:  # as far as ours, and another one: damage
        start = follow.history[-1][1] if follow.history else 1
        return WayOn(Decision.COMPARE, start - 1, f"Request {theirs} of the node is not the one that it should be.")
    if common < follow.applied or common + 1 < first:
        return WayOn(Decision.COMPARE, common, "The node's files went another way, or too far back.")
    return WayOn(Decision.CUT, common, f"Requests {common + 1} to {theirs} of the node were never the master's.")


def common_sequence(theirs: History, their_last: int, mine: History, my_last: int) -> int:
    """The last sequence that both histories share; 0 with nothing in common.

    An epoch is written by one node only, so two journals that hold the same epoch from the same start agree in it up
    to the shorter end.
    """
    starts = {entry: index for index, entry in enumerate(mine)}
    for index in range(len(theirs) - 1, -1, -1):
        at = starts.get(theirs[index])
        if at is None:
            continue
        return min(_end(theirs, index, their_last), _end(mine, at, my_last))
    return 0


def _end(history: History, index: int, last: int) -> int:
    return history[index + 1][1] - 1 if index + 1 < len(history) else last
