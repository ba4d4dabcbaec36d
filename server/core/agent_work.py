"""What an agent begins, holds, suppresses and ends: standing orders, dispatches and gates over its ledger. Pure."""

from __future__ import annotations

import msgspec

from server.core import agent_wire as wire
from server.core import occurrence_exceptions
from server.core.agent_ledger import Ledger
from server.core.agent_memory import (
    NO_SPECIFICATION,
    CheckpointNote,
    DropOrder,
    DropRuns,
    KeptOrder,
    PruneSettled,
    RunRecord,
    SaveOrder,
    SaveRun,
    SaveSettled,
)
from server.core.agent_trust import Moment
from server.core.gates import DRAINING, Verdict, holds, on_occurrence
from server.core.giving_up import is_given_up
from server.core.instants import LATE_US, MAY_HAVE_RUN, instants_between, judge_past
from server.core.model import DAY_US, SECOND_US, Specification
from server.core.run_keys import occurrence_key, parse_key
from server.core.tenancy import tenant_of

RESUME_US = 60 * SECOND_US
"""An intent without a process is begun after a restart of the agent while it is younger than this."""
TOMBSTONE_US = 8 * DAY_US
SOON_MAX = 1024


class Work:
    """Runs and orders of one agent. `floor_us`: instants at or before it are past, whatever the clock says now.

    `answered_us`: when, by the boot clock, a master able to commit last answered; None: not since this start.
    """

    def __init__(self, ledger: Ledger, boot_id: str, floor_us: int) -> None:
        self._ledger = ledger
        self._memory = ledger.memory
        self._boot_id = boot_id
        self._floor_us = floor_us
        runs = self._memory.runs.values()
        self._turn = max((run.turn for run in runs), default=0)
        self._held = {run.key for run in runs if run.state == "held"}
        self.awaiting = {run.key for run in runs if run.state == "intent"}
        self.running: set[str] = set()
        self.disk_full = False
        self.answered_us: int | None = None
        self.draining = False
        """Set while the agent drains by itself, because it is being stopped."""

    def notes(self) -> tuple[wire.RunNote, ...]:
        """The inventory: every run that is not forgotten."""
        runs = self._memory.runs.values()
        return tuple(wire.RunNote(r.key, self._state(r)) for r in runs if r.state != "forgotten")

    def began(self, key: str) -> None:
        """The process of an intent exists."""
        self.awaiting.discard(key)
        self.running.add(key)

    def ended(self, key: str, end: wire.Ended, now: Moment) -> None:
        """The run is over; a second end of the same run changes nothing."""
        run = self._memory.runs.get(key)
        if run is not None and run.state == "intent":
            self._end(run, end, now)

    def begin_due(self, now: Moment, answered: bool) -> None:
        """Begin the instants that are due; past ones by their misfire policy, once the master has `answered`."""
        due: list[tuple[int, int, wire.StandingOrder]] = []
        late_us = max(self._floor_us, now.wall_us - LATE_US - 1)
        for kept in list(self._memory.orders.values()):
            order = kept.order
            until = min(now.wall_us, order.valid_until_us)
            open_ones = self._open(kept, until)
            past = [at for at in open_ones if at <= late_us]
            due.extend((at, at, order) for at in open_ones if at > late_us)
            if past and answered:
                due.extend((at, at, order) for at in self._judge(past, order, now))
            if open_ones and (answered or not past):
                self._ledger.save(SaveOrder(KeptOrder(order, until)))
            due.extend(self._exceptional(order, until, late_us, answered, now))
        for _, at, order in sorted(due, key=lambda found: (found[0], found[2].id, found[1])):
            self._occur(at, order, now)

    def soon(self, now: Moment, within_us: int) -> list[str]:
        """Keys of what should begin by itself within this time, at most `SOON_MAX`: a hint, no decision."""
        until_us, found = now.wall_us + within_us, list[str]()
        for kept in self._memory.orders.values():
            order = kept.order
            for at in instants_between(order.instants, now.wall_us, min(until_us, order.valid_until_us)):
                key = occurrence_key(order.specification.job_id, order.schedule_id, at)
                if key not in self._memory.runs:
                    found.append(key)
            if len(found) >= SOON_MAX:
                break
        return found[:SOON_MAX]

    def _open(self, kept: KeptOrder, until_us: int) -> list[int]:
        """Instants by which nothing was decided, without those that an exception names."""
        order = kept.order
        bits = self._memory.settled.get(order.schedule_id, {})
        named = {one.instant_us for one in order.exceptions}
        after = max(kept.cursor_us, order.valid_from_us - 1)
        return [at for at in instants_between(order.instants, after, until_us) if at not in bits and at not in named]

    def _exceptional(
        self, order: wire.StandingOrder, until_us: int, late_us: int, answered: bool, now: Moment
    ) -> list[tuple[int, int, wire.StandingOrder]]:
        """Occurrences with an exception that are due, as (when, instant, order); past ones by the misfire policy."""
        chosen = []
        for one in occurrence_exceptions.due(
            order.exceptions, self._memory.settled.get(order.schedule_id, {}), until_us
        ):
            if one.start_us <= late_us:
                if not answered:
                    continue
                verdict = judge_past([one.start_us], order.specification, now.wall_us)[0]
                if not (verdict.runs or one.skipped):
                    self._suppress(one.instant_us, order, "agent was not running", verdict.settled, now)
                    continue
            chosen.append((one.start_us, one.instant_us, order))
        return chosen

    def begin_held(self, now: Moment, admitted: bool) -> None:
        """Begin what was held, in the order in which it was held, when nothing holds it any more."""
        if not self._held or self._hold_reason():
            return
        for run in sorted((self._memory.runs[key] for key in self._held), key=lambda run: run.turn):
            given_up = is_given_up(run.specification, self.answered_us, now.boot_us)
            may_begin = admitted or (run.is_own and not given_up)
            if may_begin and not self._hold_reason(run.specification.job_name) and not self._undeployed(run.group):
                self._held.discard(run.key)
                self._begin(run, now)

    def drop_unbegun(self) -> None:
        """Forget dispatches of an earlier connection that never began: the master gives them again."""
        keys = tuple(key for key in self._held if not self._memory.runs[key].is_own)
        if keys:
            self._held.difference_update(keys)
            self._ledger.save(DropRuns(keys))
            self._ledger.retract(keys)

    def resume(self, now: Moment, restored: bool) -> None:
        """After admission: begin young intents of this boot that have no process, abandon all others."""
        for key in sorted(self.awaiting, key=lambda key: self._memory.runs[key].turn):
            run = self._memory.runs[key]
            young = abs(now.wall_us - run.at_us) < RESUME_US
            if run.boot_id == self._boot_id and young and not restored and not run.stop:
                self._ledger.out.starts.append(run)
            else:
                self._ledger.out.abandons.append(key)
        if restored:
            self._ledger.change(accepted_us=now.wall_us)
            for kept in list(self._memory.orders.values()):
                self._give_up_past(kept, now)

    def _give_up_past(self, kept: KeptOrder, now: Moment) -> None:
        """Begin no instant up to when this memory was accepted, and say so: the master knows of those that did run."""
        order, accepted_us = kept.order, self._memory.durable.accepted_us
        until = min(accepted_us, order.valid_until_us)
        bits = self._memory.settled.get(order.schedule_id, {})
        named = [one.instant_us for one in occurrence_exceptions.due(order.exceptions, bits, until)]
        for at in sorted(self._open(kept, until) + named):
            self._suppress(at, order, MAY_HAVE_RUN, False, now)
        self._ledger.save(SaveOrder(KeptOrder(order, accepted_us)))

    def take_order(self, order: wire.StandingOrder, now: Moment) -> None:
        """Hold an order in place of an older one of its schedule; what was settled stays settled.

        An order of before this memory was accepted may have begun in the lost part of its life.
        """
        cursor = order.valid_from_us - 1
        for kept in list(self._memory.orders.values()):
            if kept.order.schedule_id != order.schedule_id:
                continue
            if (kept.order.id, kept.order.version) > (order.id, order.version):
                return
            cursor = max(cursor, kept.cursor_us)
            self._ledger.save(DropOrder(kept.order.id))
        self._ledger.save(SaveOrder(KeptOrder(order, cursor)))
        oldest = min((one.instant_us for one in order.exceptions), default=order.valid_from_us)
        self._ledger.save(PruneSettled(order.schedule_id, min(order.valid_from_us - DAY_US, oldest)))
        if max(cursor, order.valid_from_us) < self._memory.durable.accepted_us:
            self._give_up_past(KeptOrder(order, cursor), now)

    def release(self, order_id: int) -> tuple[int, ...]:
        """Give an order back; return its instants that began here. An unknown order has none."""
        kept = self._memory.orders.get(order_id)
        if kept is None:
            return ()
        self._ledger.save(DropOrder(order_id))
        bits = self._memory.settled.get(kept.order.schedule_id, {})
        oldest = min((one.instant_us for one in kept.order.exceptions), default=kept.order.valid_from_us)
        since = min(kept.order.valid_from_us, oldest)
        return tuple(sorted(at for at, began in bits.items() if began and at >= since))

    def dispatch(self, message: wire.Dispatch, now: Moment) -> None:
        """Begin or hold one run; a known key changes nothing."""
        if message.key not in self._memory.runs and message.specification.job_id:
            schedule = parse_key(message.key).schedule_id if message.scheduled_for_us is not None else None
            run = self._record(message.key, message.specification, now)
            values = {
                "schedule_id": None,
                "scheduled_for_us": message.scheduled_for_us,
                "attempt": message.attempt,
                "group": message.group,
                "resume": message.resume,
                "checkpoint": CheckpointNote(message.resume.number if message.resume else 0),
            }
            if schedule is not None and message.scheduled_for_us is not None:
                self._ledger.save(SaveSettled(schedule, message.scheduled_for_us, True))
            self._submit(msgspec.structs.replace(run, **values), now)

    def react(self, key: str, specification: Specification, monitor_id: int, now: Moment) -> None:
        """Begin or hold the run of an event; a known key changes nothing."""
        if key not in self._memory.runs:
            run = self._record(key, specification, now)
            self._submit(msgspec.structs.replace(run, monitor_id=monitor_id), now)

    def begin_step(self, key: str, specification: Specification, now: Moment) -> None:
        """Begin a step of a chain: whoever asks has seen that nothing is in the way."""
        run = self._record(key, specification, now)
        self._begin(msgspec.structs.replace(run, attempt=parse_key(key).attempt), now)

    def in_the_way(self, key: str) -> str:
        """Why the master decides when a step behind this run begins, or "": any gate, a stopped scheduler too."""
        run = self._memory.runs.get(key)
        name = run.specification.job_name if run is not None else ""
        _, reason = on_occurrence(self._gates(), tenant_of(name))
        return reason or self._hold_reason(name)

    def is_active(self, job_id: int) -> bool:
        """Whether a run of the job waits or runs here."""
        keys = self.running | self.awaiting | self._held
        return any(self._memory.runs[key].specification.job_id == job_id for key in keys)

    def stop(self, message: wire.StopRun, now: Moment) -> None:
        """Stop a run; one that never came here is reported as such and will not begin."""
        cause = "killed" if message.kill else "cancelled"
        run = self._memory.runs.get(message.key)
        if run is None:
            run = msgspec.structs.replace(self._record(message.key, NO_SPECIFICATION, now), stop=cause)
            self._end(run, never(now, "never started"), now)
            self._ledger.output_done(run.key)
        elif run.state == "held":
            self._held.discard(run.key)
            self._end(run, never(now, cause), now)
        elif run.state == "intent":
            self._ledger.save(SaveRun(msgspec.structs.replace(run, stop=cause)))
            self._ledger.out.stops.append(message)

    def cut(self, key: str, cause: str) -> None:
        """End a running run from here: SIGTERM, and SIGKILL after the grace. A stop that was asked for before stays."""
        run = self._memory.runs.get(key)
        if run is not None and run.state == "intent":
            if not run.stop:
                self._ledger.save(SaveRun(msgspec.structs.replace(run, stop=cause)))
            self._ledger.out.stops.append(wire.StopRun(key))

    @property
    def held(self) -> list[str]:
        """Keys of the runs that are due and wait here, in the order in which they were held."""
        return sorted(self._held, key=lambda key: self._memory.runs[key].turn)

    def recall(self, message: wire.Recall, now: Moment) -> None:
        """Give back a run that has not begun, and forget it, so that it may be sent here again."""
        run = self._memory.runs.get(message.key)
        if run is not None and run.state != "held":
            return
        if run is not None:
            self._held.discard(run.key)
            self._ledger.save(DropRuns((run.key,)))
        name = run.specification.job_name if run is not None else ""
        end = msgspec.structs.replace(never(now, "recalled"), job_name=name, recall=message.recall)
        self._ledger.report(message.key, end, now)

    def expire(self, now: Moment) -> None:
        """Bare keys of forgotten runs go after eight days."""
        gone = tuple(
            run.key
            for run in self._memory.runs.values()
            if run.state == "forgotten" and now.wall_us - run.at_us > TOMBSTONE_US
        )
        if gone:
            self._ledger.save(DropRuns(gone))

    def _state(self, run: RunRecord) -> str:
        return "running" if run.key in self.running and run.state == "intent" else run.state

    def _hold_reason(self, job_name: str = "") -> str:
        """Why nothing of this job begins here; without a name why nothing at all does."""
        return holds(self._gates(), tenant_of(job_name)) or ("agent disk full" if self.disk_full else "")

    def _gates(self) -> tuple[str, ...]:
        """The kinds of gates in force here: the master's, and the drain of an agent that is being stopped."""
        kinds = self._memory.durable.gates.kinds
        return (*kinds, DRAINING) if self.draining else kinds

    def _undeployed(self, group: str) -> str:
        """Why nothing of a group starts here, or ""; a master that never spoke of deployments is not doubted."""
        durable = self._memory.durable
        if not group or not durable.deployment or group in durable.groups:
            return ""
        return f"not deployed in group {group}"

    def _judge(self, past: list[int], order: wire.StandingOrder, now: Moment) -> list[int]:
        chosen = []
        for verdict in judge_past(past, order.specification, now.wall_us):
            if verdict.runs:
                chosen.append(verdict.instant_us)
            else:
                self._suppress(verdict.instant_us, order, "agent was not running", verdict.settled, now)
        return chosen

    def _occur(self, at: int, order: wire.StandingOrder, now: Moment) -> None:
        special = occurrence_exceptions.find(order.exceptions, at)
        specification = order.specification if special is None else special.applied(order.specification)
        verdict, reason = on_occurrence(self._gates(), tenant_of(specification.job_name))
        if special is not None and special.skipped:
            self._suppress(at, order, special.skipped, True, now)
        elif verdict is Verdict.MISS:
            self._suppress(at, order, reason, False, now)
        elif is_given_up(specification, self.answered_us, now.boot_us):
            self._suppress(at, order, f"no master answered for {specification.give_up_after_s} s", False, now)
        elif specification.skip_if_running and self.is_active(specification.job_id):
            self._suppress(at, order, "still running", True, now)
        else:
            self._ledger.save(SaveSettled(order.schedule_id, at, True))
            key = occurrence_key(specification.job_id, order.schedule_id, at)
            if key not in self._memory.runs:
                run = self._record(key, specification, now)
                values = {"schedule_id": order.schedule_id, "scheduled_for_us": at}
                self._submit(msgspec.structs.replace(run, **values), now)

    def _suppress(self, at: int, order: wire.StandingOrder, cause: str, settled: bool, now: Moment) -> None:
        self._ledger.save(SaveSettled(order.schedule_id, at, False))
        job_id = order.specification.job_id
        self._ledger.report("", wire.Suppressed(job_id, order.schedule_id, at, cause, settled), now)

    def _record(self, key: str, specification: Specification, now: Moment) -> RunRecord:
        self._turn += 1
        epoch = self._memory.durable.epoch.number
        return RunRecord(key, specification, "held", self._turn, now.wall_us, self._boot_id, epoch_number=epoch)

    def _submit(self, run: RunRecord, now: Moment) -> None:
        reason = self._hold_reason(run.specification.job_name) or self._undeployed(run.group)
        if not reason:
            self._begin(run, now)
            return
        self._held.add(run.key)
        self._ledger.save(SaveRun(run))
        held = wire.Held(_said(run), run.scheduled_for_us, run.attempt, reason)
        self._ledger.report(run.key, held, now)

    def _begin(self, run: RunRecord, now: Moment) -> None:
        intent = msgspec.structs.replace(run, state="intent", at_us=now.wall_us, boot_id=self._boot_id)
        self.awaiting.add(run.key)
        self._ledger.save(SaveRun(intent))
        self._ledger.report(run.key, wire.Begun(_said(run), run.scheduled_for_us, run.attempt), now)
        self._ledger.out.starts.append(intent)

    def _end(self, run: RunRecord, end: wire.Ended, now: Moment) -> None:
        self.awaiting.discard(run.key)
        self.running.discard(run.key)
        named = msgspec.structs.replace(end, cause=run.stop or end.cause, job_name=run.specification.job_name)
        self._ledger.save(SaveRun(msgspec.structs.replace(run, state="ended", resume=None)))
        self._ledger.report(run.key, named, now)
        if end.output_bytes == 0:
            self._ledger.output_done(run.key)


def _said(run: RunRecord) -> Specification:
    """What a report says of the specification: nothing of its secrets."""
    return msgspec.structs.replace(run.specification, sealed="")


def never(now: Moment, cause: str) -> wire.Ended:
    """The end of a run that had no process."""
    return wire.Ended(None, None, None, now.wall_us, 0, False, cause)
