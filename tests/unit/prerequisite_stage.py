"""A scheduler with jobs that wait for each other, for tests that let things happen by hand."""

from __future__ import annotations

import msgspec

from server.actions import jobs
from server.core.model import SYSTEM, Run
from server.core.monitors import Event
from server.storage import events, monitors, prerequisites, rows
from server.storage import jobs as job_rows
from server.storage import runs as run_rows
from server.storage.prerequisites import ConditionRow
from tests.unit.stage import Stage

STATES = {
    "submitted": "starting", "running": "running", "completed": "succeeded", "failed": "failed",
    "cancelled": "cancelled", "skipped": "skipped",
}  # fmt: skip
"""A state of a run that has the status."""


class PrerequisiteStage(Stage):
    """The jobs `a`, `b`, `c`, the event monitor `door`, and what a test adds."""

    def __init__(self, *texts: str) -> None:
        super().__init__()
        for name in "abc":
            self.ledger.add_job(name, cron="")
        self.numbers = 0
        spec = {"name": "door", "agent_id": ("north" * 32)[:32], "kind": "manual", "settings": "{}", "enabled": 1}
        spec |= {"version": 1, "created_at_us": 0, "updated_at_us": 0}
        rows.insert(self.ledger.connection, "monitors", spec)
        for number, text in enumerate(texts):
            self.ledger.add_job(f"t{number}" if number else "t", cron="", prerequisites=text)

    def job_id(self, name: str) -> int:
        job = job_rows.by_name(self.ledger.connection, name)
        assert job is not None
        return job.id

    def change(self, name: str, **values: object) -> None:
        """Change a job as a person does."""
        spec = jobs.JobSpec(name=name, command="true", agent="north")
        self.ledger.do(jobs.update(name, msgspec.structs.replace(spec, **values), SYSTEM, self.clock.now_us))

    def begin(self, source: str, state: str = "running", **more: object) -> int:
        """A run of a job is there, in that state."""
        self.numbers += 1
        key = f"j{self.job_id(source)}.rtest-{self.numbers}.a1"
        north = ("north" * 32)[:32]
        now_us = self.clock.now_us
        return run_rows.insert(
            self.ledger.connection, key, self.job_id(source), north, "true", state, now_us, dispatched_epoch=1, **more
        )

    def reach(self, number: int, state: str) -> None:
        """The run changed its state."""
        run_rows.set_state(self.ledger.connection, number, state, self.clock.now_us)

    def fire(self) -> None:
        """The event monitor fires."""
        self.numbers += 1
        monitor = monitors.by_name(self.ledger.connection, "door")
        assert monitor is not None
        event = Event(
            id=0, monitor_id=monitor.id, token=f"t{self.numbers}", number=self.numbers, what="", variables={},
            at_us=self.clock.now_us, fired_by="test", recorded_at_us=self.clock.now_us,
        )  # fmt: skip
        events.insert(self.ledger.connection, event)

    async def happen(self, what: str) -> None:
        """`a completed`: a new run of a reaches that status and the scheduler follows; `door` fires; `turn` nothing."""
        source, _, status = what.partition(" ")
        if source == "door":
            self.fire()
        else:
            self.begin(source, STATES.get(status, status))
        await self.turn()

    def runs(self, name: str = "t") -> list[Run]:
        """The runs of a job, by number."""
        found = run_rows.page(self.ledger.connection, job_id=self.job_id(name), limit=1000)
        return [run for line in reversed(found) if (run := run_rows.get(self.ledger.connection, line.number))]

    def states(self, name: str = "t") -> list[str]:
        return [run.state for run in self.runs(name)]

    def conditions(self, name: str = "t") -> list[ConditionRow]:
        return prerequisites.of_job(self.ledger.connection, self.job_id(name))

    def met(self, name: str = "t") -> set[int]:
        """The numbers of the conditions that are met."""
        return prerequisites.met(self.ledger.connection, self.job_id(name))
