"""Workflows on agents that are the shipped session: what master and agent do about a step, message by message."""

from __future__ import annotations

import msgspec

from replication.core.types import Epoch
from server.actions import checkpoints as checkpoint_actions
from server.actions import reconciliation, reports, runs, step_chains
from server.actions import requests as request_actions
from server.core import agent_wire as wire
from server.storage import agents as agent_rows
from server.storage import checkpoints
from server.storage import runs as run_rows
from tests.unit.agent_world import A, World
from tests.unit.floor import Floor


class ChainFloor(Floor):
    """A floor whose agents are sessions. `office` is the number of the present epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.worlds = {name: World(wall_us=self.now_us, place=f"disk of {name}") for name in self.ids}
        self.linked: dict[str, bool] = {}
        self.office = 1
        self._read: dict[str, int] = {}
        self._stopped: set[tuple[int, bool]] = set()
        for name in self.worlds:
            self.connect(name)

    def connect(self, name: str) -> None:
        """The agent presents itself to the present master, is let in, and everything is told on both sides."""
        world = self.worlds[name]
        world.do(world.session.link_closed(A))
        self._read[name] = len(world.sent)
        world.do(world.session.link_opened(A))
        world.hear(wire.Office(A, "master", Epoch(self.office, A), world.wall_us, protocol=wire.PROTOCOL))
        self.linked[name] = True
        self.pump()

    def cut(self, name: str) -> None:
        """The link is gone, and the master calls the agent silent."""
        world = self.worlds[name]
        self.linked.pop(name)
        world.do(world.session.link_closed(A))
        self.ledger.do(reconciliation.fall_silent(self.ids[name], self.now_us, self.now_us))
        self.follow()

    def next_office(self) -> None:
        """Another master takes office on the same rows; nobody is connected to it yet."""
        self.office += 1
        for name in list(self.linked):
            self.cut(name)
        self.ledger.do(reconciliation.open_epoch(self.office, self.now_us))

    def pump(self) -> None:
        """Everything that is under way arrives, until nothing is."""
        for _ in range(50):
            self.follow()
            self.ledger.do(runs.submit_waiting(self.now_us))
            before = self.ledger.connection.total_changes
            heard = [self._hear(name) for name in list(self.linked)]
            for name in list(self.linked):
                self._bring(name)
            if not any(heard) and self.ledger.connection.total_changes == before:
                return
        raise AssertionError("they talk for ever")

    def _hear(self, name: str) -> bool:
        world, agent_id = self.worlds[name], self.ids[name]
        fresh, self._read[name] = world.sent[self._read[name] :], len(world.sent)
        for _, message in fresh:
            if isinstance(message, wire.Present):
                hello = wire.Hello(agent_id, wire.PROTOCOL, "1", world.boot, "", world.wall_us)
                verdict = self.ledger.do(reconciliation.present(agent_id, hello, message, self.office, self.now_us))
                assert verdict.admitted is not None, verdict.refusal
                world.hear(verdict.admitted)
            elif isinstance(message, reports.Recordable):
                self.ledger.do(reports.record(agent_id, [message], self.office, self.now_us))
                self.follow()  # between any two reports, as the scheduler may
                if isinstance(message, wire.Report):
                    world.hear(wire.Kept((message.id,), 1, True))
                if isinstance(message, wire.TicketKept):
                    self.ledger.do(runs.agent_is_back(agent_id, self.now_us))
        return bool(fresh)

    def _bring(self, name: str) -> None:
        world, agent_id, connection = self.worlds[name], self.ids[name], self.ledger.connection
        agent = agent_rows.get(connection, agent_id)
        if agent is None or agent.ticket != agent.ticket_confirmed or agent.quarantined_at_us is not None:
            return
        for message in self.ledger.do(step_chains.renew(agent_id, self.now_us)):
            world.hear(message)
        for one in self.ledger.do(reconciliation.dispatch(agent_id, self.office, self.now_us)):
            self.given[one.dispatch.key] = one.dispatch
            world.hear(one.dispatch)
        suspending = [run.number for run in checkpoints.to_suspend(connection, agent_id)]
        for run in self.ledger.do(checkpoint_actions.mark_suspends_sent(suspending, self.now_us)) if suspending else ():
            world.hear(wire.Suspend(run.key))
        wanted = [run for run in run_rows.to_cancel(connection, agent_id) if run.dispatched_epoch is not None]
        fresh = [run.number for run in wanted if (run.number, run.cancel_kill) not in self._stopped]
        for run in self.ledger.do(request_actions.mark_stops_sent(fresh, self.now_us)) if fresh else ():
            self._stopped.add((run.number, run.cancel_kill))
            world.hear(wire.StopRun(run.key, run.cancel_kill))

    def finish(self, name: str, step: str, code: int | None = 0, cause: str = "", **outputs: str) -> None:
        """The process of a step ends on its agent; who is connected hears of it."""
        world = self.worlds[name]
        [key] = [one for one, said in self.running(name).items() if said == step]
        ended = msgspec.structs.replace(world.end(code, cause), outputs=outputs)
        world.do(world.session.ended(key, ended, world.now))
        self.pump()

    def running(self, name: str) -> dict[str, str]:
        """The steps that have a process on an agent now, by key."""
        runs_there = self.worlds[name].disk.runs.values()
        return {
            run.key: run.specification.environment["UNDERSTUDY_STEP"] for run in runs_there if run.state == "intent"
        }

    def began(self, *names: str) -> list[str]:
        """`step.attempt` of everything that began there, each key once, in order; of all agents without names."""
        found = []
        for name in names or self.worlds:
            assert set(self.worlds[name].processes.values()) <= {1}, "a key began twice"
            found += [self._said(key) for key in self.worlds[name].processes]
        return found

    def _said(self, key: str) -> str:
        name = self.ledger.connection.execute(
            "SELECT workflow_step FROM jobs WHERE id = ?", (int(key[1 : key.index(".")]),)
        ).fetchone()[0]
        return f"{name}{key.rpartition('.a')[2]}"
