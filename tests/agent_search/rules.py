"""The rules of the agent's session and of its admission, each taken away once. The search has to see the damage.

A rule is taken away in the shipped code, or where the search repeats the agent's shell, for the time of one search.
`bounds` are small ones in which it is seen. docs/proof.md names those that nobody missed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from server.actions import checkpoints, debts, held_orders, reconciliation, step_begins
from server.actions import gates as gate_actions
from server.core import agent_session, agent_wire
from server.core.agent_chains import Chains
from server.core.agent_checkpoints import Checkpoints
from server.core.agent_ledger import Ledger
from server.core.agent_memory import Durable
from server.core.agent_session import Session
from server.core.agent_trust import Moment
from server.core.agent_work import Work
from server.storage import orders
from tests.agent_search import world as worlds
from tests.agent_search.bounds import Bounds
from tests.agent_search.machine import NONE, Effects, Machines
from tests.agent_search.office import Link, Offices
from tests.agent_search.world import World

Patch = pytest.MonkeyPatch
NO_WORDS: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Rule:
    """`name` says the rule; `remove` takes it away. `every`: each so manieth situation is brought to rest."""

    name: str
    bounds: Bounds
    remove: Callable[[Patch], None]
    every: int = 15


def bounds(
    say: str = "", agents: int = 1, ready: bool = True, last: int = 4, states_max: int = 6_000, **left: int
) -> Bounds:
    """Small bounds of one rule."""
    return Bounds("", left, frozenset(say.split()), agents, ready, last, states_max)


# What the agent makes durable.


def begins_before_saves(patch: Patch) -> None:
    """The process exists before its intent is durable."""
    do = Machines.do

    def early(
        self: Machines, machine: Any, name: Any, event: Any, time: int, crash: str = "", lazy: bool = False
    ) -> Any:
        if crash == NONE:
            _, _, outcome = self._step(machine, name, event, time)
            for run in outcome.starts:
                if run.key not in dict(machine.files):
                    machine = self._file(machine, run.key, "runs")
            began = tuple(run.key for run in outcome.starts)
            return machine._replace(ram=-1), Effects((), began)
        return do(self, machine, name, event, time, crash, lazy)

    patch.setattr(Machines, "do", early)


def forgets_at_any_ack(patch: Patch) -> None:
    """What a master that writes alone acknowledged is forgotten at once."""
    kept = Ledger.kept
    patch.setattr(Ledger, "kept", lambda self, message, now: kept(
        self, msgspec.structs.replace(message, in_sync=True), now))  # fmt: skip


def sends_nothing_again(patch: Patch) -> None:
    """A new office is not sent what an earlier one acknowledged alone."""

    def opened(self: Ledger, node: str, *more: Any) -> None:
        marks = dict(self.memory.marks)
        whole = plain_queue

        def queue(number: int) -> None:
            if number not in marks:
                whole(self, number)

        self._queue = queue  # type: ignore[method-assign]  # for the time of one call
        try:
            plain_open(self, node, *more)
        finally:
            del self._queue

    plain_open, plain_queue = Ledger.open, Ledger._queue
    patch.setattr(Ledger, "open", opened)


def no_ticket_kept(patch: Patch) -> None:
    """The number of a connection is not made durable."""
    change = Ledger.change
    patch.setattr(Ledger, "change", lambda self, **values: change(
        self, **{name: value for name, value in values.items() if name != "ticket"}))  # fmt: skip


# Whom it obeys and when.


def obeys_anybody(patch: Patch) -> None:
    """A lower epoch, or the same number of another node, is obeyed."""
    patch.setattr(agent_session, "obeys", lambda highest, offered: True)


def refuses_in_silence(patch: Patch) -> None:
    """Nobody is told of a refused office."""
    patch.setattr(Session, "_refuse", lambda self, offered, highest, now: None)


def keeps_reports_of_unbegun(patch: Patch) -> None:
    """The report of a dropped dispatch stays in the spool."""
    patch.setattr(Ledger, "retract", lambda self, keys: None)


def goes_on_after_a_reboot(patch: Patch) -> None:
    """After a reboot, and in a copy, orders begin before a master has answered."""
    waiting = Session.waiting

    def answered(self: Session, now: Any) -> str:
        held, self._answered = self._answered, True
        try:
            return waiting(self, now)
        finally:
            self._answered = held

    patch.setattr(Session, "waiting", answered)


def goes_on_in_a_copy(patch: Patch) -> None:
    """The copy of a directory is taken for the agent itself."""
    begin = Session.__init__
    patch.setattr(Session, "__init__", lambda self, memory, boot, now, place="": begin(
        self, memory, boot, now, memory.durable.place))  # fmt: skip


def trusts_any_offset(patch: Patch) -> None:
    """The wall clock is not compared with the boot clock."""
    trusted = agent_session.distrusted_clock
    patch.setattr(
        agent_session, "distrusted_clock", lambda now, highest, offset, skew: trusted(now, highest, None, skew)
    )


def trusts_any_skew(patch: Patch) -> None:
    """The wall clock is not compared with the master's."""
    trusted = agent_session.distrusted_clock
    patch.setattr(
        agent_session, "distrusted_clock", lambda now, highest, offset, skew: trusted(now, highest, offset, 0)
    )


def begins_in_quarantine(patch: Patch) -> None:
    """A quarantined agent goes by its orders."""
    waiting = Session.waiting

    def free(self: Session, now: Any) -> str:
        held: Durable = self._memory.durable
        self._memory.durable = msgspec.structs.replace(held, quarantined="")
        try:
            return waiting(self, now)
        finally:
            self._memory.durable = held

    patch.setattr(Session, "waiting", free)


def no_answer_for_an_unknown_order(patch: Patch) -> None:
    """A release of an order that never came is not answered."""
    release = Session._release

    def answered(self: Session, node: str, order_id: int, version: int) -> None:
        if order_id in self._memory.orders:
            release(self, node, order_id, version)

    patch.setattr(Session, "_release", answered)


def catches_up_what_was_restored(patch: Patch) -> None:
    """A memory that an operator accepted catches up what the lost part of its life may have run."""
    resume = Work.resume
    patch.setattr(Work, "resume", lambda self, now, restored: resume(self, now, False))


def acknowledges_gates_early(patch: Patch) -> None:
    """A gate is acknowledged while an intent awaits its process."""
    acknowledge = Session._acknowledge_gates

    def early(self: Session) -> None:
        held, self.work.awaiting = self.work.awaiting, set()
        try:
            acknowledge(self)
        finally:
            self.work.awaiting = held

    patch.setattr(Session, "_acknowledge_gates", early)


# What the master decides.


def any_ticket_fits(patch: Patch) -> None:
    """Whatever number an agent shows is taken."""
    patch.setattr(reconciliation, "ticket_fits", lambda given, confirmed, shown: True)


def no_predecessor_fits(patch: Patch) -> None:
    """The predecessor of an unconfirmed number is a wrong one."""
    patch.setattr(reconciliation, "ticket_fits", lambda given, confirmed, shown: shown >= given)


def no_newer_ticket_fits(patch: Patch) -> None:
    """A newer number than the one known is a wrong one."""
    fits = reconciliation.ticket_fits
    patch.setattr(reconciliation, "ticket_fits", lambda given, confirmed, shown: shown <= given and fits(
        given, confirmed, shown))  # fmt: skip


def lets_a_double_in(patch: Patch) -> None:
    """The second process of a connected identity takes the place of the first."""

    def connect(self: World, s: Any, m: int, which: int) -> Any:
        other = worlds.CLONE if m == 0 else 0
        if worlds.WHO[m] == 0 and s.links[other][which] is not None:
            s = self.cut(s, other, which)
        return plain(self, s, m, which)

    plain = World.connect
    patch.setattr(World, "connect", connect)


def moves_without_release(patch: Patch) -> None:
    """An order is given to another agent before the first one answered."""

    def freed(connection: Any, order: Any) -> None:
        orders.finish_release(connection, order, 0)

    patch.setattr(orders, "begin_release", freed)


def no_inventory(patch: Patch) -> None:
    """Open runs are not compared with what the agent holds."""
    patch.setattr(reconciliation, "_reconcile", lambda *rest: None)


def orders_not_compared(patch: Patch) -> None:
    """Orders are not compared with what the agent holds."""
    patch.setattr(reconciliation, "compare_orders", lambda *rest: ())


def owes_nothing(patch: Patch) -> None:
    """After a loss nothing is withheld while an agent is silent."""
    patch.setattr(debts, "incur", lambda *rest: 0)


def gives_a_lost_order_again(patch: Patch) -> None:
    """After a loss an agent is given again the order that it lacks, past instants too."""
    patch.setattr(held_orders, "let_go", lambda *rest: None)


def withholds_nothing(patch: Patch) -> None:
    """After a loss the master submits what is due although a silent agent may have been given it."""
    patch.setattr(debts, "must_wait", lambda *rest: False)


def gates_stay_acknowledged(patch: Patch) -> None:
    """After a loss a gate counts as acknowledged by whom the lost master heard it of."""
    patch.setattr(gate_actions, "say_again", lambda *rest: None)


def gives_before_admission(patch: Patch) -> None:
    """Orders and runs go out before the inventory is reconciled, and the agent takes them."""
    bring = Offices._bring
    command = Session._command

    def early(self: Offices, who: int, epoch: int, link: Link, now_us: int) -> Any:
        said, after = bring(self, who, epoch, link._replace(admitted=not link.refused), now_us)
        return said, after if after is None else after._replace(admitted=link.admitted and after.admitted)

    def takes(self: Session, node: str, message: Any, now: Any) -> None:
        if isinstance(message, agent_wire.Dispatch | agent_wire.GiveOrder) and not self._admitted:
            self._obey(node, message, now)
        else:
            command(self, node, message, now)

    patch.setattr(Offices, "_bring", early)
    patch.setattr(Session, "_command", takes)


def goes_on_without_certainty(patch: Patch) -> None:
    """A run of a silent agent goes on as if that agent had ended it."""
    patch.setattr(checkpoints, "why_not_again", lambda run, agent, job: "")


def resumes_what_runs(patch: Patch) -> None:
    """A person's word is enough, whatever the rows say of the last attempt."""
    patch.setattr(checkpoints, "_check_over", lambda connection, last, job: None)


def tells_the_end_before_it(patch: Patch) -> None:
    """A run that stops at a checkpoint is reported suspended while its processes still run."""
    end = Checkpoints._end

    def early(self: Checkpoints, run: Any, cause: str) -> None:
        end(self, run, cause)
        self._ledger.out.stops.clear()
        now = Moment(run.at_us, 0)
        self._ledger.report(run.key, agent_wire.Ended(None, 15, run.at_us, run.at_us, 0, False, cause), now)

    patch.setattr(Checkpoints, "_end", early)


def begins_what_the_agent_began(patch: Patch) -> None:
    """What an agent began by itself is not taken for its step's run."""
    patch.setattr(step_begins, "begun", lambda *rest: None)
    patch.setattr(step_begins, "claim", lambda *rest: None)


def goes_on_whatever_is_in_the_way(patch: Patch) -> None:
    """A step that ends begins the next one in a copy, too."""
    ended = Chains.ended
    patch.setattr(Chains, "ended", lambda self, key, end, why, now: ended(self, key, end, "", now))


RULES: tuple[Rule, ...] = (
    Rule("an intent is durable before its process", bounds(crashes=1), begins_before_saves),
    Rule("an epoch below the highest, or of another node, is refused", bounds(last=0, lags=1, cuts=1), obeys_anybody),
    Rule("a refusal is told to everybody", bounds(last=0, lags=1, cuts=1), refuses_in_silence),
    Rule("only what is replicated is forgotten", bounds(lags=1), forgets_at_any_ack),
    Rule("a new office is sent all that one acknowledged alone", bounds(lags=1), sends_nothing_again),
    Rule("the number of a connection is durable at the agent", bounds(cuts=2), no_ticket_kept),
    Rule("a wrong number is quarantined", bounds(copies=1), any_ticket_fits),
    Rule("the predecessor of an unconfirmed number is let in", bounds(cuts=2), no_predecessor_fits),
    Rule("a newer number than known is let in", bounds(lags=1, cuts=1), no_newer_ticket_fits),
    Rule("a second process of a connected identity is quarantined", bounds(copies=1), lets_a_double_in),
    Rule("after a reboot nothing begins before the master answered", bounds(copies=1), goes_on_after_a_reboot),
    Rule("in a copy nothing begins before the master answered", bounds(copies=1), goes_on_in_a_copy),
    Rule("nothing begins in quarantine", bounds(copies=1), begins_in_quarantine),
    Rule("what a restored memory may have run is not caught up", bounds(copies=1),
         catches_up_what_was_restored),
    Rule("a clock that moved against the boot clock is not trusted", bounds(jumps=1), trusts_any_offset),
    Rule("a clock unlike the master's is not trusted", bounds(jumps=1), trusts_any_skew),
    Rule("a gate is acknowledged when no intent awaits its process", bounds("lock", words=1, pauses=1),
         acknowledges_gates_early),
    Rule("an order moves only when its agent gave it back", bounds("move", 2, words=1, cuts=1), moves_without_release),
    Rule("a release of an order that never came is answered", bounds("move", 2, words=1, cuts=1, ready=False),
         no_answer_for_an_unknown_order),
    Rule("the report of a dropped dispatch is taken back", bounds(disks=1, cuts=1, ready=False),
         keeps_reports_of_unbegun),
    Rule("what a silent agent may have been given is withheld", bounds("move master", 2, last=2, words=1, lags=1),
         withholds_nothing),
    Rule("runs are compared with the inventory", bounds(cuts=1, ready=False), no_inventory),
    Rule("a run goes on only when its agent certainly ended it",
         bounds("save give", 2, last=1, words=1, cuts=1, ready=False), goes_on_without_certainty),
    Rule("a run that runs is not resumed", bounds("save resume give", 2, words=2, ready=False), resumes_what_runs),
    Rule("a suspended run has no process any more", bounds("save suspend resume give", 2, words=3, ready=False),
         tells_the_end_before_it),
    Rule("orders are compared with the inventory", bounds(copies=1), orders_not_compared),
    Rule("after a loss nothing older is given out while an agent is silent", bounds("move", 2, words=1, lags=1),
         owes_nothing),
    Rule("an order that its agent lacks after a loss is made anew",
         bounds("move", 2, words=1, lags=1, states_max=4_000),
         gives_a_lost_order_again),
    Rule("a gate of before a loss is acknowledged by nobody", bounds("lock", words=2, lags=1, states_max=7_000),
         gates_stay_acknowledged),
    Rule("a follower and an agent never both begin the same step", bounds("chain", cuts=1, ready=False),
         begins_what_the_agent_began),
    Rule("in a copy a chain begins nothing before the master answered", bounds("chain", copies=1),
         goes_on_whatever_is_in_the_way),
)  # fmt: skip
