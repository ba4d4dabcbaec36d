"""A ledger with agents and one group, for tests that do the fleet's changes by hand."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from server.actions import groups, jobs, pools, reconciliation, reports, runs
from server.core import agent_wire as wire
from server.core.model import SYSTEM, Run
from server.storage import runs as run_rows
from tests.unit.ledger import START_US
from tests.unit.stage import Stage

NAMES = ("alpha", "beta", "gamma")
WEB = "f" * 32


class Site:
    """A ledger with three agents and the group `web`; the fleet's changes by hand."""

    def __init__(self, policy: str = "least_loaded", members: Iterable[str] = NAMES) -> None:
        self.stage = Stage()
        self.ledger = self.stage.ledger
        self.ids = {name: self.ledger.add_agent(name).id for name in NAMES}
        self.connected = set(self.ids.values())
        spec = groups.GroupSpec(name="web", policy=policy, agents=list(members))
        self.ledger.do(groups.create(spec, WEB, SYSTEM, START_US))

    @property
    def now_us(self) -> int:
        return self.stage.clock.now_us

    def job(self, name: str = "serve", cron: str = "", **more: object) -> None:
        when = [jobs.When(cron)] if cron else []
        spec = jobs.JobSpec(name=name, command="true", group="web", schedules=when)
        self.ledger.do(jobs.create(msgspec.structs.replace(spec, **more), SYSTEM, self.now_us))

    def submit(self, *names: str, job: str = "serve") -> list[Run]:
        return [self.ledger.do(runs.run_now(job, name, SYSTEM, self.now_us)) for name in names]

    def place(self) -> None:
        connection = self.ledger.connection
        self.ledger.do(pools.place_waiting(self.connected, self.now_us))
        self.ledger.do(pools.say_reasons(pools.look(connection, self.connected).reasons, self.now_us))

    def send(self, *names: str, epoch: int = 1) -> dict[str, list[str]]:
        """Dispatch to connected agents; the keys that each was sent."""
        ids = [self.ids[name] for name in names or NAMES]
        found = [self.ledger.do(reconciliation.dispatch(agent_id, epoch, self.now_us)) for agent_id in ids]
        return dict(zip(names or NAMES, [[one.dispatch.key for one in given] for given in found], strict=True))

    def report(self, name: str, key: str, body: wire.Body, number: int = 1) -> None:
        message = wire.Report(number, key, self.now_us, body)
        self.ledger.do(reports.record(self.ids[name], [message], 1, self.now_us))

    def begin(self, name: str, key: str) -> None:
        self.report(name, key, wire.Begun(wire.Specification(job_id=1, job_name="serve", command="true"), None, 1))

    def end(self, name: str, key: str, recall: int = 0) -> None:
        code, cause = (None, "recalled") if recall else (0, "")
        self.report(name, key, wire.Ended(code, None, None, self.now_us, 0, False, cause, "serve", recall))

    def deploy(self, *names: str, **more: object) -> groups.Deployed:
        wanted = msgspec.structs.replace(groups.GroupChange(agents=list(names)), **more)
        return self.ledger.do(groups.update("web", wanted, SYSTEM, self.now_us))

    def run(self, run: Run) -> Run:
        found = run_rows.get(self.ledger.connection, run.number)
        assert found is not None
        return found

    def at(self, run: Run) -> tuple[str, str]:
        """(who has it, state)."""
        line = run_rows.line(self.ledger.connection, run.number)
        assert line is not None
        return line.agent, line.state
