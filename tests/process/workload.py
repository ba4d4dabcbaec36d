"""Load on a pair, and the evidence it leaves: clients' own lists, the file of what ran, and each node's rows."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from tests.process.api import Api
from tests.process.checker import History, NodeView, RanLine, RunRow, Schedule, Verdict, check
from tests.process.cluster import AGENTS, Node, Pair
from tests.process.programs import BIN, Program

WRITES_OF_ONE_CLIENT = 50.0
"""Per second: a client waits for each answer, so that many writes take many clients."""
WRITES_PER_SECOND = 200.0
ACCOUNT_S = 30.0
"""How long an agent that was killed last may take to account for what fell due: then it is a fault."""
EVERY_SECOND = "* * * * * *"
ENDED = ("succeeded", "failed", "cancelled", "killed", "interrupted", "missed", "skipped")

RECORD = """#!/bin/sh
# Appends this run's key to a file outside the product, durably, works a little, and exits with a code made of the key.
printf 'start %s\\n' "$UNDERSTUDY_RUN_ID" >> '{ran}'
sync '{ran}'
echo "output of $UNDERSTUDY_RUN_ID"
sleep 0.{tenths}
code=$(( $(printf %s "$UNDERSTUDY_RUN_ID" | cksum | cut -d' ' -f1) % 4 ))
printf 'end %s %s\\n' "$UNDERSTUDY_RUN_ID" "$code" >> '{ran}'
exit "$code"
"""


@dataclass
class Workload:
    """Clients that write, and jobs that run every second on each agent. `start`, then trouble, then `finish`."""

    pair: Pair
    rate: float = WRITES_PER_SECOND
    jobs_per_agent: int = 2
    writers: list[Program] = field(default_factory=list)
    schedules: list[int] = field(default_factory=list)
    _read: dict[Path, int] = field(default_factory=dict)
    _lines: list[dict[str, Any]] = field(default_factory=list)

    @property
    def clients(self) -> int:
        """How many write beside each other."""
        return round(self.rate / WRITES_OF_ONE_CLIENT)

    @property
    def directory(self) -> Path:
        return self.pair.directory

    @property
    def ran_file(self) -> Path:
        return self.directory / "ran"

    def start(self) -> Workload:
        """Make the jobs, start the clients, and wait until both are seen to work."""
        master = self.pair.node("master")
        script = self.directory / "record.sh"
        script.write_text(RECORD.format(ran=self.ran_file, tenths=2))
        script.chmod(0o755)
        self.ran_file.touch()
        api = master.api
        for agent in AGENTS:
            for number in range(self.jobs_per_agent):
                self._make_job(api, f"tick-{agent}-{number}", agent, str(script))
        self.schedules = [schedule["id"] for schedule in api.pages("/api/v1/schedules", "id")]
        api.close()
        for number in range(self.clients):
            self.writers.append(self._writer(f"w{number}").start())
        self.wait_progress("the load to flow")
        return self

    def _make_job(self, api: Api, name: str, agent: str, script: str) -> None:
        job = {
            "name": name,
            "command": script,
            "agent": agent,
            "misfire_policy": "skip",
            "schedules": [{"cron": EVERY_SECOND, "zone": "UTC"}],
        }
        api.post("/api/v1/jobs", job, key=f"make-{name}")

    def _writer(self, name: str) -> Program:
        words = [sys.executable, "-m", "tests.process.writer", "--name", name, "--agent", AGENTS[0]]
        for node in self.pair.nodes.values():
            words += ["--node", f"{node.host}:{node.port}"]
        words += ["--authority", str(self.pair.nodes["north"].data / "ca.crt")]
        words += ["--token-file", str(self.directory / "token"), "--rate", str(self.rate / self.clients)]
        words += ["--log", str(self.directory / f"{name}.acknowledged")]
        return Program(name, words, self.directory / f"{name}.log")

    def acknowledged(self) -> list[dict[str, Any]]:
        """Every line that the clients kept, in no order. What was read before is not read again: files only grow."""
        for path in self.directory.glob("*.acknowledged"):
            with path.open("rb") as file:
                file.seek(self._read.get(path, 0))
                whole, end, _ = file.read().rpartition(b"\n")
            self._read[path] = self._read.get(path, 0) + len(whole + end)
            self._lines += [json.loads(line) for line in whole.split(b"\n") if line]
        return list(self._lines)

    def ran(self) -> list[RanLine]:
        """What the jobs themselves appended."""
        found = []
        for line in self.ran_file.read_text().split("\n")[:-1]:
            word, key, *code = line.split(" ")
            found.append(RanLine(key, int(code[0]) if word == "end" else None))
        return found

    def wait_progress(self, what: str, writes: int = 20, runs: int = 2) -> None:
        """Wait until this many more writes are acknowledged and runs have ended since now."""
        lines, ran = len(self.acknowledged()), self._ended()

        def moved() -> bool:
            return len(self.acknowledged()) >= lines + writes and self._ended() >= ran + runs

        self.pair.wait(what, moved)

    def _ended(self) -> int:
        return sum(line.exit_code is not None for line in self.ran())

    def finish(self, interrupted_is_allowed: bool = False, given_up: frozenset[str] = frozenset()) -> Verdict:
        """Stop the clients and the scheduler, let everything end, read both nodes, and judge.

        `given_up` are acknowledged writes that an operator accepted to lose by --allow-data-loss.
        """
        for writer in self.writers:
            assert writer.stop(150) == 0, writer.tail()
        master, standby = self.pair.wait_healthy()
        self.wait_progress("jobs to run at the end", writes=0)
        until_us = int(time.time() - 2) * 1_000_000
        self.pair.type(master, "understudy", "scheduler", "stop")
        self.wait_all_ended(master)
        self.pair.wait("nothing in the backlog", lambda: self.is_quiet(master, standby))
        verdict = check(self._history(master, standby, until_us, interrupted_is_allowed, given_up))
        end_s = time.monotonic() + ACCOUNT_S
        while verdict.faults and time.monotonic() < end_s:  # an agent that was killed last may still be on its way back
            time.sleep(0.5)
            verdict = check(self._history(master, standby, until_us, interrupted_is_allowed, given_up))
        return replace(verdict, counts={**verdict.counts, "writes/s": round(self.writes_per_second())})

    def _history(
        self, master: Node, standby: Node, until_us: int, interrupted_is_allowed: bool, given_up: frozenset[str]
    ) -> History:
        """What was promised and what both nodes and the jobs' own files show now."""
        lines = self.acknowledged()
        return History(
            acknowledged=tuple(
                line["name"] for line in lines if line["event"] == "acknowledged" and line["name"] not in given_up
            ),
            refused=tuple(str(line) for line in lines if line["event"] != "acknowledged"),
            views=(self.view(master, until_us), self.view(standby, until_us)),
            ran=tuple(self.ran()),
            schedules=tuple(Schedule(number, 1, until_us) for number in self.schedules),
            interrupted_is_allowed=interrupted_is_allowed,
        )

    def wait_all_ended(self, master: Node) -> None:
        """Wait until no run is open."""
        api = master.api

        def all_ended() -> bool:
            return not [run for run in api.pages("/api/v1/runs", "number") if run["state"] not in ENDED]

        self.pair.wait("every run to end", all_ended)
        api.close()

    def is_quiet(self, master: Node, standby: Node) -> bool:
        """Nothing in the backlog, all applied; then the checksums are compared too."""
        first, second = master.status(), standby.status()
        backlog = first.get("backlog") or {"requests": None}
        position = first.get("position")
        applied = second.get("applied_sequence")
        if backlog["requests"] != 0 or position != second.get("position") or position["sequence"] != applied:
            return False
        assert first["checksum"] == second["checksum"], f"the checksums differ at {position}"
        return True

    def view(self, node: Node, until_us: int) -> NodeView:
        """What a node shows. The stopped scheduler goes on recording what is due now: that is left out."""
        api = node.api
        names = [job["name"] for job in api.pages("/api/v1/jobs", "name")]
        runs = tuple(
            RunRow(run["key"], run["state"], run["exit_code"], self._output(api, run))
            for run in api.pages("/api/v1/runs", "number")
        )
        missed = {
            (row["schedule_id"], row["scheduled_for_us"]): row["resolution"]
            for row in api.pages("/api/v1/missed", "id", all=1)
            if row["scheduled_for_us"] <= until_us
        }
        api.close()
        written = tuple(name for name in names if name.startswith("w"))
        return NodeView(node.name, written, tuple(sorted(runs, key=lambda row: row.key)), missed)

    def _output(self, api: Api, run: dict[str, Any]) -> str | None:
        """The output of every tenth run, few enough to ask for; of every other one, whether there is any."""
        if run["state"] not in ("succeeded", "failed") or (run["number"] % 10 and run["output_bytes"]):
            return None
        return str(api.get(f"/api/v1/runs/{run['number']}/output"))

    def writes_per_second(self) -> float:
        """Acknowledged writes in the median second: how much load there was between troubles."""
        seconds = Counter(int(line["at"]) for line in self.acknowledged() if line["event"] == "acknowledged")
        return median(seconds.values()) if seconds else 0.0

    def longest_pause_s(self, since: float) -> float:
        """The longest time between two acknowledgements after `since` (wall clock): what clients felt."""
        times = [since, *sorted(line["at"] for line in self.acknowledged() if line["at"] >= since)]
        return max((after - before for before, after in pairwise(times)), default=0.0)


def understudy_commands() -> bool:
    """True when this environment has the product's console scripts."""
    return (BIN / "understudy").exists()
