"""The scheduler of a real pair is stopped for some seconds and started again, also over a change of the master.

Eight jobs are due every two seconds: one of each misfire policy by an order of an agent, and one by the master itself.
Two more jobs are run in each round, and one that waits for both.

Afterwards each instant has one run or one row of the ledger, each row became what its policy says, what is left is run
or dismissed by the commands, and a file outside has each run once.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.process.checker import OCCURRENCE, SECOND_US, Verdict, instant_us
from tests.process.cluster import Node, Pair, running_pair

POLICIES = ("skip", "once", "all", "ask")
STEP_US = 2 * SECOND_US
STOPPED_S = 8.0
MARGIN_US = 4 * SECOND_US


class Stops:
    """Rounds on one pair. `faults` are broken promises, `counts` how many rows became what, over all rounds."""

    def __init__(self, pair: Pair, say: Callable[[str], None]) -> None:
        self.pair = pair
        self.say = say
        self.faults: list[str] = []
        self.counts: Counter[str] = Counter()
        self.proof = pair.directory / "ran"
        self.jobs = {f"{kind}-{policy}": policy for kind in ("agent", "master") for policy in POLICIES}
        master = pair.node("master")
        pair.type(master, "understudy", "group", "create", "pool", "beta", "--policy", "round_robin")
        for name, policy in self.jobs.items():
            where = ("--agent", "alpha") if name.startswith("agent") else ("--group", "pool")
            words = ("--cron", "*/2 * * * * *", "--misfire", policy, "--misfire-grace", "3600", *where)
            command = f"echo $UNDERSTUDY_RUN_ID >> {self.proof}"
            pair.type(master, "understudy", "job", "create", name, "--command", command, *words)
        needs = "backup completed and (load failed or load running)"
        for name, after in (("backup", ""), ("load", ""), ("report", needs)):
            words = ("--agent", "alpha", "--after", after)
            pair.type(master, "understudy", "job", "create", name, "--command", f"test {name} != load", *words)

    def round(self, number: int) -> None:
        """One stop, from a healthy pair to a healthy pair with an empty ledger."""
        master, _ = self.pair.wait_healthy()
        for name in self.jobs:
            self.pair.wait(f"a run of {name}", lambda name=name: bool(self._runs(master, name)))  # type: ignore[misc]  # bound now
        self.pair.type(master, "understudy", "scheduler", "stop", "--reason", f"round {number}")
        began_us = int(time.time() * 1e6)
        if number % 3 == 2:
            self.pair.type(master, "understudy", "swap", "--yes")
        elif number % 3 == 0:
            master.program.kill()
            master.program.start()
        master, _ = self.pair.wait_healthy()
        time.sleep(max(0.0, STOPPED_S - (time.time() - began_us / 1e6)))
        ended_us = int(time.time() * 1e6)
        self.pair.type(master, "understudy", "scheduler", "start")
        self.pair.wait("the policies to decide", lambda: self._is_decided(master))
        self._judge(master, number, began_us + MARGIN_US, ended_us - 1)
        self._resolve(master, number)
        self._release(master, number)
        how = {2: "swapped", 0: "master killed"}.get(number % 3, "same master")
        self.say(f"round {number}: stopped for {(ended_us - began_us) / 1e6:.1f} s, {how}; so far {dict(self.counts)}")

    def _judge(self, master: Node, number: int, from_us: int, until_us: int) -> None:
        """Each instant of the stop is one row with its cause, and that became what the policy of its job says."""
        ledger: list[dict[str, Any]] = self._missed(master, "--all")
        for name, policy in self.jobs.items():
            rows = [m for m in ledger if m["job"] == name and from_us <= m["scheduled_for_us"] <= until_us]
            listed = Counter(m["scheduled_for_us"] for m in rows)
            wanted = range(-(-from_us // STEP_US) * STEP_US, until_us + 1, STEP_US)
            self._expect(
                listed == Counter(wanted), f"round {number}: {name} lists {len(rows)} of {len(wanted)} instants"
            )
            causes = {m["cause"] for m in rows}
            self._expect(causes <= {"scheduler stopped"}, f"round {number}: {name} says {causes}")
            allowed = {"skip": {"policy"}, "once": {"policy", "run"}, "all": {"run"}, "ask": {""}}[policy]
            became = Counter(m["resolution"] for m in rows)
            self._expect(set(became) <= allowed, f"round {number}: {name} became {dict(became)}")
            self._expect(policy != "once" or became["run"] <= 1, f"round {number}: once ran {became['run']}")
            self.counts.update(f"{policy} {resolution or 'open'}" for resolution in became.elements())

    def _resolve(self, master: Node, number: int) -> None:
        """A person runs some of what is left by its number, dismisses one, and the rest by a filter."""
        for job in ("agent-ask", "master-ask"):
            first, second, *_ = self._missed(master, "--job", job)
            done = self.pair.type(master, "understudy", "missed", "run", str(first["id"]), "--json")
            self.pair.type(master, "understudy", "missed", "run", str(first["id"]), expect=1)
            self.pair.type(master, "understudy", "missed", "dismiss", str(second["id"]), "--reason", "not needed")
            run = json.loads(done)["run"]
            self.pair.wait(f"run {run}", lambda run=run: self._state(master, run) == "succeeded")  # type: ignore[misc]  # bound now
        self.pair.type(master, "understudy", "missed", "dismiss", "--all", "--cause", "scheduler stopped", "--yes")
        left = self._missed(master)
        self._expect(left == [], f"round {number}: {len(left)} are open still")

    def _release(self, master: Node, number: int) -> None:
        """What waits for two jobs goes once when both have got there, one run in each round."""
        for name in ("load", "backup"):
            self.pair.type(master, "understudy", "run", "now", name, "--wait", expect=None)
        self.pair.wait("the report", lambda: self._state_of_newest(master, "report") == "succeeded")
        found = master.api.get("/api/v1/runs", job="report", limit=500)
        self._expect(len(found) == number, f"round {number}: report has run {len(found)} times")
        self.counts["reports"] = len(found)

    def conclude(self) -> None:
        """The file outside has each run once, and a run for each row that says so."""
        master, _ = self.pair.wait_healthy()
        ran = Counter(self.proof.read_text().split())
        twice = [key for key, count in ran.items() if count > 1]
        self._expect(not twice, f"ran twice: {twice[:5]}")
        began = {(int(m["schedule"]), instant_us(m["instant"])) for key in ran if (m := OCCURRENCE.match(key))}
        rows = [m for m in self._missed(master, "--all") if m["resolution"] == "run"]
        lost = [m for m in rows if (m["schedule_id"], m["scheduled_for_us"]) not in began]
        self._expect(not lost, f"{len(lost)} rows say that they were run and were not")
        self.counts["runs"] = len(ran)

    def _is_decided(self, master: Node) -> bool:
        """Only what is to be asked is open, and the stop is accounted for."""
        found = self._missed(master)
        return bool(found) and all(self.jobs[m["job"]] == "ask" for m in found) and self._is_over(master)

    def _is_over(self, master: Node) -> bool:
        words = ("SELECT count(*) FROM stops", "--csv")
        return self.pair.type(master, "understudy", "sql", *words).split()[-1] == "0"

    def _missed(self, master: Node, *words: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(
            self.pair.type(master, "understudy", "missed", "list", *words, "--json")
        )
        return found

    def _runs(self, master: Node, job: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = master.api.get("/api/v1/runs", job=job, limit=1)
        return found

    def _state_of_newest(self, master: Node, job: str) -> str:
        found = self._runs(master, job)
        return str(found[0]["state"]) if found else ""

    def _state(self, master: Node, run: int) -> str:
        return str(master.api.get(f"/api/v1/runs/{run}")["state"])

    def _expect(self, is_kept: bool, fault: str) -> None:
        if not is_kept:
            self.faults.append(fault)
            self.say(f"FAULT {fault}")


def missed(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """So many stops of the scheduler on one pair; every second of three over a swap, every third over a kill -9."""
    with running_pair(directory) as pair:
        stops = Stops(pair, say)
        for number in range(1, count + 1):
            stops.round(number)
        stops.conclude()
    return Verdict({"stops": count, **dict(sorted(stops.counts.items()))}, tuple(stops.faults))
