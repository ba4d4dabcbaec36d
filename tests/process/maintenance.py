"""Maintenance on a real pair: 50 runs run dry, what waited starts in order; UiPath's calls over whatever happens.

The story of those who were locked out is told in each phase: whatever has expired, an administrator signs in again, and
the local socket ends it.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.api import Answer
from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.programs import BIN

RUNS = 50
QUEUED = 5
START = "/api/Maintenance/Start"


class Maintenance:
    """Rounds on one pair. `faults` are broken promises."""

    def __init__(self, pair: Pair, say: Callable[[str], None], runs: int) -> None:
        self.pair = pair
        self.runs = runs
        self.say = say
        self.faults: list[str] = []
        self.go = pair.directory / "go"
        os.mkfifo(self.go)
        api = pair.node("master").api
        jobs = {"long": f"cat {self.go}", "mark": "true", "stubborn": "sleep 600"}
        for name, command in jobs.items():
            api.post("/api/v1/jobs", {"name": name, "command": command, "agent": "alpha"}, key=f"make-{name}")

    def run_dry(self, number: int) -> None:
        """CRY-1, CRY-2: `on --wait` returns when the last of 50 runs has ended; what was queued starts in order."""
        master, _ = self.pair.wait_healthy()
        long = [self._submit(master, "long", f"{number}-{n}") for n in range(self.runs)]
        self.pair.wait("all runs to run", lambda: self._states(master, long) == {"running"})
        words = [str(BIN / "understudy"), "maintenance", "on", "--wait", "--data", str(master.data)]
        waits = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        try:
            self.pair.wait("maintenance", lambda: self._phase(master) == "draining")
            queued = [self._submit(master, "mark", f"{number}-q{n}") for n in range(QUEUED)]
            found = [self._run(master, run) for run in queued]
            said = {(run["state"], run["reason"]) for run in found}
            self._expect(said == {("waiting", "maintenance")}, f"queued runs are {said}")
            self._expect(waits.poll() is None, "--wait returned while all runs ran")
            self.go.open("w").close()  # every reader of the pipe meets its end
            text, _ = waits.communicate(timeout=60)
        finally:
            waits.kill()
            waits.wait()
        self._expect(waits.returncode == 0, f"--wait ended with {waits.returncode}: {text}")
        states = self._states(master, long)
        self._expect(states == {"succeeded"}, f"--wait returned and runs are {states}")
        self._expect(self._states(master, queued) == {"waiting"}, "what was queued started during the maintenance")
        self.pair.type(master, "understudy", "maintenance", "off")
        self.pair.wait("the queued runs to end", lambda: self._states(master, queued) == {"succeeded"})
        began = [self._run(master, run)["started_at_us"] for run in queued]
        self._expect(began == sorted(began), f"they began out of order: {began}")
        self.say(f"round {number}: {self.runs} runs ended, then --wait; {QUEUED} queued runs began in order at off")

    def close_and_suspend(self, number: int) -> None:
        """UIP-1 to UIP-7: statuses and logs, over a restart, a failover and a swap in the middle of it."""
        master, _ = self.pair.wait_healthy()
        run = self._submit(master, "stubborn", f"{number}-s")
        self.pair.wait("a run to run", lambda: self._run(master, run)["state"] == "running")
        self._answers(master, "POST", f"{START}?phase=Suspended", 409)
        self._answers(master, "POST", f"{START}?phase=Draining&force=true", 400)
        self._answers(master, "POST", f"{START}?phase=Draining", 204)
        self._is(master, "Draining", 2)
        self._answers(master, "POST", "/api/v1/jobs/mark/run", 405)
        self._is_not_locked_out(master, "Draining")
        ended = ("cancelled", "killed")
        self.pair.wait("the run to be stopped", lambda: self._run(master, run)["state"] in ended)
        self._expect(self._get(master)["jobStopsAttempted"] == 1, f"stops: {self._get(master)}")
        self._answers(master, "POST", f"{START}?phase=Suspended", 204)
        self._is(master, "Suspended", 3)
        self._answers(master, "POST", "/api/v1/jobs/mark/run", 503)
        self._answers(master, "GET", "/readyz", 503)
        self._is_not_locked_out(master, "Suspended")
        master = self._restart(master)
        self._is(master, "Suspended", 3)
        master = self._fail_over(master)
        self._is(master, "Suspended", 3)
        self.pair.wait_healthy()
        self.pair.type(master, "understudy", "swap", "--yes")
        master, _ = self.pair.wait_healthy()
        self._is(master, "Suspended", 3)
        self._is_not_locked_out(master, "Suspended after a restart, a failover and a swap")
        gates = {gate["kind"] for gate in master.api.get("/api/v1/gates")}
        self._expect(gates == {"maintenance_suspended"}, f"after the swap the gates are {gates}")
        self.pair.type(master, "understudy", "maintenance", "end")
        self._is(master, "None", 4)
        self._answers(master, "POST", "/api/Maintenance/End", 409)
        again = self._submit(master, "mark", f"{number}-after")
        self.pair.wait("work to go on", lambda: self._run(master, again)["state"] == "succeeded")
        self.say(f"round {number}: Draining, Suspended, restart, failover, swap, End: logs 2, 3, 3, 3, 3, 4")

    def _is_not_locked_out(self, master: Node, phase: str) -> None:
        """BEY-5: without any token: the password signs in, and the socket reads."""
        api = master.api
        api_without = type(api)(master.host, master.port, master.data / "ca.crt", "")
        refused = api_without.request("GET", "/api/Maintenance/Get")
        self._expect(refused.status == 401, f"{phase}: without a token {refused.status}")
        signed = api_without.request("POST", "/api/v1/login", {"user": "admin", "password": self.pair.password})
        self._expect(signed.status == 200, f"{phase}: the administrator's sign-in is answered {signed.status}")
        made = self.pair.type(master, "understudy", "user", "token", "create", "--name", phase[:20], "--json")
        self._expect("token" in made, f"{phase}: no new token by the socket: {made}")
        self.pair.type(master, "understudy", "maintenance", "status", expect=1)

    def _restart(self, master: Node) -> Node:
        assert master.program.stop() == 0, master.program.tail()
        master.program.start()
        return self.pair.wait_healthy()[0]

    def _fail_over(self, master: Node) -> Node:
        _, other = self.pair.wait_provable()
        master.program.kill()
        self.pair.type(other, "standby-to-master", "--yes")
        self.pair.wait("the standby to be master", other.is_master)
        master.program.start()
        return other

    def _submit(self, master: Node, job: str, key: str) -> int:
        return int(master.api.post(f"/api/v1/jobs/{job}/run", key=f"{job}-{key}")["run"])

    def _run(self, master: Node, run: int) -> dict[str, Any]:
        found: dict[str, Any] = master.api.get(f"/api/v1/runs/{run}")
        return found

    def _states(self, master: Node, numbers: list[int]) -> set[str]:
        rows = {row["number"]: row["state"] for row in master.api.get("/api/v1/runs", limit=500)}
        return {rows[number] for number in numbers}

    def _phase(self, master: Node) -> str:
        return str(master.status()["maintenance"]["phase"])

    def _get(self, master: Node) -> dict[str, Any]:
        found: dict[str, Any] = master.api.get("/api/Maintenance/Get")
        return found

    def _is(self, master: Node, state: str, length: int) -> None:
        found = self._get(master)
        said = (found["state"], len(found["maintenanceLogs"]))
        self._expect(said == (state, length), f"Get says {said}, not {(state, length)}")

    def _answers(self, master: Node, method: str, path: str, status: int) -> None:
        answer: Answer = master.api.request(method, path)
        self._expect(answer.status == status, f"{method} {path}: {answer.status}, not {status}: {answer.value}")

    def _expect(self, is_so: bool, fault: str) -> None:
        if not is_so:
            self.faults.append(fault)
            self.say(f"FAULT {fault}")


def maintenance(directory: Path, count: int, say: Callable[[str], None], runs: int = RUNS) -> Verdict:
    """`count` rounds of both on one pair; `runs`: how many run dry in each."""
    with running_pair(directory) as pair:
        rounds = Maintenance(pair, say, runs)
        for number in range(1, count + 1):
            rounds.run_dry(number)
            rounds.close_and_suspend(number)
    counts = {"rounds": count, "runs that ran dry": runs * count, "runs that waited": QUEUED * count}
    return Verdict(counts, tuple(rounds.faults))
