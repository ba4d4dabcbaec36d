"""What may happen next: every move that a situation allows within its bounds, and what comes of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from replication.core import effects, events
from replication.core.types import Mode, State
from server.core import agent_trust
from tests.search import promises
from tests.search.bounds import (
    AGAIN,
    CRASHES,
    CUTS,
    DELAYS,
    LOSSES,
    OPERATIONS,
    REORDERS,
    REPEATS,
    SILENCES,
    WRITES,
    Bounds,
)  # fmt: skip
from tests.search.held import CALM, DUE, LATE, NODES, PENDING, SILENT, STALLED, STEADY, UNANSWERED, Held
from tests.search.world import NOBODY, UNHEARD, WIRE_MAX, Budget, Situation, World

FREE = -1
Label = tuple[Any, ...]
Move = tuple[Label, int]
"""What happens, and the budget that it costs."""

WORDS: dict[str, Callable[[int], events.Event]] = {
    "promote": lambda me: events.PromoteRequested(1, False, False, b""),
    "stopped": lambda me: events.PromoteRequested(1, False, True, b""),
    "force": lambda me: events.PromoteRequested(1, True, False, b""),
    "alone": lambda me: events.GoAloneRequested(1, b""),
    "insist": lambda me: events.GoAloneRequested(1, b"", True),
    "swap": lambda me: events.SwapRequested(1, NODES[1 - me], 3.0, b""),
    "abort": lambda me: events.SwapAbortRequested(1),
}
"""What an operator may type at a node."""


def spent(left: Budget, cost: int) -> Budget:
    """One less of it."""
    return left if cost == FREE else (*left[:cost], left[cost] - 1, *left[cost + 1 :])


class Moves(World):
    """The world and its moves: `all` of a situation, and `do` one."""

    def __init__(self, bounds: Bounds) -> None:
        super().__init__(bounds)
        self._own: dict[tuple[int, int], list[Move]] = {}
        self._do: dict[str, Callable[[Situation, Label, Budget], Situation | None]] = {
            name.removeprefix("_move_").replace("_", " "): getattr(self, name)
            for name in dir(self)
            if name.startswith("_move_")
        }

    def do(self, s: Situation, move: Move) -> Situation | None:
        """What comes of a move; None when nothing does. Raises Broken when a promise is."""
        label, cost = move
        return self._do[label[0]](s, label, spent(s.left, cost))

    def all(self, s: Situation) -> Iterator[Move]:
        """Every move that is left."""
        left = s.left
        for move in (*self._of_node(0, s.a), *self._of_node(1, s.b), *self._between(s), *self._of_witnesses(s)):
            if move[1] == FREE or left[move[1]] > 0:
                yield move

    # which moves

    def _of_node(self, me: int, node: int) -> list[Move]:
        known = self._own.get((me, node))
        if known is None:
            held: Held = self.nodes.things[node]
            if not held.up:
                known = [(("start", me), FREE)]
            else:
                known = [*self._work(me, held), *self._troubles(me, held), *self._words(me, held)]
            self._own[me, node] = known
        return known

    def _work(self, me: int, held: Held) -> Iterator[Move]:
        length = self.chains.lengths[held.journal]
        if held.operations:
            yield ("operate", me), FREE
        if self.is_acting(held) and held.term is not None and not held.term.frozen:
            yield ("write", me), WRITES
        if held.synced < length or (held.term is None and min(held.commit, length) > held.recorded):
            yield ("fsync", me), FREE
        if held.following:
            yield ("follow", me), FREE
        if self.bounds.agent and self.is_acting(held):
            yield ("obey", me), FREE
            yield ("refuse", me), FREE
        yield ("tick", me, CALM), FREE
        if self.bounds.mode is Mode.AVAILABLE and held.ram.state is State.MASTER:
            yield ("tick", me, STALLED), CUTS
        if self.bounds.mode is Mode.AVAILABLE and held.ram.state is State.RESUMING:
            yield ("tick", me, UNANSWERED), AGAIN
        waits = dict(zip(PENDING, held.volatile[1], strict=True))
        if waits["ask_again_at"]:
            yield ("tick", me, DUE), AGAIN
        if waits["deadline"]:
            yield ("tick", me, LATE), AGAIN

    def _troubles(self, me: int, held: Held) -> Iterator[Move]:
        if me in self.bounds.crashing:
            for kept in range(held.synced, self.chains.lengths[held.journal] + 1):
                yield ("crash", me, kept), CRASHES
        if any(connected for _, connected, _ in held.volatile[0]):
            yield ("lost", me), CUTS
        if held.term is not None and held.term.closing:
            yield ("exit", me), FREE

    def _words(self, me: int, held: Held) -> Iterator[Move]:
        for word in WORDS:
            if word != "stopped" and self.bounds.may_say(me, word):
                yield ("say", me, word), OPERATIONS
        may_stop = held.term is not None and held.ram.state in (State.MASTER, State.ALONE)
        if self.bounds.may_say(me, "stop") and may_stop and held.term is not None and not held.term.closing:
            yield ("stop", me), OPERATIONS
        if self.bounds.founding:
            yield ("join" if me else "init", me), FREE
            yield ("roster", me), FREE

    def _between(self, s: Situation) -> Iterator[Move]:
        for me in (0, 1):
            mine, other = self.nodes.things[s[me]], self.nodes.things[s[1 - me]]
            if mine.up and other.up:
                wire = s[3 - me]
                yield ("hello", me), REORDERS if wire else FREE
                if len(wire) < WIRE_MAX:
                    yield ("delay", me), DELAYS
            elif mine.up:
                yield ("lost", me), FREE
                if self.bounds.may_say(me, "stopped"):
                    yield ("say", me, "stopped"), OPERATIONS
            for at in range(len(s[2 + me])):
                yield ("deliver", me, at, None), REORDERS if at else FREE
            if s[2 + me]:
                yield ("deliver again", me), REPEATS
                yield ("lose", me), LOSSES
                if self.bounds.dying:
                    for cut in range(1, self.event(me, s[me], s[2 + me][0])[1].effects):
                        yield ("deliver", me, 0, cut), CRASHES
        if s.stream is not None:
            standby, attached, report = s.stream
            if attached:
                yield ("receive", standby), FREE
            if report is not None:
                yield ("report", 1 - standby, False), FREE
                yield ("report", 1 - standby, True), FREE

    def _of_witnesses(self, s: Situation) -> Iterator[Move]:
        count = len(s.witnesses)
        for at, (asker, _, said) in enumerate(s.questions):
            if self.is_fence(s, at):
                yield ("fence", at, True), FREE
                yield ("fence", at, False), FREE
                continue
            if self.stands_still_first(s, at):
                continue
            if self.bounds.prompt and asker != NOBODY:
                for hearing in range(1 << count):
                    yield ("ask", at, hearing), FREE if hearing == (1 << count) - 1 else SILENCES
                continue
            for who in range(count):
                if said[who] == UNHEARD:
                    yield ("hear", at, who), FREE
            if asker == NOBODY:
                yield ("forget", at), FREE
            else:
                yield ("conclude", at), SILENCES if UNHEARD in said else FREE

    def is_fence(self, s: Situation, at: int) -> bool:
        """It is no question to witnesses, but a hook that runs."""
        return isinstance(self.effects.things[s.questions[at][1]], effects.Fence)

    def stands_still_first(self, s: Situation, at: int) -> bool:
        """A claim goes out only when nothing is followed any more: a copy that moves on could name other witnesses."""
        asker, number, _ = s.questions[at]
        claims = isinstance(self.effects.things[number], effects.AskWitnesses)
        return claims and asker != NOBODY and bool(self.nodes.things[s[asker]].following)

    @staticmethod
    def is_acting(held: Held) -> bool:
        """Its office has answered somebody: EPOCH is committed."""
        return held.up and held.term is not None and held.term.acted >= held.term.opened_at

    # one move

    def _move_start(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        """The peer's link of the process before is closed first, and what that had sent is gone."""
        me = label[1]
        s = s._replace(**{"to_b" if me == 0 else "to_a": ()})
        s = self._move_lost(s, ("lost", 1 - me), left) or s
        return self.after(s, me, self.deed(me, s[me], "start", lambda doer: doer.start()), left)

    def _move_crash(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, me, kept = label
        return self.check_kept(self.after(s, me, self.deed(me, s[me], label, lambda doer: doer.crash(kept)), left))

    def _move_exit(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        length = self.chains.lengths[self.nodes.things[s[me]].journal]
        return self._move_crash(s, ("crash", me, length), left)

    def _move_lost(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        """Silence, noticed at a tick; when the peer's process is gone, the end of its link."""
        me = label[1]
        held, other = self.nodes.things[s[me]], self.nodes.things[s[1 - me]]
        if not held.up or not any(connected for _, connected, _ in held.volatile[0]):
            return None
        if other.up:
            done = self.event(me, s[me], self.messages.of(events.Ticked()), SILENT)
        else:
            done = self.event(me, s[me], self.messages.of(events.PeerLost(NODES[1 - me])))
        return self.after(s, me, done, left)

    def _move_operate(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        held, other = self.nodes.things[s[me]], self.nodes.things[s[1 - me]]
        if not isinstance(held.operations[0], effects.FetchTail):
            return self.after(s, me, self.deed(me, s[me], "operate", lambda doer: doer.operate()), left)
        theirs = other.journal if other.up and other.term is None else 0
        return self.after(s, me, self.deed(me, s[me], ("tail", theirs), lambda doer: doer.fetch_tail(theirs)), left)

    def _move_write(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me, value = label[1], self.bounds.left["writes"] - left[WRITES]
        return self.after(s, me, self.deed(me, s[me], ("write", value), lambda doer: doer.write(value)), left)

    def _move_stop(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        return self.after(s, me, self.deed(me, s[me], "stop", lambda doer: doer.stop()), left)

    def _move_fsync(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        after = self.after(s, me, self.deed(me, s[me], "fsync", lambda doer: doer.fsync()), left)
        return self._reported(after, me) if after is not None else None

    def _reported(self, s: Situation, me: int) -> Situation:
        if s.stream is None or s.stream[:2] != (me, True):
            return s
        return s._replace(stream=(me, True, self.report(self.nodes.things[s[me]])))

    def _move_receive(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        held, master = self.nodes.things[s[me]], self.nodes.things[s[1 - me]]
        behind = self.chains.lengths[master.journal] - self.chains.lengths[held.journal]
        if behind <= 0 and master.sequence <= held.commit:
            return None
        count = behind if self.bounds.solid else min(behind, 1)
        key = ("receive", master.journal, count, master.sequence)
        done = self.deed(me, s[me], key, lambda doer: doer.receive(master.journal, count, master.sequence))
        after = self.after(s, me, done, left)
        return self._reported(after, me) if after is not None and self.bounds.solid else after

    def _move_report(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, me, late = label
        if s.stream is None or s.stream[2] is None or self.nodes.things[s[me]].term is None:
            return None
        fsynced, applied, checksum = report = s.stream[2]
        passed = STEADY if s.stream[1] else CALM
        done = self.deed(
            me, s[me], (report, late, passed), lambda doer: doer.report(fsynced, applied, checksum, late, passed)
        )  # fmt: skip
        return self.after(s, me, done, left)

    def _move_follow(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        if s.stream is not None and s.stream[:2] == (me, True):
            return None
        return self.follow(s, me)

    def _move_obey(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        """The agent hears of an office whose first request is committed, and does as its shipped rule says."""
        history, term = self.histories.things[s.history], self.nodes.things[s[label[1]]].term
        if term.epoch == history.obeyed or not agent_trust.obeys(history.obeyed, term.epoch):
            return None
        return s._replace(history=self.histories.of(promises.obeyed(history, term.epoch)))

    def _move_refuse(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        """The agent refuses an office and says whom it obeys."""
        me = label[1]
        obeyed, term = self.histories.things[s.history].obeyed, self.nodes.things[s[me]].term
        if term.epoch == obeyed or agent_trust.obeys(obeyed, term.epoch):
            return None
        return self.after(s, me, self.event(me, s[me], self.messages.of(events.EpochHeard(obeyed))), left)

    def _move_fence(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, at, held = label
        asker = s.questions[at][0]
        s = s._replace(questions=(*s.questions[:at], *s.questions[at + 1 :]))
        if asker == NOBODY:
            return s
        done = self.event(asker, s[asker], self.messages.of(events.FenceEnded(1, held, "")))
        return self.after(s, asker, done, left) or s

    def _move_tick(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, me, passed = label
        return self.after(s, me, self.event(me, s[me], self.messages.of(events.Ticked()), passed), left)

    def _move_say(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, me, word = label
        return self.after(s, me, self.event(me, s[me], self.messages.of(WORDS[word](me))), left)

    def _move_init(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        return self.after(
            s, label[1], self.event(label[1], s[label[1]], self.messages.of(events.InitRequested())), left
        )

    def _move_join(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        """B gets its certificate from A, which has B in its roster by then."""
        if not self.nodes.things[s.a].ram.standby:
            return None
        return self.after(s, 1, self.event(1, s.b, self.messages.of(events.JoinRequested())), left)

    def _move_roster(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        changed = events.PeersChanged((NODES[1 - me],))
        return self.after(s, me, self.event(me, s[me], self.messages.of(changed)), left)

    def _move_hello(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        return self.after(s, 1 - me, self.event(1 - me, s[1 - me], self.hello(me, s[me])), left)

    def _move_delay(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        """What it says now is heard later."""
        me = label[1]
        said, wire = self.hello(me, s[me]), s[3 - me]
        if said in wire:
            return None
        return s._replace(**{"to_b" if me == 0 else "to_a": (*wire, said), "left": left})

    def _move_deliver(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, me, at, cut = label
        number = s[2 + me][at]
        s = self._without(s, me, at)._replace(left=left)
        return self.after(s, me, self.event(me, s[me], number, CALM, cut), left) or s

    def _move_deliver_again(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        me = label[1]
        return self.after(s, me, self.event(me, s[me], s[2 + me][0]), left)

    def _move_lose(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        return self._without(s, label[1], 0)._replace(left=left)

    @staticmethod
    def _without(s: Situation, me: int, at: int) -> Situation:
        wire = s[2 + me]
        return s._replace(**{"to_b" if me else "to_a": (*wire[:at], *wire[at + 1 :])})

    def _move_hear(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, at, who = label
        return self.same(self.hear(s, at, who))

    def _move_conclude(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        return self.conclude(s, label[1], left)

    def _move_forget(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        return self.forget(s, label[1], left)

    def _move_ask(self, s: Situation, label: Label, left: Budget) -> Situation | None:
        _, at, hearing = label
        for who in range(len(s.witnesses)):
            if hearing >> who & 1 and s.questions[at][2][who] == UNHEARD:
                s = self.hear(s, at, who)
        return self.conclude(s, at, left)
