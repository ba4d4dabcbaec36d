"""What must hold in every state of the search: outcomes that an operator or a client would see, not rules."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from replication.core.types import NO_EPOCH, Epoch, NodeId
from replication.core.witness import Claim, WitnessRecord, decide_claim
from tests.search.chains import EMPTY, Chains, values
from tests.search.deeds import Broken
from tests.search.held import NODES


class History(NamedTuple):
    """What the world remembers, and no node: `committed` up to where clients were answered, last by office `by`.

    `leave` is the office that an operator forced, `unknown` the first such that no majority of witnesses recorded.
    `opened` are the highest numbers in which A and B held office. `alone` are the offices of which a majority of the
    witnesses recorded, last, that they write alone. `obeyed` is what the agent remembers.
    """

    committed: int = EMPTY
    by: Epoch = NO_EPOCH
    answered: int = 0
    leave: Epoch = NO_EPOCH
    unknown: Epoch = NO_EPOCH
    opened: tuple[int, int] = (0, 0)
    alone: frozenset[Epoch] = frozenset()
    obeyed: Epoch = NO_EPOCH


def opened(history: History, me: int, epoch: Epoch, lossy: int) -> History:
    """An office begins: in a number that this node never had."""
    if epoch.node != NODES[me] or epoch.number <= history.opened[me]:
        raise Broken(f"epoch {epoch} is held twice")
    numbers = (epoch.number, history.opened[1]) if me == 0 else (history.opened[0], epoch.number)
    return left(history._replace(opened=numbers), epoch, lossy)


def left(history: History, epoch: Epoch, lossy: int) -> History:
    """An operator accepts loss for this office; with 2 no witness knows of it."""
    if not lossy:
        return history
    unknown = min(history.unknown, epoch) if history.unknown != NO_EPOCH else epoch
    return history._replace(leave=max(history.leave, epoch), unknown=unknown if lossy == 2 else history.unknown)


def insisted(history: History, record: WitnessRecord, claim: Claim) -> History:
    """A witness passes over what it granted before, because an operator accepted loss: the leave begins here."""
    asked = replace(claim, forced=False)
    if claim.forced and not decide_claim(record, asked)[1].granted and decide_claim(record, claim)[1].granted:
        return left(history, claim.epoch, 1)
    return history


def committed(history: History, chains: Chains, epoch: Epoch, chain: int) -> History:
    """An office answers its clients up to the end of `chain`: it holds whatever was answered before, and goes on.

    Only an operator's leave excuses what older offices answered; and when no witness recorded that leave, what either
    side answers until they meet.
    """
    history = history._replace(answered=history.answered | chains.writes[chain])
    if chains.begins(chain, history.committed):
        return history._replace(committed=chain, by=max(history.by, epoch))
    if chains.begins(history.committed, chain):
        return history
    older, newer = sorted((epoch, history.by))
    if not (older < history.leave <= newer or history.unknown != NO_EPOCH):
        lost = values(chains.writes[history.committed] & ~chains.writes[chain])
        what = f"acknowledged writes {lost} are" if lost else "what was acknowledged by it is"
        raise Broken(f"{what} not in office {epoch}, which acknowledges as well (before it: office {history.by})")
    return history._replace(committed=chain, by=epoch) if epoch >= history.by else history


def kept(history: History, durable: int) -> None:
    """No acknowledged write has vanished: each is in a journal or a fork, durably."""
    if history.answered & ~durable:
        raise Broken(f"acknowledged writes {values(history.answered & ~durable)} are in no journal and no fork")


def whole_tail(chains: Chains, node: NodeId, mine: int, theirs: int) -> None:
    """An office that keeps its standby begins with all that the standby durably holds of this node's own offices."""
    mark = theirs
    while chains.lengths[mark] and not chains.begins(mine, mark):
        if chains.lasts[mark].epoch.node == node:
            entry = chains.entries[mark]
            raise Broken(
                f"{entry.kind} {entry.value} of {entry.epoch}, which its standby holds, is not in the new office"
            )
        mark = chains.parents[mark]


def recorded(history: History, records: list[WitnessRecord]) -> History:
    """What a majority of the witnesses knows of an office that writes alone."""
    for record in set(records):
        epoch, alone = record.alone_epoch, record.alone
        same = [r for r in records if (r.alone_epoch, bool(r.alone)) == (epoch, bool(alone))]
        if len(same) * 2 > len(records) and alone in ("", epoch.node):
            return history._replace(alone=history.alone | {epoch} if alone else history.alone - {epoch})
    return history


def acknowledged_alone(history: History, epoch: Epoch) -> None:
    """Nothing is acknowledged alone before a majority of the witnesses has it, but by the leave to lose.

    A node that is recorded in a later office may answer while it still closes the one before: its journal is the same.
    """
    recorded_later = any(alone.node == epoch.node and alone >= epoch for alone in history.alone)
    if not recorded_later and not NO_EPOCH < history.unknown <= epoch:
        raise Broken(f"office {epoch} acknowledges alone, and no majority of witnesses has recorded it")


def obeyed(history: History, epoch: Epoch) -> History:
    """The agent obeys another office: never two nodes in one number, never an older one."""
    if epoch.number <= history.obeyed.number and epoch != history.obeyed:
        raise Broken(f"an agent obeys office {epoch} after {history.obeyed}")
    return history._replace(obeyed=epoch)
