"""The world of the search: two nodes, what is on the wires, witnesses, an agent; what a move makes of it.

A situation is a tuple of numbers and small tuples; whatever is large has a number. `moves.Moves` lists what may happen.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

from replication.core import decide, effects, events, witness
from replication.core.effects import Effect
from replication.core.events import Event
from replication.core.messages import Decision, Follow
from replication.core.types import STANDING_BY, State
from replication.core.witness import WitnessRecord
from tests.search import promises
from tests.search.bounds import Bounds
from tests.search.chains import Chains
from tests.search.deeds import Died, Doer, Outcome
from tests.search.held import CALM, NODES, Held, Rules, hello_of
from tests.search.promises import History

WIRE_MAX = 3
"""Messages under way in one direction; one more is lost."""
UNHEARD = -1
NOBODY = 2
"""Asks what is still on its way to a witness when the asker has given up."""

Budget = tuple[int, ...]
Question = tuple[int, int, tuple[int, ...]]
Stream = tuple[int, bool, tuple[int, int, int] | None]


class Situation(NamedTuple):
    """One state. `to_a`, `to_b`: messages under way. `left`: what may still go wrong or be asked for.

    `stream` is (standby, whether it is attached, its last report as fsynced, applied, checksum) or None. A question is
    (asker, effect, what each witness said).
    """

    a: int
    b: int
    to_a: tuple[int, ...]
    to_b: tuple[int, ...]
    questions: tuple[Question, ...]
    witnesses: tuple[int, ...]
    stream: Stream | None
    history: int
    left: Budget


class Numbers:
    """Gives equal things one number."""

    def __init__(self) -> None:
        self.things: list[Any] = []
        self._known: dict[Any, int] = {}

    def of(self, thing: Any) -> int:
        """Its number."""
        number = self._known.get(thing)
        if number is None:
            number = self._known[thing] = len(self.things)
            self.things.append(thing)
        return number


Done = tuple[int, Outcome]


class World:
    """Everything that was ever met in one search. `rows` counts the different steps in which each row was taken."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.chains = Chains()
        self.rules = Rules(bounds.mode, bounds.fence)
        self.nodes, self.messages, self.histories = Numbers(), Numbers(), Numbers()
        self.effects, self.records, self.said = Numbers(), Numbers(), Numbers()
        self.rows: Counter[int] = Counter()
        self.answers: dict[str, str] = {}
        self.strict = True
        self.noted: list[int] | None = None
        self._done: dict[Any, Done] = {}
        self._ways: dict[Any, decide.WayOn] = {}
        self._hellos: dict[tuple[int, int], int] = {}

    def first(self) -> Situation:
        """Two nodes with nothing."""
        fresh = [self.deed(me, self.nodes.of(Held()), ("start",), lambda doer: doer.start())[0] for me in (0, 1)]
        witnesses = (self.records.of(WitnessRecord()),) * self.bounds.witnesses
        return Situation(*fresh, (), (), (), witnesses, None, self.histories.of(History()), self.bounds.budget())

    # deeds

    def deed(self, me: int, node: int, key: Any, do: Callable[[Doer], None]) -> Done:
        """What the node becomes by a deed; each is done once for each thing that a node can hold."""
        known = self._done.get((me, node, key))
        if known is not None:
            return known
        doer = self.doer(me, node)
        try:
            do(doer)
        except Died:
            doer.crash(self.chains.lengths[doer.held.journal])
        outcome = doer.outcome()
        self.rows.update(outcome.rows)
        for answer in outcome.answers:
            self.answers.setdefault(answer.text, answer.code)
        result = self._done[me, node, key] = (self.nodes.of(outcome.held), outcome)
        return result

    def event(self, me: int, node: int, number: int, passed: str = CALM, cut: int | None = None) -> Done:
        """One event of the numbered ones."""
        return self.deed(me, node, (number, passed, cut), lambda doer: doer.give(self.as_event(number), passed, cut))

    def as_event(self, number: int) -> Event:
        """What arrives; a HELLO is kept as what it says."""
        thing = self.messages.things[number]
        if isinstance(thing, Event):
            return thing
        sender, said = thing
        return events.PeerHeard(NODES[sender], hello_of(NODES[sender], said))

    def hello(self, me: int, node: int) -> int:
        """The number of what this node says of itself now."""
        known = self._hellos.get((me, node))
        if known is None:
            known = self._hellos[me, node] = self.messages.of((me, self.doer(me, node).said()))
        return known

    def doer(self, me: int, node: int) -> Doer:
        """A node at work."""
        bounds = self.bounds
        return Doer(self.chains, self.rules, me, self.nodes.things[node], bounds.eager, bounds.solid)

    # what a deed makes of the situation

    def after(self, s: Situation, me: int, done: Done, left: Budget) -> Situation | None:
        """The situation behind a deed of one node; None when nothing is different."""
        node, outcome = done
        if self.noted is not None:
            self.noted += outcome.rows
        mine, theirs = (s.a, s.b) if me == 0 else (s.b, s.a)
        if node == mine and not outcome.sent and not outcome.asked and not outcome.ended:
            return None
        to_other = s.to_b if me == 0 else s.to_a
        if outcome.sent and self.nodes.things[theirs].up:
            to_other = self._sent(to_other, outcome.sent)
        to_me = s.to_a if me == 0 else s.to_b
        questions, stream, history = s.questions, s.stream, s.history
        if outcome.asked:
            questions = self._asked(questions, me, outcome.asked)
        if outcome.ended and stream is not None:
            stream = self._ended(stream, me, outcome)
        if not outcome.held.up:
            to_me, questions = (), self._orphaned(questions, me)
        if outcome.opened or outcome.commits:
            history = self._promised(history, me, outcome)
        if outcome.opened and outcome.held.required:
            other: Held = self.nodes.things[theirs]
            durable = self.chains.prefix(other.journal, other.synced)
            promises.whole_tail(self.chains, NODES[me], outcome.held.journal, durable)
        if me == 0:
            return Situation(node, s.b, to_me, to_other, questions, s.witnesses, stream, history, left)
        return Situation(s.a, node, to_other, to_me, questions, s.witnesses, stream, history, left)

    def _sent(self, wire: tuple[int, ...], sent: tuple[Event, ...]) -> tuple[int, ...]:
        for message in sent:
            number = self.messages.of(message)
            if number not in wire and len(wire) < WIRE_MAX:
                wire = (*wire, number)
        return wire

    def _asked(self, questions: tuple[Question, ...], me: int, asked: tuple[Effect, ...]) -> tuple[Question, ...]:
        for effect in asked:
            number = self.effects.of(effect)
            if not any(known[:2] == (me, number) for known in questions):
                questions = (*questions, (me, number, (UNHEARD,) * self.bounds.witnesses))
        return questions

    def _orphaned(self, questions: tuple[Question, ...], me: int) -> tuple[Question, ...]:
        kept = []
        for asker, number, said in questions:
            if asker != me:
                kept.append((asker, number, said))
            elif self.bounds.late and UNHEARD in said:
                kept.append((NOBODY, number, said))
        return tuple(kept)

    @staticmethod
    def _ended(stream: Stream, me: int, outcome: Outcome) -> Stream | None:
        standby, _, report = stream
        if standby != me:
            return None if "served" in outcome.ended else stream
        if "followed" not in outcome.ended:
            return stream
        return (standby, False, report) if report is not None else None

    def _promised(self, number: int, me: int, outcome: Outcome) -> int:
        history: History = self.histories.things[number]
        if outcome.opened:
            history = promises.opened(history, me, *outcome.opened)
        for epoch, chain, alone, by_leave in outcome.commits:
            if alone and by_leave:
                history = promises.left(history, epoch, 2)
            history = promises.committed(history, self.chains, epoch, chain)
            if alone and self.strict and self.bounds.witnesses and not self.bounds.founding:
                promises.acknowledged_alone(history, epoch)
        return self.histories.of(history)

    def check_kept(self, s: Situation | None) -> Situation | None:
        """After something was taken away: what was acknowledged is still durable somewhere."""
        if s is not None:
            durable = 0
            for node in (self.nodes.things[s.a], self.nodes.things[s.b]):
                durable |= self.chains.writes[self.chains.prefix(node.journal, node.synced)] | node.forks
            promises.kept(self.histories.things[s.history], durable)
        return s

    # witnesses

    def hear(self, s: Situation, at: int, who: int) -> Situation:
        """One witness hears one question, decides by the shipped rule and remembers."""
        asker, number, said = s.questions[at]
        effect, record = self.effects.things[number], self.records.things[s.witnesses[who]]
        history: History = self.histories.things[s.history]
        if isinstance(effect, effects.AskWitnesses):
            history = promises.insisted(history, record, effect.claim)
            record, answer = witness.decide_claim(record, effect.claim)
        else:
            record, answer = witness.decide_alone(record, effect.epoch, effect.alone, effect.counter)
        said = (*said[:who], self.said.of(answer), *said[who + 1 :])
        witnesses = (*s.witnesses[:who], self.records.of(record), *s.witnesses[who + 1 :])
        questions = (*s.questions[:at], (asker, number, said), *s.questions[at + 1 :])
        history = promises.recorded(history, [self.records.things[r] for r in witnesses])
        return s._replace(questions=questions, witnesses=witnesses, history=self.histories.of(history))

    def conclude(self, s: Situation, at: int, left: Budget, cut: int | None = None) -> Situation | None:
        """The asker takes the answers that it has."""
        asker, number, said = s.questions[at]
        effect = self.effects.things[number]
        answers = [self.said.things[one] for one in said if one != UNHEARD]
        event: Event
        if isinstance(effect, effects.AskWitnesses):
            event = events.WitnessesAnswered(effect.claim, witness.combine(answers, len(said)))
        else:
            done = not said or sum(answers) * 2 > len(said)
            event = events.AloneRecorded(effect.epoch, effect.alone, effect.counter, done)
        s = self.forget(s, at, left)
        done = self.event(asker, s[asker], self.messages.of(event), CALM, cut)
        return self.same(self.after(s, asker, done, left) or s)

    def forget(self, s: Situation, at: int, left: Budget) -> Situation:
        """The question is closed; where witnesses may be late it stays on its way to those that have not heard it."""
        asker, number, said = s.questions[at]
        late = self.bounds.late and asker != NOBODY and UNHEARD in said
        rest = ((NOBODY, number, said),) if late else ()
        return s._replace(questions=(*s.questions[:at], *rest, *s.questions[at + 1 :]), left=left)

    def same(self, s: Situation) -> Situation:
        """Witnesses are alike: one order of them stands for all."""
        count = len(s.witnesses)
        if count < 2:
            return s
        keys = [(s.witnesses[i], *(question[2][i] for question in s.questions)) for i in range(count)]
        order = sorted(range(count), key=keys.__getitem__)
        if order == list(range(count)):
            return s
        questions = tuple((q[0], q[1], tuple(q[2][i] for i in order)) for q in s.questions)
        return s._replace(witnesses=tuple(s.witnesses[i] for i in order), questions=questions)

    # the bulk link

    def follow(self, s: Situation, me: int) -> Situation | None:
        """The standby says FOLLOW and takes one step of what the shipped rule decides."""
        mine, theirs = s[me], s[1 - me]
        held: Held = self.nodes.things[mine]
        master: Held = self.nodes.things[theirs]
        if held.ram.state not in STANDING_BY or master.term is None or not master.volatile[0]:
            return None
        if not master.volatile[0][0][1]:
            return None
        way = self._way(held, master)
        if way.decision is Decision.STREAM:
            done = self.deed(me, mine, "stream", lambda doer: doer.stream())
            return self._attached(self.after(s, me, done, s.left) or s, me)
        copy = self.chains.prefix(master.journal, master.sequence) if way.decision is Decision.COMPARE else None
        done = self.deed(me, mine, ("fork", way.sequence, copy), lambda doer: doer.fork(way.sequence, copy))
        found = self.after(s, me, done, s.left)
        if found is not None and copy is not None and held.ram.state is State.COPYING:
            found = self._attached(found, me)
        return self.check_kept(found)

    def _attached(self, s: Situation, me: int) -> Situation:
        return s._replace(stream=(me, True, self.report(self.nodes.things[s[me]])))

    def report(self, held: Held) -> tuple[int, int, int]:
        """What the standby says in an ACK."""
        return held.synced, held.recorded, self.chains.prefix(held.journal, held.recorded)

    def _way(self, held: Held, master: Held) -> decide.WayOn:
        copying = held.disk.state is State.COPYING
        key = (held.journal, held.recorded, copying, master.journal)
        way = self._ways.get(key)
        if way is None:
            chains = self.chains
            follow = Follow(
                cluster="c", node="", last=chains.lasts[held.journal], applied=held.recorded, checksum=0,
                history=chains.history(held.journal), empty=not held.journal, copying=copying,
            )  # fmt: skip
            history, last = chains.history(master.journal), chains.lasts[master.journal]

            def position_at(sequence: int) -> Any:
                return chains.lasts[chains.prefix(master.journal, sequence)] if sequence <= last.sequence else None

            way = self._ways[key] = decide.decide_follow(follow, "c", history, last, 1, position_at)
        return way
