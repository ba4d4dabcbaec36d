"""The session machine of an agent: whom it obeys, what it remembers, and what to start when. Pure.

Every entry returns an `Outcome`. The caller makes its `saves` durable in one transaction, and only then sends, starts
and stops: so an intent is durable before its process, a result before its report, an epoch before it is obeyed.
"""

from __future__ import annotations

import msgspec

from replication.core.types import Epoch
from server.core import agent_wire as wire
from server.core.agent_chains import Chains
from server.core.agent_checkpoints import Checkpoints
from server.core.agent_drain import Drain
from server.core.agent_events import Events
from server.core.agent_ledger import Ledger, Outcome
from server.core.agent_memory import Memory
from server.core.agent_trust import HIGHEST_STEP_US, Moment, distrusted_clock, obeys
from server.core.agent_work import Work
from server.core.instants import next_instant
from server.core.model import HOUR_US, SECOND_US
from server.core.monitors import StandingMonitor
from server.core.sightings import Look


class Session:
    """One start of the agent program. `memory` is what the spool held; `boot_id` names the machine's boot.

    `place` names the file that held it: in a copy nothing begins before the master has answered, as after a boot.
    """

    def __init__(self, memory: Memory, boot_id: str, now: Moment, place: str = "") -> None:
        self._ledger = Ledger(memory)
        self._memory = memory
        self.work = Work(self._ledger, boot_id, now.wall_us)
        self.drain = Drain(self._ledger, self.work, boot_id)
        self.checkpoints = Checkpoints(self._ledger, self.work, self.drain)
        self.events = Events(self._ledger, self.work, boot_id)
        self.chains = Chains(self._ledger)
        self._boot_id = boot_id
        self._links: set[str] = set()
        self._obeyed = ""
        self._protocols: dict[str, int] = {}
        self._masters: dict[str, Epoch] = {}
        self._admitted = False
        self._place = place
        self._is_copy = memory.durable.place not in ("", place)
        self._answered = memory.durable.boot_id in ("", boot_id) and not self._is_copy
        self._offset_us = memory.durable.offset_us if memory.durable.boot_id == boot_id else now.offset_us
        self._skew_us = 0
        self._refused: set[Epoch] = set()
        self._gates_told: int | None = None
        self._expiry_us = now.boot_us
        self.held_bytes = (0, 0, 0)
        """Of the spool, of output, and of both at most: for people, set by whoever measures it."""
        self._asked_us = now.boot_us

    @property
    def obeyed(self) -> str:
        """The node whose office is obeyed on an open link, or ""."""
        return self._obeyed

    @property
    def protocol(self) -> int:
        """The protocol spoken with the obeyed node: nothing newer is sent to it. 0 while nobody is obeyed."""
        return min(self._protocols.get(self._obeyed, 0), wire.PROTOCOL)

    @property
    def admitted(self) -> bool:
        """True while the obeyed master has recorded this connection and reconciled the inventory."""
        return self._admitted

    def takes_output(self, key: str) -> bool:
        """Whether output of the run may go to the obeyed master: sent with what follows, it comes after its begin."""
        return self._admitted and self._ledger.is_announced(key)

    def waiting(self, now: Moment) -> str:
        """Why nothing is started by the agent itself, as a sentence for people; "" when it goes by its orders."""
        durable = self._memory.durable
        if durable.quarantined:
            return f"Quarantined: {durable.quarantined}"
        if not self._answered and self._is_copy:
            return "The data directory was copied or restored: nothing begins before the master has answered."
        if not self._answered and not durable.start_alone:
            return "The machine was restarted: nothing begins before the master has answered."
        return distrusted_clock(now, durable.highest_us, self._offset_us, self._skew_us)

    def why_no_event(self) -> str:
        """Why an event would begin nothing now, as a sentence; "" when it would. Clocks do not matter for events."""
        durable = self._memory.durable
        if durable.quarantined:
            return f"Quarantined: {durable.quarantined}"
        if self._answered or (durable.start_alone and not self._is_copy):
            return ""
        return "Nothing begins before the master has answered."

    def looked(self, monitor: StandingMonitor, look: Look, now: Moment) -> Outcome:
        """A monitor's look is over. Nothing is remembered of it while an event would begin nothing."""
        if not self.why_no_event():
            self.events.looked(monitor, look, now)
        return self._ledger.take()

    def fire(self, question: int, name: str, request: str, variables: dict[str, str], now: Moment) -> Outcome:
        """Somebody on this machine fires a manual event; the outcome answers `question` once it is durable."""
        answer = self.events.fire(name, request, variables, self.why_no_event(), now)
        self._ledger.out.answers.append((question, answer))
        return self._ledger.take()

    def checkpoint(
        self, question: int, key: str, data: bytes | None, request: str, suspends: bool, now: Moment
    ) -> Outcome:
        """A job saves its state; the outcome answers `question` once it is durable (`core.agent_checkpoints`)."""
        self.checkpoints.take(question, key, data, request, suspends, now)
        return self._ledger.take()

    def link_opened(self, node: str) -> Outcome:
        """A link to `node` is open; who it is follows in its `Office`."""
        self._links.add(node)
        return self._ledger.take()

    def link_closed(self, node: str) -> Outcome:
        """The link to `node` is gone: nothing that it said is obeyed any more, standing orders go on."""
        self._links.discard(node)
        self._masters.pop(node, None)
        if self._obeyed == node:
            self._leave()
        return self._ledger.take()

    def received(self, node: str, message: wire.FromNode, now: Moment) -> Outcome:
        """One message of `node`. Commands of a node that is not obeyed are dropped."""
        if isinstance(message, wire.Office):
            self._protocols[node] = message.protocol
            self._office(node, message, now)
        elif node == self._obeyed:
            self._command(node, message, now)
        return self._ledger.take()

    def tick(self, now: Moment) -> Outcome:
        """Begin what is due. Call at `next_deadline_us` and at least once a second."""
        self.drain.tick(now)
        if not self.waiting(now):
            self.work.begin_due(now, self._admitted)
            self.work.begin_held(now, self._admitted)
            if now.wall_us > self._memory.durable.highest_us + HIGHEST_STEP_US:
                self._ledger.change(highest_us=now.wall_us)
        if now.boot_us > self._expiry_us and self._knows_the_time(now):
            self._expiry_us = now.boot_us + HOUR_US
            self._ledger.expire(now)
            self.events.expire(now)
            self.work.expire(now)
        return self._ledger.take()

    def _knows_the_time(self, now: Moment) -> bool:
        """Whether the clock agrees with what a master said in this boot: by no other is anything too old to be kept."""
        durable = self._memory.durable
        is_compared = durable.boot_id == self._boot_id and durable.offset_us is not None
        return is_compared and not distrusted_clock(now, durable.highest_us, self._offset_us, self._skew_us)

    def next_deadline_us(self, now: Moment) -> int | None:
        """Wall time of the next instant of any order, or None."""
        held = [kept.order for kept in self._memory.orders.values()]
        following = [next_instant(order.instants, now.wall_us) for order in held]
        following += [one.start_us for order in held for one in order.exceptions if one.start_us > now.wall_us]
        return min((at for at in following if at is not None), default=None)

    def heartbeat(self, now: Moment) -> Outcome:
        """What to tell every connected node each second."""
        alone, count = self._memory.durable.start_alone, len(self._memory.reports)
        oldest_us = next((report.at_us for report in self._memory.reports.values()), 0)
        waiting = self.waiting(now)
        beat = wire.AgentHeartbeat(now.wall_us, count, waiting, alone, now.boot_us, oldest_us, *self.held_bytes)
        for node in self._links:
            self._ledger.send(node, beat)
        self._tell_progress()
        return self._ledger.take()

    def began(self, key: str) -> Outcome:
        """The process of an intent exists."""
        self.work.began(key)
        self.checkpoints.began(key)
        self._acknowledge_gates()
        return self._ledger.take()

    def ended(self, key: str, end: wire.Ended, now: Moment) -> Outcome:
        """The run is over; its exit status and output are durable, or known to be unknowable.

        What of its workflow follows here begins in the same outcome.
        """
        self._tell_progress()
        begun = self.chains.ended(key, end, self.waiting(now) or self.work.in_the_way(key), now)
        self.work.ended(key, msgspec.structs.replace(end, begun=tuple(one for one, _ in begun)), now)
        for one, specification in begun:
            self.work.begin_step(one, specification, now)
        self.checkpoints.ended(key)
        self.drain.ended(key, end.cause, now)
        self._acknowledge_gates()
        return self._ledger.take()

    def drain_to_stop(self, now: Moment) -> Outcome:
        """This program is to end, its runs first: nothing new begins. Over when `drain.is_over`."""
        self.drain.begin_stop(now)
        return self._ledger.take()

    def output_done(self, key: str) -> Outcome:
        """The master holds all output of the run, replicated, or wants none of it."""
        self._ledger.output_done(key)
        return self._ledger.take()

    def _tell_progress(self) -> None:
        self.checkpoints.tell_progress(self._obeyed if self._admitted and self.protocol > 1 else "")

    def _roster(self, office: wire.Office) -> dict[str, str]:
        """Addresses to dial from now on. A standby's copy may be of long ago: it corrects what a master said once."""
        known = self._memory.durable.roster
        if office.role == "master":
            return office.roster or known
        return {**known, **office.roster} if known else known

    def _office(self, node: str, office: wire.Office, now: Moment) -> None:
        roster = self._roster(office)
        if roster != self._memory.durable.roster:
            self._ledger.change(roster=roster)
        highest = self._memory.durable.epoch
        self._masters.pop(node, None)
        if office.role == "master":
            self._masters[node] = office.epoch
        if office.role != "master":
            if self._obeyed == node:
                self._leave()
        elif not obeys(highest, office.epoch):
            self._refuse(office.epoch, highest, now)
        elif self._obeyed == node and office.epoch == highest:
            self._contact(office.now_us, now)
        else:
            self._leave()
            if office.epoch != highest:
                self._ledger.change(epoch=office.epoch)
            self._obeyed = node
            self._contact(office.now_us, now)
            self._asked_us = now.boot_us
            self._present(node)
            for stale in [epoch for epoch in self._masters.values() if not obeys(office.epoch, epoch)]:
                self._refuse(stale, office.epoch, now)

    def _refuse(self, offered: Epoch, highest: Epoch, now: Moment) -> None:
        for node in self._links:
            self._ledger.send(node, wire.EpochRefused(offered, highest))
        if offered not in self._refused:
            self._refused.add(offered)
            text = f"Orders of epoch {offered} were refused: epoch {highest} is obeyed."
            self._ledger.report("", wire.Trouble(text), now)

    def _present(self, node: str) -> None:
        self.work.drop_unbegun()
        memory, durable = self._memory, self._memory.durable
        orders = tuple((kept.order.id, kept.order.version) for kept in memory.orders.values())
        oldest = next((report.at_us for report in memory.reports.values()), 0)
        self._ledger.send(
            node,
            wire.Present(
                durable.epoch,
                durable.ticket,
                durable.gates,
                self.work.notes(),
                orders,
                len(memory.reports),
                oldest,
                self.events.notes(),
            ),
        )

    def _leave(self) -> None:
        self._obeyed, self._admitted, self._gates_told = "", False, None
        self._ledger.close()

    def _contact(self, master_us: int, now: Moment) -> None:
        self._skew_us = now.wall_us - master_us
        durable = self._memory.durable
        if distrusted_clock(now, 0, None, self._skew_us):
            return
        moved = durable.offset_us is None or abs(now.offset_us - durable.offset_us) > SECOND_US
        if moved or now.wall_us < durable.highest_us:
            self._ledger.change(offset_us=now.offset_us, highest_us=now.wall_us)
        self._offset_us = now.offset_us

    def _command(self, node: str, message: wire.FromNode, now: Moment) -> None:
        match message:
            case wire.Admitted():
                self._admit(node, message, now)
            case wire.Quarantined(reason):
                self._ledger.change(quarantined=reason)
            case wire.NodeHeartbeat(now_us, replicated, _, answers_us):
                self._contact(now_us, now)
                self._answer(answers_us, now)
                self._ledger.replicated(replicated)
            case _ if self._admitted:
                self._obey(node, message, now)
            case _:
                pass

    def _answer(self, answers_us: int, now: Moment) -> None:
        """A master able to commit answers what was said at `answers_us` of the boot clock; 0 is no answer."""
        if self.protocol == 1:
            answers_us = now.boot_us  # an earlier release says no more than that it is there
        if self._admitted and answers_us <= now.boot_us:
            self.work.answered_us = max(self.work.answered_us or 0, answers_us) or None

    def _admit(self, node: str, admitted: wire.Admitted, now: Moment) -> None:
        self._ledger.change(
            ticket=admitted.ticket, quarantined=admitted.quarantined, boot_id=self._boot_id, place=self._place
        )
        self._admitted = self._answered = True
        self.chains.drop()
        self._answer(self._asked_us, now)
        self._ledger.send(node, wire.TicketKept(admitted.ticket))
        self._ledger.open(node, self.protocol)
        for order_id, version in admitted.strays:
            self._release(node, order_id, version)
        self.work.resume(now, admitted.restored or bool(admitted.quarantined))
        self.drain.resume(now)
        if admitted.restored:
            self.events.begin_anew()
        for key in admitted.forgotten:
            self._ledger.output_done(key)

    def _obey(self, node: str, message: wire.FromNode, now: Moment) -> None:
        match message:
            case wire.NextTicket(ticket):
                self._ledger.change(ticket=ticket)
                self._ledger.send(node, wire.TicketKept(ticket))
            case wire.SetStartAlone(allowed):
                if allowed != self._memory.durable.start_alone:
                    self._ledger.change(start_alone=allowed)
            case wire.SetGates(gates):
                self._ledger.change(gates=gates)
                self._gates_told = None
                self.drain.follow(now)
                self._acknowledge_gates()
                if not self._memory.durable.quarantined:
                    self.work.begin_held(now, True)
            case wire.GiveOrder(order):
                self.work.take_order(order, now)
                self._ledger.send(node, wire.OrderKept(order.id, order.version))
            case wire.ReleaseOrder(order_id, version):
                self._release(node, order_id, version)
            case wire.Dispatch() if not self._memory.durable.quarantined:
                self.work.dispatch(message, now)
                if message.chain is not None:
                    self.chains.take(message.chain)
            case wire.StopRun():
                self.chains.stopped(message.key)
                self.work.stop(message, now)
            case wire.Suspend():
                if message.wanted:
                    self.chains.stopped(message.key)
                self.checkpoints.suspend(message)
            case wire.GiveMonitor(monitor, next_number):
                self.events.take(monitor, next_number)
                self._ledger.send(node, wire.MonitorKept(monitor.id, monitor.version))
            case wire.ReleaseMonitor(monitor_id, version):
                self.events.release(monitor_id)
                self._ledger.send(node, wire.MonitorKept(monitor_id, version))
            case wire.Recall():
                self.work.recall(message, now)
            case wire.SetDeployment(revision, groups):
                self._ledger.change(deployment=revision, groups=groups)
                self._ledger.send(node, wire.DeploymentKept(revision))
                self.work.begin_held(now, True)
            case wire.Kept():
                self._ledger.kept(message, Moment(now.wall_us - self._skew_us, now.boot_us))  # as the master's clock
            case _:
                pass

    def _release(self, node: str, order_id: int, version: int) -> None:
        self._ledger.send(node, wire.Released(order_id, version, self.work.release(order_id)))

    def _acknowledge_gates(self) -> None:
        revision = self._memory.durable.gates.revision
        if self._admitted and self._gates_told != revision and not self.work.awaiting:
            self._gates_told = revision
            self._ledger.send(self._obeyed, wire.GatesKept(revision))
