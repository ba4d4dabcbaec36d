"""Checkpoints of the runs of one agent: taken, counted, and the places where a run is ended on purpose (SMA-1, SMA-3).

A checkpoint is a report: it and its number are durable before the job is answered. Where the run is to end at it
(somebody suspends it, or the agent drains), the job is not answered at all: nothing behind the checkpoint begins before
the processes are ended.
"""

from __future__ import annotations

import hashlib

import msgspec

from server.core.agent_drain import HAND_OVER_CAUSE, Drain
from server.core.agent_ledger import CheckpointAnswer, Ledger
from server.core.agent_memory import RunRecord, SaveRun
from server.core.agent_reports import Checkpointed
from server.core.agent_trust import Moment
from server.core.agent_wire import StopRun
from server.core.agent_work import Work
from server.core.checkpoint_messages import (
    CHECKPOINT_BYTES_MAX,
    PROGRESS_TEXT_MAX,
    SUSPENDED_CAUSE,
    Progress,
    Suspend,
)

PENDING_BYTES_MAX = 64 << 20
"""Of all checkpoints that no master has acknowledged: above it a job is refused."""
REQUESTS_KEPT = 8
ENDS_HERE = (SUSPENDED_CAUSE, HAND_OVER_CAUSE)


class Checkpoints:
    """Of one start of the agent program."""

    def __init__(self, ledger: Ledger, work: Work, drain: Drain) -> None:
        self._ledger = ledger
        self._memory = ledger.memory
        self._work = work
        self._hands_over = drain.hands_over
        self._pending: dict[str, dict[int, tuple[int, int]]] = {}
        """By run key: checkpoint number -> (report, bytes) of those that may not be acknowledged yet."""
        for report in self._memory.reports.values():
            if isinstance(report.body, Checkpointed):
                self._note_pending(report.key, report.body, report.id)
        self._ending: set[str] = set()
        self._withheld: dict[str, list[int]] = {}
        self._progress: dict[str, Progress] = {}

    def take(self, question: int, key: str, data: bytes | None, request: str, suspends: bool, now: Moment) -> None:
        """A job saves its state, once for each `request`. The outcome answers `question`, unless the run ends here.

        `data` None, with `suspends`: end it at the checkpoint that it has.
        """
        run = self._memory.runs.get(key)
        refusal = self._why_not(key, run, data)
        if refusal is not None or run is None:
            self._answer(question, refusal or CheckpointAnswer())
            return
        if run.stop in ENDS_HERE:
            self._withheld.setdefault(key, []).append(question)
            return
        known = dict(run.checkpoint.requests).get(request)
        if known is not None:
            self._answer(question, CheckpointAnswer(known))
            return
        number = run.checkpoint.number
        if data is not None or not number:
            number = self._keep(run, data or b"", request, now)
            run = self._memory.runs[key]
        if suspends or run.suspend:
            self._end(run, SUSPENDED_CAUSE)
        elif self._hands_over(key):
            self._end(run, HAND_OVER_CAUSE)
        else:
            self._answer(question, CheckpointAnswer(number))
            return
        self._withheld.setdefault(key, []).append(question)

    def is_replicated(self, key: str, number: int) -> bool:
        """Whether checkpoint `number`, or a later one of the run, is acknowledged by a master that has a standby."""
        run, left = self._memory.runs.get(key), self._left(key)
        if run is None or number > run.checkpoint.number or number in left:
            return False
        return number > run.checkpoint.withdrawn or run.checkpoint.number not in left

    def suspend(self, message: Suspend) -> None:
        """End the run at its next checkpoint, or let it go on after all. One that is over answers by its end."""
        run = self._memory.runs.get(message.key)
        if run is not None and run.state in ("held", "intent") and run.suspend != message.wanted:
            self._ledger.save(SaveRun(msgspec.structs.replace(run, suspend=message.wanted)))

    def began(self, key: str) -> None:
        """Its process exists: what it went on from is not needed any more. One that was to end at a checkpoint, when
        this program died between the two, is ended now.
        """
        run = self._memory.runs.get(key)
        if run is None or run.state != "intent":
            return
        if run.resume is not None:
            run = msgspec.structs.replace(run, resume=None)
            self._ledger.save(SaveRun(run))
        if run.stop in ENDS_HERE and key not in self._ending:
            self._end(run, run.stop)

    def ended(self, key: str) -> None:
        """The run is over: what waits for an answer gets one, though nobody may be left to hear it."""
        self._ending.discard(key)
        self._progress.pop(key, None)
        for question in self._withheld.pop(key, ()):
            detail = "The run was ended at this checkpoint, to go on from it later."
            self._answer(question, CheckpointAnswer(code="unavailable", detail=detail))

    def note_progress(self, key: str, percent: int, text: str, now: Moment) -> CheckpointAnswer:
        """The last one goes out with the next heartbeat; nothing of it is kept."""
        run = self._memory.runs.get(key)
        refusal = self._why_not(key, run, None)
        if refusal is not None:
            return refusal
        if not 0 <= percent <= 100 or len(text) > PROGRESS_TEXT_MAX:
            detail = f"Say a number from 0 to 100 and a text of at most {PROGRESS_TEXT_MAX} characters."
            return CheckpointAnswer(code="invalid", detail=detail)
        self._progress[key] = Progress(key, percent, text, now.wall_us)
        return CheckpointAnswer()

    def tell_progress(self, node: str) -> None:
        """Send what was said since the last time to the obeyed master, if there is one."""
        for progress in self._progress.values() if node else ():
            self._ledger.send(node, progress)
        if node:
            self._progress.clear()

    def _keep(self, run: RunRecord, data: bytes, request: str, now: Moment) -> int:
        """Report it, and withdraw the oldest beyond what the job keeps of those that no master has."""
        note = run.checkpoint
        body = Checkpointed(note.number + 1, data, hashlib.sha256(data).hexdigest())
        self._note_pending(run.key, body, self._ledger.report(run.key, body, now))
        left = self._left(run.key)
        old = sorted(left)[: -max(run.specification.checkpoints_kept, 1)]
        withdrawn = max(old, default=note.withdrawn)
        self._ledger.withdraw(tuple(left[number][0] for number in old))
        requests = (*note.requests[1 - REQUESTS_KEPT :], (request, body.number))
        note = msgspec.structs.replace(note, number=body.number, withdrawn=withdrawn, requests=requests)
        self._ledger.save(SaveRun(msgspec.structs.replace(self._memory.runs[run.key], checkpoint=note)))
        return body.number

    def _end(self, run: RunRecord, cause: str) -> None:
        """End the processes, and have the end say why."""
        self._ending.add(run.key)
        if run.stop != cause:
            self._ledger.save(SaveRun(msgspec.structs.replace(run, stop=cause)))
        self._ledger.out.stops.append(StopRun(run.key))

    def _why_not(self, key: str, run: RunRecord | None, data: bytes | None) -> CheckpointAnswer | None:
        if run is None or run.state == "forgotten":
            return CheckpointAnswer(code="not_found", detail=f"This agent has no run {key}.")
        if run.state != "intent":
            return CheckpointAnswer(code="conflict", detail=f"The run {key} is over. Nothing more is kept of it.")
        if data is None:
            return None
        if len(data) > CHECKPOINT_BYTES_MAX:
            detail = f"A checkpoint has at most {CHECKPOINT_BYTES_MAX} bytes; these are {len(data)}. Nothing was kept."
            return CheckpointAnswer(code="invalid", detail=detail)
        if self._work.disk_full:
            detail = "The agent's disk is at its reserve: free disk space. Nothing was kept, earlier checkpoints stand."
            return CheckpointAnswer(code="unavailable", detail=detail)
        waiting = sum(size for key in list(self._pending) for _, size in self._left(key).values())
        if waiting + len(data) > PENDING_BYTES_MAX:
            detail = f"{waiting >> 20} MiB of checkpoints wait for a master already. Nothing was kept."
            return CheckpointAnswer(code="unavailable", detail=detail)
        return None

    def _left(self, key: str) -> dict[int, tuple[int, int]]:
        """Checkpoints of a run whose reports are still here."""
        found = {n: at for n, at in self._pending.get(key, {}).items() if at[0] in self._memory.reports}
        if found:
            self._pending[key] = found
        else:
            self._pending.pop(key, None)
        return found

    def _note_pending(self, key: str, body: Checkpointed, report: int) -> None:
        self._pending.setdefault(key, {})[body.number] = (report, len(body.data))

    def _answer(self, question: int, answer: CheckpointAnswer) -> None:
        self._ledger.out.answers.append((question, answer))
