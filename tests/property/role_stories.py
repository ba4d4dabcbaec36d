"""Stories of a pair, told move by move: each keeps every promise, and breaks one when its safety rule is missing."""

from __future__ import annotations

import random
from collections.abc import Callable

from replication.core import effects, events
from replication.core.types import Mode, State
from tests.property.role_nodes import PEER, Question
from tests.property.role_walks import World
from tests.unit.role_world import A, B, epoch, hello


def world(witnesses: int = 1, mode: Mode = Mode.STRICT) -> World:
    """A pair in sync, a first write on both, and then a network that is cut."""
    made = World(random.Random(1), witnesses, mode)
    made.write(made.nodes[A])
    made.quiet(1.0)
    made.is_cut = True
    return made


def answer(it: World, question: Question, who: list[int] | None = None) -> None:
    """These witnesses answer; the asker hears it."""
    for index in who if who is not None else list(question.waiting):
        it._ask(question, index)
    it._conclude(question)


def answer_all(it: World, who: list[int] | None = None) -> None:
    """So do they to every open question, and to those that follow; slow effects happen."""
    while it.questions:
        answer(it, it.questions[0], who)
    for node in it.nodes.values():
        while node.is_up and node.operations:
            it.operate(node)
        it.fsync(node)


def go_alone(it: World, who: list[int] | None = None) -> None:
    """The operator lets A write alone; it does, and is believed."""
    it.give(A, events.PeerLost(B))
    it.ask(A, lambda number: events.GoAloneRequested(number, b""))
    answer_all(it, who)
    write(it, A)


def write(it: World, name: str) -> None:
    """One more change, durable at this node."""
    it.write(it.nodes[name])
    it.fsync(it.nodes[name])


def promote(it: World, who: list[int] | None = None) -> None:
    """The operator wants B, without loss; if B may, it acknowledges a change."""
    it.promote(B, force=False)
    answer_all(it, who)
    write(it, B)


def counted_on_before_it_holds_all(it: World) -> None:
    """A counts on B again while the last change, acknowledged alone, is still under way to B; then A dies."""
    go_alone(it)
    it.is_cut = False
    it.quiet(0.6)
    node = it.nodes[A]
    write(it, A)
    for later in (0.0, 1.5):
        it.now += later
        it.give(A, events.StandbyProgressed(B, len(node.journal) - 1, 0, 0, 0.0))
    it.say_hello(node)
    it.give(B, it.wire.pop()[2])
    answer_all(it)
    it.crash(A)
    promote(it)


def counted_on_again_unheard(it: World) -> None:
    """B never heard that it was not counted on, and lacks what A acknowledged alone; A counts on it again and dies."""
    go_alone(it)
    for later in (0.0, 2.5):
        it.now += later
        it.give(A, events.StandbyProgressed(B, len(it.nodes[A].journal) - 1, 0, 0, 0.0))
    it.expect(it.states() == (State.MASTER, State.IN_SYNC), f"A does not count on B: {it.states()}")
    answer_all(it)
    wait(it, A, 0.5)
    answer_all(it)
    it.crash(A)
    promote(it)


class Young(World):
    """A founder that acknowledges, and a standby that joined and is not counted on yet."""

    def _found(self) -> None:
        for name, first in ((A, events.InitRequested()), (B, events.JoinRequested())):
            self.nodes[name].start()
            self.give(name, first)
            self.give(name, events.PeersChanged((PEER[name],)))
        self.quiet(0.6)


def founder_dies(it: World) -> None:
    """The founder, whose office no witness ever heard of, dies before its first standby counts."""
    young = Young(random.Random(1), len(it.witnesses), Mode.STRICT)
    young.is_cut = True
    write(young, A)
    young.crash(A)
    promote(young)


def late_answer(it: World) -> None:
    """The witnesses recorded that nobody writes alone; A hears it when it asks for the opposite, which gets lost."""
    go_alone(it)
    it.is_cut = False
    for _ in range(40):
        it.quiet(0.2)
        if it.nodes[A].machine.state is State.MASTER:
            break
    it.quiet(2.0)
    it.is_cut = True
    said = effects.RecordAlone(it.nodes[A].memory.office, "", 2)
    cleared = Question(said, it.nodes[A].instance, [], A, done=1)
    it.give(A, events.PeerLost(B))
    it.ask(A, lambda number: events.GoAloneRequested(number, b""))
    it.questions = [cleared]
    it._conclude(cleared)
    write(it, A)
    it.crash(A)
    promote(it)


def promoted_twice(it: World) -> None:
    """Two of three witnesses know that A writes alone; a promotion is refused, then tried with the third in place."""
    go_alone(it, [1, 2])
    it.crash(A)
    promote(it, [1, 2])
    promote(it, [0, 1])


def old_master_goes_alone(it: World) -> None:
    """B was promoted and died; A starts with a number above B's, and its operator lets it go alone."""
    it.crash(A)
    promote(it)
    it.crash(B)
    it.start(A)
    it.give(A, events.PeerHeard(B, hello(B, epoch=epoch(1), seen=epoch(5, B))))
    go_alone(it)


def old_master_claims_from_a_later_one(it: World) -> None:
    """Both start; a word of B from before its promotion makes A claim, and B gets the claim."""
    it.crash(A)
    promote(it)
    it.crash(B)
    it.is_cut = False
    for name in (A, B):
        it.start(name)
    it.give(A, events.PeerHeard(B, hello(B, epoch=epoch(1), in_sync=[])))
    claim = next(event for _, _, event in it.wire if isinstance(event, events.ClaimReceived))
    it.wire.clear()
    it.give(B, claim)
    for _, _, event in list(it.wire):
        it.give(A, event)
    answer_all(it)
    it.nodes[A].rule.peer(B, 99)
    write(it, A)


def lost_by_its_own_master(it: World) -> None:
    """B fsynced a change that A has not; A loses power, B dies, and A goes alone without it."""
    it.is_cut = False
    it.quiet(0.4)
    it.write(it.nodes[A])
    for _ in range(20):
        it.pump(it.nodes[B])
        it.fsync(it.nodes[B])
    node = it.nodes[A]
    del node.journal[node.synced :]
    it.crash(A)
    it.crash(B)
    it.start(A)
    go_alone(it)


def wait(it: World, name: str, seconds: float) -> None:
    """Time passes at one node, without a word from anybody."""
    until = it.now + seconds
    while it.now < until:
        it.now += 0.25
        it.give(name, events.Ticked())


def left_by_its_standby(it: World) -> None:
    """The stream is cut; A goes alone by itself, and acknowledges; then it dies, and B wants to take over."""
    write(it, A)
    wait(it, A, 3.0)
    answer_all(it)
    it.expect(it.states()[0] is State.ALONE, f"A waits for nobody: {it.states()}")
    write(it, A)
    it.crash(A)
    promote(it)


def moves_again_in_time(it: World) -> None:
    """The witnesses have it that A writes alone, and before A hears it B confirms: the late word changes nothing."""
    write(it, A)
    wait(it, A, 3.0)
    answer(it, it.questions[0])
    told = it.questions.pop()
    it._ask(told, told.waiting.pop())
    it.is_cut = False
    node = it.nodes[A]
    for name in (A, B):
        it.say_hello(it.nodes[name])
    it.nodes[A].rule.peer(B, len(node.journal))
    it.nodes[B].journal += node.journal[len(it.nodes[B].journal) :]
    it.fsync(it.nodes[B])
    wait(it, A, 0.3)
    it.questions.append(told)
    it._conclude(told)
    it.expect(it.states()[0] is State.MASTER, f"A left a standby that moves: {it.states()}")


def resumes_by_the_witnesses(it: World) -> None:
    """Both die, A alone comes back: it goes on without a person, and B, started later, does not take over."""
    it.crash(A)
    it.crash(B)
    it.start(A)
    wait(it, A, 3.0)
    answer_all(it)
    it.expect(it.states()[0] is State.ALONE, f"A does not go on: {it.states()}")
    write(it, A)
    it.start(B)
    promote(it)


def resumes_after_its_standby_was_promoted(it: World) -> None:
    """B took over from A and died; A comes back: the witnesses do not let it go on."""
    it.crash(A)
    promote(it)
    it.crash(B)
    it.start(A)
    wait(it, A, 3.0)
    answer_all(it, None)
    write(it, A)
    it.expect(it.nodes[A].office is None, "an old master goes on by itself")


def forced_with_a_number_that_agents_refuse(it: World) -> None:
    """A's office has a number that B never heard of; B is forced, and goes on in a number that agents obey."""
    node = it.nodes[A]
    it.obeyed = epoch(node.memory.office.number + 7)
    it.crash(A)
    it.promote(B, force=True)
    answer_all(it)
    it.visit_agent(it.nodes[B])
    answer_all(it)
    it.visit_agent(it.nodes[B])
    it.expect(it.obeyed.node == B, f"the agent obeys {it.obeyed}")


def alone_with_a_number_that_agents_refuse(it: World) -> None:
    """The same in an office that witnesses let go on: the next number is recorded before anything is acknowledged."""
    it.crash(A)
    it.crash(B)
    it.start(A)
    wait(it, A, 3.0)
    answer_all(it)
    it.obeyed = epoch(it.nodes[A].memory.office.number, B)
    it.visit_agent(it.nodes[A])
    answer(it, it.questions[0])
    it._conclude(it.questions[0])
    for _ in range(3):
        it.operate(it.nodes[A])
        write(it, A)
    wait(it, A, 3.0)
    answer_all(it)
    it.visit_agent(it.nodes[A])
    it.expect(it.obeyed.node == A, f"the agent obeys {it.obeyed}")


STRICT, AVAILABLE = Mode.STRICT, Mode.AVAILABLE
STORIES: list[tuple[Callable[[World], None], int, Mode]] = [
    (counted_on_before_it_holds_all, 1, STRICT),
    (counted_on_again_unheard, 1, STRICT),
    (founder_dies, 1, STRICT),
    (late_answer, 1, STRICT),
    (promoted_twice, 3, STRICT),
    (old_master_goes_alone, 1, STRICT),
    (old_master_claims_from_a_later_one, 1, STRICT),
    (lost_by_its_own_master, 1, STRICT),
    (left_by_its_standby, 3, AVAILABLE),
    (moves_again_in_time, 1, AVAILABLE),
    (resumes_by_the_witnesses, 3, AVAILABLE),
    (resumes_after_its_standby_was_promoted, 1, AVAILABLE),
    (forced_with_a_number_that_agents_refuse, 3, STRICT),
    (alone_with_a_number_that_agents_refuse, 1, AVAILABLE),
]
"""Each with its number of witnesses and its mode."""
