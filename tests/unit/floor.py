"""Agents that do workflows' steps, and the scheduler that follows, by hand: for tests of what runs workflows."""

from __future__ import annotations

from server.actions import reconciliation, runs, workflow_runs, workflows
from server.actions.happenings import follow
from server.core import agent_wire as wire
from server.core.model import SYSTEM
from server.core.workflow_runs import WorkflowRun
from server.core.workflows import Edge, WorkflowSpec, WorkflowStep, as_json
from server.storage import runs as run_rows
from server.storage import workflow_runs as rows
from tests.unit.group_site import Site

END = {"ok": (0, ""), "bad": (3, ""), "gone": (None, "interrupted")}


def step(name: str, *after: str, **more: object) -> WorkflowStep:
    """A step with a command, after others that have succeeded."""
    return WorkflowStep(name=name, **{"command": f"do {name}", "after": [Edge(step=one) for one in after], **more})  # type: ignore[arg-type]  # any field


class Floor(Site):
    """A site with workflows: agents that do what they are told at once, and the scheduler's following."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[str] = []
        self.given: dict[str, wire.Dispatch] = {}
        self._report = 0

    def workflow(self, *steps: WorkflowStep, name: str = "flow", **more: object) -> None:
        """Add a workflow whose steps run on `alpha` unless they say otherwise."""
        spec = WorkflowSpec(name=name, steps=list(steps), **{"agent": "alpha", **more})  # type: ignore[arg-type]  # any field
        self.ledger.do(workflows.create(as_json(spec), SYSTEM, self.now_us))

    def start(self, name: str = "flow", request: str = "one", **variables: str) -> WorkflowRun:
        """Ask for a run of it."""
        return self.ledger.do(workflow_runs.run(name, request, variables, SYSTEM, self.now_us))

    def follow(self) -> None:
        """What the scheduler does, until there is nothing more."""
        while self.ledger.do(follow(self.now_us)):
            pass

    def sent(self) -> list[str]:
        """Place, send, and begin what is sent; the keys of what began."""
        self.follow()
        self.ledger.do(runs.submit_waiting(self.now_us))
        self.place()
        begun = []
        for name, agent_id in self.ids.items():
            if agent_id in self.connected:
                for one in self.ledger.do(reconciliation.dispatch(agent_id, 1, self.now_us)):
                    self.given[one.dispatch.key] = one.dispatch
                    self.tell(
                        name, one.dispatch.key, wire.Begun(one.dispatch.specification, None, one.dispatch.attempt)
                    )
                    begun.append(one.dispatch.key)
        self.follow()
        return begun

    def tell(self, name: str, key: str, body: wire.Body) -> None:
        """An agent's report."""
        self._report += 1
        self.report(name, key, body, self._report)

    def end(self, key: str, how: str = "ok", **outputs: str) -> None:
        """The run's agent says that it is over."""
        name = self.where(key)
        code, cause = END[how]
        ended = wire.Ended(code, None, self.now_us, self.now_us, 0, False, cause, outputs=outputs)
        self.tell(name, key, ended)
        self.follow()

    def step_of(self, key: str) -> str:
        """Which step a run is of."""
        return self.given[key].specification.environment["UNDERSTUDY_STEP"]

    def work(self, **ends: str) -> list[str]:
        """Let everything run, each step ending as `ends` says; the steps in the order in which they began."""
        begun = []
        while keys := self.sent():
            for key in keys:
                begun.append(self.step_of(key))
                self.end(key, ends.get(self.step_of(key), "ok"))
        return begun

    def where(self, key: str) -> str:
        """The agent that a run was given to."""
        run = run_rows.by_key(self.ledger.connection, key)
        return next(name for name, agent_id in self.ids.items() if run is not None and agent_id == run.agent_id)

    def run(self, number: int = 1) -> WorkflowRun:
        """The row of a workflow's run."""
        found = rows.get(self.ledger.connection, number)
        assert found is not None
        return found

    def states(self, number: int = 1) -> list[str]:
        """The state of each item."""
        return [row.state for row in rows.items(self.ledger.connection, number)]
