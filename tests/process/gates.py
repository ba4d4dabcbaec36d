"""An agent that is cut off while queues are locked, a run is cancelled and it is drained: everything waits for it.

What was asked is listed, a swap is not safe because of that agent and names it, all survives a failover, what is
withdrawn does not happen, and the rest is obeyed when the agent is back.
"""

from __future__ import annotations

import contextlib
import json
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.namespaces import is_possible, namespaces
from tests.process.programs import until_there

AWAY = "beta"
MACHINES = ("north", "south", AWAY, "agents")


class Absence:
    """Rounds on one pair. `faults` are broken promises, `ran` the keys that a job of the absent agent wrote down."""

    def __init__(self, pair: Pair, say: Callable[[str], None]) -> None:
        self.pair = pair
        self.say = say
        self.faults: list[str] = []
        self.proof = pair.directory / "ran"
        self.go = pair.directory / "go"
        api = pair.node("master").api
        wait = f"echo $UNDERSTUDY_RUN_ID >> {self.proof}; {until_there(self.go, 900)}; exit 7"
        for name, command in (("long", wait), ("new", f"echo $UNDERSTUDY_RUN_ID >> {self.proof}")):
            api.post("/api/v1/jobs", {"name": name, "command": command, "agent": AWAY}, key=f"make-{name}")

    def round(self, number: int, failover: bool) -> None:
        """One absence, from a healthy pair to a healthy pair with open queues."""
        master, standby = self.pair.wait_healthy()
        self.go.unlink(missing_ok=True)
        long = self._start(master, "long", number)
        self.pair.wait(f"run {long} to run", lambda: self._run(master, long)["state"] == "running")
        with self._away():
            self._ask(master, long)
            asked = self._requests(master)
            self._expect(asked == ["cancel", "drain", "lock"], f"round {number}: it listed {asked}")
            verdict = self.pair.type(master, "understudy", "swap", "--check", expect=1)
            self._expect(AWAY in verdict, f"round {number}: the verdict does not name {AWAY}: {verdict}")
            if failover:
                master, standby = self._fail_over(master, standby)
                asked = self._requests(master)
                self._expect(asked == ["cancel", "drain", "lock"], f"round {number}: the new master lists {asked}")
            words = ("understudy", "agent", "withdraw", AWAY, "cancel", str(long), "--reason", "it may go on")
            self.pair.type(master, *words)
            new = self._start(master, "new", number)
        back = self._returned(master)
        self._expect(self._run(master, new)["state"] == "waiting", f"round {number}: run {new} does not wait")
        self.go.touch()
        self._conclude(master, number, long, new)
        how = "after a failover " if failover else ""
        self.say(f"round {number}: {how}{AWAY} obeyed {back:.2f} s after it was connected again")

    def _start(self, master: Node, job: str, number: int) -> int:
        return int(master.api.post(f"/api/v1/jobs/{job}/run", key=f"{job}-{number}")["run"])

    def _run(self, master: Node, run: int) -> dict[str, Any]:
        found: dict[str, Any] = master.api.get(f"/api/v1/runs/{run}")
        return found

    @contextlib.contextmanager
    def _away(self) -> Iterator[None]:
        """Its cable is out; on one machine without namespaces its process stands still."""
        if self.pair.network is None:
            self.pair.agents[AWAY].program.send(signal.SIGSTOP)
        else:
            self.pair.network.unplug(AWAY)
        try:
            yield
        finally:
            if self.pair.network is None:
                self.pair.agents[AWAY].program.send(signal.SIGCONT)
            else:
                self.pair.network.plug(AWAY)

    def _ask(self, master: Node, run: int) -> None:
        self.pair.wait(f"{AWAY} to be seen as away", lambda: not self._agent(master)["connected"])
        master.api.post(f"/api/v1/runs/{run}/cancel", {"reason": "not wanted"})
        self.pair.type(master, "understudy", "agent", "drain", AWAY, "--reason", "new disk")
        self.pair.type(master, "understudy", "queue", "lock", "--all")
        status = master.status()
        self._expect(status["queues"]["unacknowledged"] >= 1, f"the status counts nobody: {status['queues']}")

    def _agent(self, master: Node) -> dict[str, Any]:
        found: dict[str, Any] = master.api.get(f"/api/v1/agents/{AWAY}")
        return found

    def _requests(self, master: Node) -> list[str]:
        """The kinds of what the absent agent was asked by people, as the command lists it."""
        listed = json.loads(self.pair.type(master, "understudy", "agent", "requests", AWAY, "--json"))
        return sorted(one["kind"] for one in listed if one["by"] != "scheduler")

    def _unacknowledged(self, master: Node) -> list[str]:
        """The same by the API, which is asked without starting a program."""
        listed = master.api.get("/api/v1/agents/requests", agent=AWAY)["requests"]
        return [one["kind"] for one in listed if one["by"] != "scheduler"]

    def _fail_over(self, master: Node, standby: Node) -> tuple[Node, Node]:
        master.program.kill()
        self.pair.type(standby, "standby-to-master", "--yes")
        self.pair.wait("the standby to be master", standby.is_master)
        master.program.start()
        self.pair.wait("the old master to stand by", lambda: standby.status().get("in_sync"))
        return standby, master

    def _returned(self, master: Node) -> float:
        """Seconds from the moment in which the master has the agent again until it has acknowledged everything."""
        self.pair.wait(f"{AWAY} to be back", lambda: self._agent(master)["connected"])
        began = time.monotonic()
        self.pair.wait(f"{AWAY} to acknowledge", lambda: not self._unacknowledged(master))
        return time.monotonic() - began

    def _conclude(self, master: Node, number: int, long: int, new: int) -> None:
        """The run that was to be cancelled ends by itself, the drain says so, and what waited begins once, at last."""

        def drained() -> dict[str, Any] | None:
            latest: dict[str, Any] = master.api.get(f"/api/v1/agents/{AWAY}/drains")[0]
            return latest if latest["state"] == "drained" else None

        drain = self.pair.wait("the drain to be over", drained)
        ended = self._run(master, long)
        self._expect((ended["state"], ended["exit_code"]) == ("failed", 7), f"round {number}: the run ended as {ended}")
        self._expect(drain["counts"].get("finished") == 1, f"round {number}: the drain says {drain['counts']}")
        self.pair.type(master, "understudy", "agent", "undrain", AWAY)
        waiting = self._run(master, new)
        self._expect(waiting["reason"] == "queue locked", f"round {number}: it waits for {waiting['reason']!r}")
        self.pair.type(master, "understudy", "queue", "unlock", "--all")
        self.pair.wait(f"run {new} to succeed", lambda: self._run(master, new)["state"] == "succeeded")
        for run in (long, new):
            key = self._run(master, run)["key"]
            times = self.proof.read_text().split().count(key)
            self._expect(times == 1, f"round {number}: {key} ran {times} times")

    def _expect(self, kept: bool, fault: str) -> None:
        if not kept:
            self.faults.append(fault)


def requests(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """Absences of an agent, every second one with a failover in the middle; with a cable of its own where possible."""
    with contextlib.ExitStack() as stack:
        network = stack.enter_context(namespaces(MACHINES)) if count > 1 and is_possible() else None
        pair = stack.enter_context(running_pair(directory, network=network))
        absence = Absence(pair, say)
        for number in range(1, count + 1):
            absence.round(number, failover=number % 2 == 0)
        counts = {"absences": count, "failovers": count // 2, "requests withdrawn": count}
        return Verdict(counts, tuple(absence.faults))
