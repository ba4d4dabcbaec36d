"""What a master decides for a follower whose journal is not what its history says.

Protocol: docs/protocol.md, section 4.
"""

from __future__ import annotations

from replication.core.decide import decide_follow
from replication.core.messages import Decision, Follow
from replication.core.types import Epoch, Position

EPOCH = Epoch(3, "a" * 32)
HISTORY = [(EPOCH, 21, b"s" * 32)]


def follow(last: Position) -> Follow:
    return Follow(
        cluster="c", node="b" * 32, last=last, applied=25, checksum=0, history=HISTORY, empty=False, copying=False,
        tail_only=False, instance="i", protocol=2,
    )  # fmt: skip


def test_a_damaged_last_request_is_compared_not_cut_for_ever() -> None:
    """There is nothing to cut when only the hash differs: the node keeps its epoch as a fork and compares."""
    mine = Position(EPOCH, 40, b"m" * 32)
    way = decide_follow(
        follow(Position(EPOCH, 30, b"x" * 32)), "c", HISTORY, mine, 1, lambda n: Position(EPOCH, n, b"g" * 32)
    )
    assert (way.decision, way.sequence) == (Decision.COMPARE, 20)


def test_a_longer_tail_of_the_same_epoch_is_cut() -> None:
    """Requests behind the master's end were never in force: CUT names the last common one."""
    mine = Position(EPOCH, 28, b"m" * 32)
    way = decide_follow(follow(Position(EPOCH, 30, b"x" * 32)), "c", HISTORY, mine, 1, lambda n: None)
    assert (way.decision, way.sequence) == (Decision.CUT, 28)


def test_a_follower_behind_the_start_of_the_journal_is_not_called_damaged() -> None:
    """What the master has forgotten it cannot compare: the node copies, and keeps nothing as a fork."""
    mine = Position(EPOCH, 400, b"m" * 32)
    way = decide_follow(follow(Position(EPOCH, 30, b"x" * 32)), "c", HISTORY, mine, 300, lambda n: None)
    assert (way.decision, way.sequence) == (Decision.COMPARE, 30)
    assert "too far back" in way.reason
