"""The drain of an agent (SMA-4): it takes no new runs, those that run end, are handed over or are cut. Pure.

A run that saves a checkpoint meanwhile ends at it, to go on from it elsewhere (`core.agent_checkpoints`).

A drain is asked for by a person and comes as the gate `draining`, or the agent begins it when it is stopped. It is over
when every run that ran at its beginning has ended; a requested one then stays in force until it is withdrawn. The limit
counts from when the agent heard of it, by the machine's boot clock.
"""

from __future__ import annotations

import msgspec

from server.core.agent_ledger import Ledger
from server.core.agent_memory import DrainNote
from server.core.agent_reports import DrainBegun, Drained, Parted
from server.core.agent_trust import Moment
from server.core.agent_work import Work
from server.core.gates import DRAINING
from server.core.model import SECOND_US

REQUEST, STOP = "request", "stop"
FINISHED, CUT, HANDED_OVER = "finished", "cut", "handed over"
NOT_STARTED, INTERRUPTED, RUNNING = "not started", "interrupted", "running"
OUTCOMES = (FINISHED, CUT, HANDED_OVER, INTERRUPTED, RUNNING, NOT_STARTED)
"""What may become of a run; pages and commands count them in this order."""
CUT_CAUSE, HAND_OVER_CAUSE = "drained", "handed over"
"""What the end of a run says as its cause."""

ON_STOP = ("auto", "keep", "drain")
"""What SIGTERM means to an agent; see `drains_on_stop` and docs/decisions/0081."""


def drains_on_stop(setting: str, machine_stops: bool) -> bool:
    """Whether SIGTERM or SIGINT drains first. Otherwise the runs go on under their keeper, and the next start has them.

    `auto` tells the machine's shutdown from a restart of the program. An unknown setting counts as `auto`.
    """
    return setting == "drain" or (setting != "keep" and machine_stops)


class Drain:
    """The drain of one agent."""

    def __init__(self, ledger: Ledger, work: Work, boot_id: str) -> None:
        self._ledger = ledger
        self._work = work
        self._boot_id = boot_id
        self._cut: set[str] = set()
        """Runs that this process has ended: after a restart in the middle they are signalled again."""

    @property
    def is_over(self) -> bool:
        """No drain is under way here."""
        return self._note is None or self._note.is_over

    @property
    def _note(self) -> DrainNote | None:
        return self._ledger.memory.durable.drain

    def hands_over(self, key: str) -> bool:
        """Whether the run is to end at the checkpoint that it has just saved, to go on elsewhere from it."""
        note = self._note
        if note is None or note.is_over or (note.origin == STOP and not self._work.draining):
            return False
        return key in note.keys

    def follow(self, now: Moment) -> None:
        """Look at the gates that have just become durable: a drain is asked for, goes on, or is withdrawn."""
        gates, note = self._ledger.memory.durable.gates, self._note
        wanted = gates.drain_at_us if DRAINING in gates.kinds else 0
        if note is not None and note.origin == REQUEST and note.asked_at_us != wanted:
            if not note.is_over:
                self._finish(note, now, withdrawn=True)
            self._save(None)
        if wanted and (self._note is None or (self._note.origin == STOP and not self._work.draining)):
            self._begin(wanted, REQUEST, gates.drain_s, now)

    def begin_stop(self, now: Moment) -> None:
        """The program is to end: drain for as long as it was set, or go on with the drain that was asked for."""
        if self._note is None or self._note.origin == STOP:
            self._work.draining = True
            self._begin(now.wall_us, STOP, self._ledger.memory.durable.gates.drain_s, now)

    def resume(self, now: Moment) -> None:
        """A master listens again: tell of a stop in an earlier life of the program; its drain ended with that."""
        note = self._note
        if note is not None and note.origin == STOP and not self._work.draining:
            if not note.is_over:
                self._finish(note, now)
            self._save(None)

    def ended(self, key: str, cause: str, now: Moment) -> None:
        """A run is over, by itself or because it was ended here. It is looked at once."""
        note = self._note
        if note is None or note.is_over or key not in note.keys or any(one.key == key for one in note.parted):
            return
        run = self._ledger.memory.runs[key]
        causes = {CUT_CAUSE: CUT, HAND_OVER_CAUSE: HANDED_OVER}
        outcome = INTERRUPTED if cause == "interrupted" else causes.get(run.stop, FINISHED)
        one = Parted(key, run.specification.job_name, outcome)
        self._save(msgspec.structs.replace(note, parted=(*note.parted, one)))
        self.tick(now)

    def tick(self, now: Moment) -> None:
        """End at the limit what still runs; be over when nothing is left."""
        note = self._note
        if note is None or note.is_over or (note.origin == STOP and not self._work.draining):
            return
        left = self._left(note)
        if not left:
            self._finish(note, now)
            return
        is_late = (
            note.boot_id == self._boot_id and now.boot_us >= note.deadline_us
        )  # after a boot nothing is left to cut
        for key in left:
            if key not in self._cut and is_late:
                self._cut.add(key)
                self._work.cut(key, CUT_CAUSE)

    def _begin(self, asked_at_us: int, origin: str, limit_s: int, now: Moment) -> None:
        keys = tuple(sorted(self._work.awaiting | self._work.running))
        deadline_us = now.boot_us + limit_s * SECOND_US
        self._cut.clear()
        self._save(DrainNote(asked_at_us, origin, limit_s, self._boot_id, deadline_us, keys))
        self._ledger.report("", DrainBegun(asked_at_us, origin, limit_s), now)
        self.tick(now)

    def _left(self, note: DrainNote) -> list[str]:
        """Runs of its beginning that have not ended. One that the memory has ended meanwhile counts as such."""
        parted = {one.key for one in note.parted}
        runs = self._ledger.memory.runs
        return [key for key in note.keys if key not in parted and key in runs and runs[key].state == "intent"]

    def _finish(self, note: DrainNote, now: Moment, withdrawn: bool = False) -> None:
        runs = self._ledger.memory.runs
        left = [Parted(key, runs[key].specification.job_name, RUNNING) for key in self._left(note)]
        held = [Parted(key, runs[key].specification.job_name, NOT_STARTED) for key in self._work.held]
        outcomes = (*note.parted, *left, *held)
        self._ledger.report("", Drained(note.asked_at_us, note.origin, outcomes, withdrawn), now)
        self._save(msgspec.structs.replace(note, keys=(), parted=(), is_over=True))

    def _save(self, note: DrainNote | None) -> None:
        self._ledger.change(drain=note)
