"""Actions of a standby: following, granting, taking the token, promotion (role table rows 60 to 120).

Protocol: docs/protocol.md, sections 5.1 and 5.3.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from replication.core import effects, events
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.guards import judge
from replication.core.messages import Grant, Refuse, Taken, Token
from replication.core.moves import ask_witnesses, begin, clear_once_held, next_epoch, refuse_operator, take_office
from replication.core.types import NO_EPOCH, ORIGIN, Epoch, State

if TYPE_CHECKING:
    from replication.core.machine import Machine


def take_token(machine: Machine, event: events.TokenReceived, now: float) -> list[Effect]:
    """Durable first, then confirmed, then acted upon. The old master stays in the set (invariant 12).

    It may have handed over before the witnesses knew that the pair is whole again: they hear it in this office.
    """
    machine.remember(taken=event.epoch, standby=event.peer)
    opening = take_office(machine, event.epoch, (event.peer,), "handoff", b"", now)
    clear_once_held(machine, now)
    return [effects.Send(event.peer, Taken(epoch=event.epoch)), *opening]


def confirm_token(machine: Machine, event: events.TokenReceived, now: float) -> list[Effect]:
    """Answered again whenever it is repeated."""
    return [effects.Send(event.peer, Taken(epoch=event.epoch))]


def grant(machine: Machine, event: events.ClaimReceived, now: float) -> list[Effect]:
    """Durable before it is answered; the number counts as seen from now on. An older claim that comes late takes
    nothing back."""
    granted = max(machine.memory.granted, event.epoch)
    machine.remember(granted=granted, seen=max(machine.memory.seen, event.epoch))
    return [effects.Send(event.peer, Grant(epoch=event.epoch, last=machine.facts.last))]


def refuse(machine: Machine, event: events.ClaimReceived, now: float) -> list[Effect]:
    """Say what is known; nothing is stored."""
    later = machine.journal_epoch > event.office
    highest = max(machine.memory.seen, machine.memory.granted, machine.journal_epoch)
    taken = "Another node was granted office meanwhile. Type on both: understudy status"
    reason = "A later master exists." if later else taken
    message = Refuse(epoch=event.epoch, highest=highest, superseded=later, reason=reason)
    return [effects.Send(event.peer, message)]


def enlisted(machine: Machine, event: events.PeerHeard, now: float) -> list[Effect]:
    """From now on the master needs our fsync."""
    machine.remember(enlisted=True)
    return follow(machine, event, now)


def caught_up(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """The master said it before we held everything; now we do."""
    machine.remember(enlisted=True)
    return []


def delisted(machine: Machine, event: Event, now: float) -> list[Effect]:
    """We are no longer counted on, or our files are a mixture."""
    machine.remember(enlisted=False)
    return []


def follow(machine: Machine, event: events.PeerHeard, now: float) -> list[Effect]:
    """Stream from this master."""
    machine.remember(seen=max(machine.memory.seen, event.hello.epoch))
    return [effects.FollowPeer(event.peer)]


def follow_master(machine: Machine, event: events.Ticked, now: float) -> list[Effect]:
    """Stream from whichever connected peer is master."""
    return [effects.FollowPeer(machine.master())]


def forget_token_and_follow(machine: Machine, event: events.PeerHeard, now: float) -> list[Effect]:
    """The hand-off arrived."""
    machine.remember(token=NO_EPOCH, token_last=ORIGIN)
    return follow(machine, event, now)


def forget_token(machine: Machine, event: events.TokenTaken, now: float) -> list[Effect]:
    """The hand-off is durable at the target."""
    machine.remember(token=NO_EPOCH, token_last=ORIGIN)
    return []


def send_token(machine: Machine, event: Event, now: float) -> list[Effect]:
    """Sent only after DEMOTED is durable and SQLite is closed (invariant 13); repeated until taken."""
    memory = machine.memory
    return [effects.Send(memory.token.node, Token(epoch=memory.token, last=memory.token_last))]


def refuse_promotion_of_copy(machine: Machine, event: events.PromoteRequested, now: float) -> list[Effect]:
    """A mixture of two states is nobody's data."""
    text = (
        "This node cannot take over, not even with a flag: its copy of the master is not finished. Start understudy on "
        "the other machine; this node goes on by itself then. If the other machine's disk is lost, restore a backup."
    )
    return [effects.Answer(event.request, "conflict", text)]


def refuse_promotion_of_pair(machine: Machine, event: events.PromoteRequested, now: float) -> list[Effect]:
    """Two masters is what promotion of a healthy pair would make."""
    text = "The master is alive and connected. To change roles without loss, type: understudy swap"
    return [effects.Answer(event.request, "conflict", text)]


def already_master(machine: Machine, event: events.PromoteRequested, now: float) -> list[Effect]:
    """Saying it twice is saying it once."""
    return [effects.Answer(event.request, "", "This node is master already.")]


def refuse_promotion_here(machine: Machine, event: events.PromoteRequested, now: float) -> list[Effect]:
    """A node without data, or one that was master."""
    if machine.state is State.RESUMING:
        text = "This node was master and waits for its standby. To go on without it, type: understudy go-alone"
    else:
        text = (
            f"This node cannot take over now (state {machine.state.value}), and nothing was changed. To see what it "
            "waits for, and what to do at which machine, type: understudy status"
        )
    return [effects.Answer(event.request, "conflict", text)]


def fence_first(machine: Machine, event: events.PromoteRequested, now: float) -> list[Effect]:
    """The hook ends before the grant is asked: a promotion that is refused by it costs no number."""
    _begin_promotion(machine, event)
    old = _old_master(machine)
    return [effects.Unfollow(), effects.Fence(event.request, old.node, old)]


def _old_master(machine: Machine) -> Epoch:
    """The latest office of another node that this one knows; without one, the node that it was paired with."""
    known = [peer.hello.epoch for peer in machine.peers.values()] + [machine.facts.last.epoch, machine.memory.token]
    others = [epoch for epoch in known if epoch.node not in ("", machine.node)]
    return max(others, default=Epoch(0, machine.memory.standby))


def ask_after_fence(machine: Machine, event: events.FenceEnded, now: float) -> list[Effect]:
    """The old master cannot act any more: now the grant, then the question of loss."""
    return _ask_grant(machine)


def refuse_unfenced(machine: Machine, event: events.FenceEnded, now: float) -> list[Effect]:
    """Back to standing by; nothing was asked of anybody."""
    text = (
        f"The fence command did not succeed: {event.text} Make sure that the old master is off, repair the command, "
        "and try again: standby-to-master"
    )
    return refuse_operator(machine, "unfenced", text)


def ask_for_promotion(machine: Machine, event: events.PromoteRequested, now: float) -> list[Effect]:
    """First the grant, then the question of loss: the grant makes the witnesses refuse the old master's ALONE."""
    _begin_promotion(machine, event)
    return [effects.Unfollow(), *_ask_grant(machine)]


def _begin_promotion(machine: Machine, event: events.PromoteRequested) -> None:
    begin(machine, event.request, "promotion", event.note)
    pending = machine.pending
    pending.allow_data_loss, pending.stopped, pending.before = (
        event.allow_data_loss,
        event.stopped,
        machine.state,
    )


def _ask_grant(machine: Machine) -> list[Effect]:
    pending = machine.pending
    pending.claim = next_epoch(machine)
    machine.remember(seen=max(machine.memory.seen, pending.claim))
    return ask_witnesses(machine, forced=pending.allow_data_loss)


def ask_for_promotion_higher(machine: Machine, event: events.WitnessesAnswered, now: float) -> list[Effect]:
    """Forced, and a witness knew a higher number."""
    machine.pending.claim = Epoch(event.verdict.highest.number + 1, machine.node)
    machine.remember(seen=max(machine.memory.seen, machine.pending.claim))
    return ask_witnesses(machine, forced=True)


def refuse_promotion(machine: Machine, event: events.WitnessesAnswered, now: float) -> list[Effect]:
    """Back to standing by, with the reason and the flag that accepts it."""
    verdict = judge(machine, event)
    return refuse_operator(machine, verdict.code, verdict.text)


def refuse_unrecorded(machine: Machine, event: events.AloneRecorded, now: float) -> list[Effect]:
    """They granted, then fell silent: nothing may be acknowledged alone."""
    text = (
        "This node did not take over and is still the standby: the witnesses agreed, and fell silent before they had "
        "recorded it. Check that they can be reached, then type standby-to-master here again. Only when the other "
        "machine is off and the witnesses stay silent, type: standby-to-master --allow-data-loss"
    )
    return refuse_operator(machine, "unavailable", text)
