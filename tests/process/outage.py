"""The master is gone for minutes: agents go on by their standing orders, and afterwards each occurrence is on record.

The witness is the file that the jobs themselves append to and fsync; the list of what is due is computed here, from the
clock alone.
"""

from __future__ import annotations

import sqlite3
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from tests.process.api import Api
from tests.process.checker import OCCURRENCE, NodeView, Verdict, instant_us
from tests.process.cluster import AGENTS, Node, Pair, running_pair
from tests.process.workload import Workload

Say = Callable[[str], None]
THIRD = "gamma"
MINUTELY, QUICK = "* * * * *", "*/10 * * * * *"
STEPS_S = {MINUTELY: 60, QUICK: 10}
SETTLE_S = 3.0
"""Occurrences due in the last seconds before the end are left out: their process may begin a moment later."""

RECORD = """#!/bin/sh
# Appends this run's key and the time to a file outside the product, durably, and exits with the code that it was given.
printf '%s %s\\n' "$UNDERSTUDY_RUN_ID" "$(date +%s%6N)" >> '{ran}'
sync '{ran}'
echo "output of $UNDERSTUDY_RUN_ID"
exit "$1"
"""


@dataclass(frozen=True)
class Job:
    """A job of the scenario with its one schedule."""

    name: str
    agent: str
    cron: str
    exit_code: int


@dataclass
class Outage:
    """Jobs on three agents, and the evidence that they leave."""

    pair: Pair
    minutely: int
    quick: int
    schedules: dict[int, Job] = field(default_factory=dict)
    from_us: int = 0

    @property
    def ran_file(self) -> Path:
        return self.pair.directory / "ran"

    def start(self) -> Outage:
        """Make the jobs and wait until every agent holds the orders for its own in its spool."""
        script = self.pair.directory / "record.sh"
        script.write_text(RECORD.format(ran=self.ran_file))
        script.chmod(0o755)
        self.ran_file.touch()
        agents = [*AGENTS, THIRD]
        crons = [MINUTELY] * self.minutely + [QUICK] * self.quick
        api = self.pair.node("master").api
        made: dict[int, Job] = {}
        for number, cron in enumerate(crons):
            job = Job(f"job-{number:03}", agents[number % len(agents)], cron, number % 3)
            made[self._make(api, job, script)] = job
        self.schedules = {schedule["id"]: made[schedule["job_id"]] for schedule in api.pages("/api/v1/schedules", "id")}
        api.close()
        self.pair.wait("all orders at the agents", lambda: self._orders() == len(crons))
        self.from_us = time.time_ns() // 1000
        return self

    def _make(self, api: Api, job: Job, script: Path) -> int:
        body = {
            "name": job.name,
            "command": f"{script} {job.exit_code}",
            "agent": job.agent,
            "misfire_policy": "ask",
            "schedules": [{"cron": job.cron, "zone": "UTC"}],
        }
        return int(api.post("/api/v1/jobs", body, key=f"make-{job.name}")["id"])

    def _orders(self) -> int:
        """What the agents' own files say that they hold."""
        found = 0
        for agent in self.pair.agents.values():
            with closing(sqlite3.connect(f"file:{agent.data}/spool.db?mode=ro", uri=True)) as spool:
                found += int(spool.execute("SELECT count(*) FROM orders").fetchone()[0])
        return found

    def due(self, until_us: int) -> set[tuple[int, int]]:
        """(schedule, instant) of everything due from the start until then."""
        found = set()
        for number, job in self.schedules.items():
            step_us = STEPS_S[job.cron] * 1_000_000
            first_us = -(-self.from_us // step_us) * step_us
            found |= {(number, at) for at in range(first_us, until_us, step_us)}
        return found

    def ran(self) -> list[tuple[int, int, int]]:
        """(schedule, instant, started at) of every line that a job appended."""
        found = []
        for line in self.ran_file.read_text().split("\n")[:-1]:
            key, at_us = line.split(" ")
            match = OCCURRENCE.match(key)
            assert match, line
            found.append((int(match["schedule"]), instant_us(match["instant"]), int(at_us)))
        return found

    def finish(self, gone_us: int, back_us: int) -> Verdict:
        """Let all that ran be recorded, stop the scheduler, read both nodes, and judge."""
        master, standby = self.pair.wait_healthy()
        until_us = int(time.time() - SETTLE_S) * 1_000_000
        self.pair.wait("all to be recorded", lambda: self._recorded(master, until_us))
        load = Workload(self.pair)
        self.pair.type(master, "understudy", "scheduler", "stop")
        load.wait_all_ended(master)
        self.pair.wait("nothing in the backlog", lambda: load.is_quiet(master, standby))
        views = [load.view(node, until_us) for node in (master, standby)]
        ran = self.ran()
        faults = [*_happened_once(self.due(until_us), ran, until_us), *_ran_meanwhile(ran, self.due(back_us), back_us)]
        for view in views:
            faults += _told(view, ran, self.schedules)
        meanwhile = [at - due for _, due, at in ran if gone_us <= due < back_us]
        counts = {"jobs": len(self.schedules), "runs": len(ran), "due while away": len(meanwhile)}
        return Verdict({**counts, **lateness(meanwhile), "nodes": len(views), "faults": len(faults)}, tuple(faults))

    def _recorded(self, master: Node, until_us: int) -> bool:
        """Whether Job History has as many occurrences as were due."""
        api = master.api
        keys = [OCCURRENCE.match(run["key"]) for run in api.pages("/api/v1/runs", "number")]
        api.close()
        known = {(int(m["schedule"]), instant_us(m["instant"])) for m in keys if m}
        return self.due(until_us) <= known


def lateness(late_us: list[int]) -> dict[str, int]:
    """How long after their instant the jobs wrote their line, in milliseconds."""
    ordered = sorted(late_us) or [0]
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    last = len(ordered) - 1
    return {
        f"late ms {name}": round(ordered[min(int(len(ordered) * share), last)] / 1000) for name, share in shares.items()
    }


def _happened_once(due: set[tuple[int, int]], ran: list[tuple[int, int, int]], until_us: int) -> Iterator[str]:
    times = Counter((schedule, at) for schedule, at, _ in ran)
    for occurrence in sorted(due - times.keys()):
        yield f"due and did not run: {occurrence}"
    for occurrence, count in times.items():
        if count > 1:
            yield f"ran {count} times: {occurrence}"
    for schedule, instant, at_us in ran:
        if at_us < instant:
            yield f"ran before it was due: {(schedule, instant)}"


def _ran_meanwhile(ran: list[tuple[int, int, int]], due: set[tuple[int, int]], back_us: int) -> Iterator[str]:
    """On time means by the agent itself: what was due well before the master came back did not wait for it."""
    for schedule, instant, at_us in ran:
        if (schedule, instant) in due and instant < back_us - 10_000_000 and at_us >= back_us:
            yield f"waited for the master: {(schedule, instant)}"


def _told(view: NodeView, ran: list[tuple[int, int, int]], schedules: dict[int, Job]) -> Iterator[str]:
    """Each run is one row with its exit code; nothing that ran is called missed; no row without its line."""
    lines = {(schedule, at) for schedule, at, _ in ran}
    rows: Counter[tuple[int, int]] = Counter()
    for row in view.runs:
        match = OCCURRENCE.match(row.key)
        assert match, row.key
        occurrence = int(match["schedule"]), instant_us(match["instant"])
        rows[occurrence] += 1
        job = schedules[occurrence[0]]
        if occurrence not in lines or row.exit_code != job.exit_code:
            yield f"{view.node} shows {row.key} as {row.state} with exit code {row.exit_code}; {job}"
        if row.output is not None and row.output != f"output of {row.key}\n":
            yield f"{view.node} has another output of {row.key}: {row.output[:60]!r}"
    for occurrence in sorted(lines - rows.keys()):
        yield f"{view.node} has no row of what ran: {occurrence}"
    for occurrence, count in rows.items():
        if count > 1:
            yield f"{view.node} has {count} rows of {occurrence}"
    for occurrence in sorted(set(view.missed) & lines):
        yield f"{view.node} calls missed what ran: {occurrence}"


def outage(directory: Path, count: int, say: Say, minutely: int = 200, quick: int = 20) -> Verdict:
    """kill -9 of the master for `count` minutes; nobody takes over; then it returns. Jobs of minutes and of 10 s."""
    with running_pair(directory) as pair:
        pair.add_agent(THIRD)
        pair.wait_healthy()
        load = Outage(pair, minutely, quick).start()
        master, standby = pair.wait_healthy()
        gone_us = time.time_ns() // 1000
        master.program.kill()
        say(f"{len(load.schedules)} jobs on {len(pair.agents)} agents; the master is gone for {count} min")
        time.sleep(60 * count)
        assert standby.status().get("role") == "standby", "nobody was to take over"
        back_us = time.time_ns() // 1000
        master.program.start()
        pair.wait_healthy(120)
        verdict = load.finish(gone_us, back_us)
        say(f"the master was away for {(back_us - gone_us) / 1e6:.0f} s")
        return verdict
