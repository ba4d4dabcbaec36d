"""Nodes and their agent are replaced by another build while a maintenance is on (UIP-7): what must not change by that.

What both nodes answer of it is asked after each step. What ran is told by a file that the jobs append to and fsync.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

from server.core.run_states import OPEN
from tests.process.api import Api
from tests.process.checker import OCCURRENCE, SECOND_US, instant_us
from tests.process.cluster import Node
from tests.process.programs import until_there
from tests.versions.builds import Build
from tests.versions.rolling import Rolling

AGENT = "alpha"
LONG = 2
"""Runs that go on over everything: one ends while it is Suspended, under a keeper of the former build, one after it."""
QUEUED = 3
POLICIES = ("skip", "once", "all", "ask")
BECAME = {"skip": {"policy"}, "once": {"policy", "run"}, "all": {"run"}, "ask": {""}}
"""What a job's policy may have made of a row of the ledger."""
CAUSES = {"maintenance", "agent was not running"}
STEP_US = 2 * SECOND_US
MARGIN_US = 2 * SECOND_US
LAST_TURN_US = SECOND_US // 2
"""What falls due so shortly before the end is not judged: an agent that looks a moment later begins it."""
WHY = "release night"
SESSION = ("id", "phase", "running", "submissions", "pages", "reason", "started_at_us", "started_by", "ended_at_us")
COUNTS = ("stops_attempted", "kills_attempted")
STATUS = ("phase", "started_by", "started_at_us", "reason")

RECORD = """#!/bin/sh
# Appends to a file outside the product, durably, that this run began and that it is about to end; with an argument it
# waits in between until the test lets it go.
printf 'began %s\\n' "$UNDERSTUDY_RUN_ID" >> '{ran}'
sync '{ran}'
if [ -n "${{1:-}}" ]; then {wait}; fi
printf 'ended %s\\n' "$UNDERSTUDY_RUN_ID" >> '{ran}'
sync '{ran}'
"""

Say = Callable[[str], None]
Seen = dict[str, Any]


class MaintainedUpgrade:
    """One night on a pair: `begin`, `drain`, `suspend`, then whatever is replaced, then `end`.

    `faults` are broken promises, one sentence each; `looks` counts the answers of nodes that were compared.
    """

    def __init__(self, rolling: Rolling, old: Build, new: Build, say: Say) -> None:
        self.rolling = rolling
        self.pair = rolling.pair
        self.old = old
        self.new = new
        self.say = say
        self.faults: list[str] = []
        self.looks = 0
        self.missed = 0
        self.ran = self.pair.directory / "ran"
        self._known: Seen = {}
        self._long: list[int] = []
        self._suspended_us = 0

    def begin(self) -> None:
        """All of it by the old build: two nodes, an agent, jobs that are due, and runs that go on for long."""
        north = self.rolling.found(self.old)
        south = self.rolling.join(self.old)
        self.rolling.add_agent(AGENT, self.old)
        self.pair.wait_healthy()
        self.ran.touch()
        script = self.pair.directory / "record.sh"
        script.write_text(RECORD.format(ran=self.ran, wait=until_there(Path("$1"), 900)))
        script.chmod(0o755)
        api = north.api
        _make_job(api, "mark", str(script))
        for number in range(LONG):
            _make_job(api, f"long-{number}", f"{script} {self._gate(number)}")
            self._long.append(_submit(api, f"long-{number}"))
        for policy in POLICIES:
            schedules = [{"cron": "*/2 * * * * *", "zone": "UTC"}]
            _make_job(api, f"tick-{policy}", str(script), misfire_policy=policy, schedules=schedules)
        api.close()
        self._wait_states(north, self._long, "running")
        for policy in POLICIES:
            self.pair.wait(f"a run of tick-{policy}", lambda p=policy: bool(_runs(north, f"tick-{p}")))  # type: ignore[misc]  # bound now
        assert south.status().get("role") == "standby", south.status()

    def drain(self) -> None:
        """Typed at the master: what runs goes on, what is submitted waits."""
        master = self.pair.node("master")
        self.rolling.type(master, "understudy", "maintenance", "on", "--reason", WHY)
        api = master.api
        queued = [_submit(api, "mark", f"queued-{number}") for number in range(QUEUED)]
        api.close()
        self._wait_states(master, queued, "waiting")
        self._expect_log(master, "none", "draining")
        self._learn("draining")

    def suspend(self) -> None:
        """Refused while runs run, which are named; then by force, and they go on."""
        master = self.pair.node("master")
        words = ("maintenance", "start", "--phase", "suspended", "--reason", WHY)
        refused = self.rolling.type(master, "understudy", *words, expect=1)
        self._expect("long-0" in refused, f"Suspended was not refused by name: {refused}")
        if self.old.name == "before":  # there `--force` asks what runs to stop (docs/decisions/0147)
            body = {"phase": "suspended", "preset": "cryosparc", "force": True, "reason": WHY}
            master.api.post("/api/v1/maintenance/start", body, "suspend")
        else:
            self.rolling.type(master, "understudy", *words, "--force")
        self.pair.wait("the agent to know", lambda: not master.api.get("/api/v1/maintenance")["late_agents"])
        self._suspended_us = time.time_ns() // 1000
        self._expect_log(master, "none", "draining", "suspended")
        self._learn("suspended")

    def upgrade_standby(self) -> None:
        """Stop the standby and start its directory by the new build."""
        _, standby = self.pair.wait_healthy()
        self.rolling.again(standby.name, self.new)
        self._unchanged(f"{standby.name} was upgraded as the standby")

    def upgrade_agent(self) -> None:
        """Stop the agent and start it by the new build: its runs go on under the keeper of the old one."""
        self.rolling.again_agent(AGENT, self.new)
        master, _ = self.pair.wait_healthy()
        self._wait_states(master, self._long, "running")
        self._unchanged("the agent was upgraded")

    def swap(self) -> None:
        """Looked at first, then done, both typed at the master."""
        master, standby = self.pair.wait_healthy()
        checked = self.rolling.type(master, "understudy", "swap", "--check")
        doubts = [line for line in checked.splitlines() if line.strip().startswith(("yes?", "no"))]
        self._expect(not doubts, f"the swap is not safe: {checked}")
        said = self.rolling.type(master, "understudy", "swap", "--yes")
        self._expect("Nothing was lost" in said, f"the swap says: {said}")
        assert self.pair.wait_healthy()[0] is standby, f"{standby.name} is not master\n{self.pair.tails()}"
        self._unchanged(f"a swap from {self._of(master)} to {self._of(standby)}")

    def take_over(self, back_by: Build) -> None:
        """kill -9 of the master, `standby-to-master` typed at the standby; the old master comes back by `back_by`."""
        master, standby = self.pair.wait_provable()
        killed = self._of(master)
        master.program.kill()
        said = self.rolling.type(standby, "standby-to-master", "--yes")
        self._expect("nothing was acknowledged without it" in said, f"the takeover says: {said}")
        self.pair.wait(f"{standby.name} to be master", standby.is_master)
        self.rolling.run(master.name, back_by)
        self._unchanged(f"kill -9 of {killed}, takeover by {self._of(standby)}, back by {back_by.name}")

    def let_one_go(self) -> None:
        """A run of before the upgrade ends while it is Suspended: its end and exit code arrive."""
        master, _ = self.pair.wait_healthy()
        self._gate(0).touch()
        self._wait_states(master, self._long[:1], "succeeded")
        self._known["runs"] = None
        self._unchanged("a run of before ended")

    def end(self) -> None:
        """Typed at the master: what waited starts in order, each once; of what was missed the policies decide."""
        master, _ = self.pair.wait_healthy()
        self.rolling.type(master, "understudy", "maintenance", "status", expect=1)
        until_us = time.time_ns() // 1000 - LAST_TURN_US
        self.rolling.type(master, "understudy", "maintenance", "end", "--reason", "done")
        self.rolling.type(master, "understudy", "maintenance", "status")
        log = self.rolling.type(master, "understudy", "maintenance", "log")
        self._expect("suppressed: 0 by time" not in log, f"the log says: {log}")
        self.rolling.type(master, "understudy", "missed", "list")
        self._gate(1).touch()
        self._wait_states(master, self._long, "succeeded")
        self.pair.wait("the policies to decide", lambda: self._is_decided(master, until_us))
        self.pair.wait("nothing to wait or run", lambda: not any(run["state"] in OPEN for run in _runs(master)))
        self._expect_log(master, "none", "draining", "suspended", "none")
        self._learn("none")
        self._judge_order(master)
        self._judge_ledger(until_us)
        self._judge_witness()
        data = self.pair.agents[AGENT].data
        self.pair.wait("the former keeper to make room", lambda: _keepers(data) == [self.new.folder])
        self.pair.wait_healthy()

    def _learn(self, phase: str) -> None:
        """What somebody has just made of it: the standby says the same as the master, and this is it from now on."""
        master, _ = self._level()
        self._known = _look(master, phase)
        said = {self._known["phase"], self._known["status"]["phase"], self._known["uipath"][0].lower()}
        self._expect(said == {phase}, f"{master.name} says {said}, not {phase}")
        self._unchanged(f"it became {phase.capitalize()}")

    def _unchanged(self, step: str) -> None:
        """Both nodes say of it what they said before the step."""
        before = len(self.faults)
        for node in self._level():
            found = _look(node, self._known["phase"])
            self._known["runs"] = self._known["runs"] or found["runs"]
            self.looks += 1
            if self.rolling.builds[node.name].name == "before" and not node.is_master():
                found["banner"] = self._known["banner"]  # a standby of that release shows none
            wrong = {name: (known, found[name]) for name, known in self._known.items() if found[name] != known}
            self._expect(not wrong, f"after {step}: {self._of(node)} says otherwise (before, now): {wrong}")
        self.rolling.write(self.pair.node("master"))
        self.say(f"  {step}: {'as before at both' if len(self.faults) == before else 'NOT as before'}")

    def _level(self) -> tuple[Node, Node]:
        """(master, standby), the standby with all applied that the master had written when it was asked."""
        master, standby = self.pair.wait_healthy()
        written = int(master.status()["position"]["sequence"])
        self.pair.wait("the standby to apply it", lambda: int(standby.status().get("applied_sequence", 0)) >= written)
        return master, standby

    def _is_decided(self, master: Node, until_us: int) -> bool:
        """Only what is to be asked is open, and the last instant of it is on record for each job."""
        last_us = until_us // STEP_US * STEP_US
        for policy in POLICIES:
            rows = _ledger(master, f"tick-{policy}")
            latest_us = max((row["scheduled_for_us"] for row in rows), default=0)
            if latest_us < last_us or (policy != "ask" and any(row["resolution"] == "" for row in rows)):
                return False
        return True

    def _judge_order(self, master: Node) -> None:
        found = sorted(_runs(master, "mark"), key=lambda run: int(run["number"]))
        self._expect([run["state"] for run in found] == ["succeeded"] * QUEUED, f"what was queued: {found}")
        began = [run["started_at_us"] for run in found]
        self._expect(began == sorted(began), f"what was queued began out of order: {began}")

    def _judge_ledger(self, until_us: int) -> None:
        """Each instant of the Suspended phase is one row at both nodes, and became what its job's policy says."""
        master, standby = self._level()
        first_us = -(-(self._suspended_us + MARGIN_US) // STEP_US) * STEP_US
        wanted = Counter(range(first_us, until_us + 1, STEP_US))
        for policy in POLICIES:
            rows = [row for row in _ledger(master, f"tick-{policy}") if first_us <= row["scheduled_for_us"] <= until_us]
            self.missed += len(rows)
            listed = Counter(int(row["scheduled_for_us"]) for row in rows)
            self._expect(listed == wanted, f"tick-{policy} lists {len(rows)} of {len(wanted)} instants")
            causes, became = {row["cause"] for row in rows}, Counter(row["resolution"] for row in rows)
            self._expect(causes <= CAUSES, f"tick-{policy} says {causes}")
            self._expect(set(became) <= BECAME[policy], f"tick-{policy} became {dict(became)}")
            self._expect(policy != "once" or became["run"] <= 1, f"tick-once ran {became['run']} times")
            known = {(row["id"], row["resolution"]) for row in _ledger(standby, f"tick-{policy}")}
            lacking = {(row["id"], row["resolution"]) for row in rows} - known
            self._expect(not lacking, f"{standby.name} lacks of tick-{policy}: {sorted(lacking)}")

    def _judge_witness(self) -> None:
        """The file outside: nothing began twice, all that began and was waited for ended, what rows say was run ran."""
        master = self.pair.node("master")
        lines = [line.split(" ") for line in self.ran.read_text().split("\n")[:-1]]
        began = Counter(key for word, key in lines if word == "began")
        ended = Counter(key for word, key in lines if word == "ended")
        twice = [key for key, count in (began + ended).items() if count > 2 or began[key] > 1]
        self._expect(not twice, f"ran twice: {twice}")
        for name in ("mark", *(f"long-{number}" for number in range(LONG))):
            for run in _runs(master, name):
                self._expect(ended[run["key"]] == 1, f"{run['key']} of {name} did not end once: {ended[run['key']]}")
                self._expect(run["exit_code"] == 0, f"{run['key']} of {name} has exit code {run['exit_code']}")
        instants = {(int(m["schedule"]), instant_us(m["instant"])) for key in began if (m := OCCURRENCE.match(key))}
        for policy in POLICIES:
            for row in _ledger(master, f"tick-{policy}"):
                ran = (row["schedule_id"], row["scheduled_for_us"]) in instants
                said = row["resolution"] == "run"
                self._expect(ran == said, f"tick-{policy} {row['scheduled_for_us']}: ran {ran}, its row says {said}")

    def _expect_log(self, master: Node, *phases: str) -> None:
        found = [row["phase"] for row in _log(master)]
        self._expect(found == list(phases), f"the log has {found}, not {list(phases)}")

    def _wait_states(self, node: Node, numbers: list[int], state: str) -> None:
        def found() -> bool:
            rows = {row["number"]: row["state"] for row in _runs(node)}
            return all(rows.get(number) == state for number in numbers)

        self.pair.wait(f"runs {numbers} to be {state}", found)

    def _gate(self, number: int) -> Path:
        return self.pair.directory / f"go-{number}"

    def _of(self, node: Node) -> str:
        return f"{node.name} ({self.rolling.builds[node.name].name})"

    def _expect(self, is_so: bool, fault: str) -> None:
        if not is_so:
            self.faults.append(fault)
            self.say(f"FAULT {fault}")


def _keepers(data: Path) -> list[Path]:
    """The folders of the builds whose keepers serve an agent's directory: what Python was told to take."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if process.cmdline()[-3:] == ["-m", "server.agent.keeper", str(data)]:
                found.append(Path(process.environ()["PYTHONPATH"]))
    return found


def _make_job(api: Api, name: str, command: str, **more: object) -> None:
    api.post("/api/v1/jobs", {"name": name, "command": command, "agent": AGENT, **more}, f"make-{name}")


def _submit(api: Api, job: str, key: str = "first") -> int:
    return int(api.post(f"/api/v1/jobs/{job}/run", key=f"{job}-{key}")["run"])


def _asked(node: Node, path: str, **query: Any) -> Any:
    api = node.api
    try:
        return api.get(path, **query)
    finally:
        api.close()


def _runs(node: Node, job: str = "", state: str = "") -> list[Seen]:
    found: list[Seen] = _asked(node, "/api/v1/runs", limit=1000, job=job, state=state)
    return found


def _ledger(node: Node, job: str) -> list[Seen]:
    found: list[Seen] = _asked(node, "/api/v1/missed", limit=1000, all="1", job=job)
    return found


def _log(node: Node) -> list[Seen]:
    """The log of the only session that there is."""
    (record,) = _asked(node, "/api/v1/maintenance/log")
    log: list[Seen] = record["log"]
    return log


def _look(node: Node, phase: str) -> Seen:
    """All that a node answers of the maintenance, by what was asked. `runs` are those of before and those queued."""
    state = _asked(node, "/api/v1/maintenance")
    uipath, status = _asked(node, "/api/Maintenance/Get"), _asked(node, "/api/v1/status")
    page = str(node.api.request("GET", "/").value)
    queued = [(run["number"], run["state"], run["reason"]) for run in _runs(node, "mark")]
    long = [(run["number"], run["state"]) for number in range(LONG) for run in _runs(node, f"long-{number}")]
    return {
        "phase": state["phase"],
        "session": {name: state["session"][name] for name in (*SESSION, *COUNTS)},
        "log": json.dumps(_log(node)),
        "uipath": [uipath[name] for name in ("state", "maintenanceLogs", "jobStopsAttempted", "jobKillsAttempted")],
        "status": {name: (status["maintenance"] or {}).get(name) for name in STATUS},
        "is explained": bool(state["meaning"]),
        "gates": sorted(gate["kind"] for gate in status["gates"]),
        "banner": f"Maintenance ({phase.capitalize()})" in page,
        "runs": queued + long,
    }
