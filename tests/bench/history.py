"""P9: what each page and each answer costs the server when 10,000, 100,000 and 1,000,000 runs lie behind it.

The shipped application over a database in memory, with one of everything, 1,000 agents and 10,000 jobs; each GET of the
web port is asked over HTTP by an administrator, and the lists with their filters and from their middle too. What is
timed is processor time of the whole process, client included: others on the machine do not count.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from collections.abc import Iterable, Sequence
from typing import Any
from urllib.parse import quote

from tests.unit.ledger import START_US, Ledger
from tests.unit.role_stage import ALL, Cast, open_cast
from tests.unit.tenant_kinds import PARAMETER

SIZES = (10_000, 100_000, 1_000_000)
JOBS, AGENTS = 10_000, 1_000
GOAL_MS = 50.0
REPEATS = 10
SECOND_US = 1_000_000
RUN = "key job_id agent_id state state_since_us command submitted_at_us started_at_us ended_at_us exit_code"
FLOW = "workflow_id version key state state_since_us requested_by requested_at_us ended_at_us"
TOLD = "list kind address what key subject text created_at_us next_us state ended_at_us"
WHO = "us_administrator"
ENDLESS = ("/api/v1/events",)
"""A stream that does not end."""
FILTERED = (
    "/runs?state=failed", "/runs?state=running", "/runs?state=undecided", "/runs?job=many-00007", "/runs?after=5000",
    "/api/v1/runs?state=failed", "/api/v1/runs?job=many-00007", "/api/v1/runs?limit=1000", "/jobs?match=99",
    "/jobs?match=nowhere", "/jobs?after=many-05000", "/agents?match=many-agent-00500", "/messages?match=nowhere",
    "/server-history?match=nowhere", "/server-history?open=1", "/users/audit?who=nobody", "/scheduler?cause=nowhere",
    "/workflow-runs?state=failed", "/forecast?days=7", "/calendars/apple-calendar?year=2027",
)  # fmt: skip
"""Lists as people ask for them; `nowhere` is in none of them, so that all would be read."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much history there is."""
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES, help="ended runs in the history")
    parser.add_argument("--worst", type=int, default=12, help="how many of the slowest are shown")


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """For each size how many were asked, how many cost more than the goal, and the slowest with all sizes beside it."""
    found = {size: _measure(size) for size in arguments.sizes}
    last = found[arguments.sizes[-1]]
    worst = sorted(last, key=lambda path: -last[path][1])[: arguments.worst]
    return {
        "goal_ms": GOAL_MS,
        "sizes": {
            size: {
                "asked": len(times),
                "p50_of_all": round(statistics.median(p50 for p50, _ in times.values()), 1),
                "over_the_goal": sorted(path for path, (_, p95) in times.items() if p95 > GOAL_MS),
            }
            for size, times in found.items()
        },
        "slowest, p50 and p95 in ms": {path: [times.get(path) for times in found.values()] for path in worst},
    }


def _measure(runs: int) -> dict[str, tuple[float, float]]:
    """(p50, p95) in milliseconds by path, of what was answered with something."""
    times = {}
    with open_cast(lambda ledger: _fill(ledger, runs)) as cast:
        for path, is_page in _paths(cast):
            taken: list[float] = []
            end = time.monotonic() + 4
            while len(taken) < REPEATS and (time.monotonic() < end or len(taken) < 3):
                began = time.process_time()
                status = cast.get(WHO, path, is_page)
                taken.append((time.process_time() - began) * 1000)
            if status == 200:
                times[path] = (round(statistics.median(taken[1:]), 1), round(max(taken[1:]), 1))
    return times


def _paths(cast: Cast) -> Iterable[tuple[str, bool]]:
    """Every GET with the things of the stage, and again with the jobs, agents and runs that have the history."""
    own = {"{name}": {"jobs": "many-00007", "agents": "many-agent-00007"}, "{number}": {"runs": "100"}}
    seen = set()
    for method, route, is_page in ALL:
        if method != "GET" or route in ENDLESS:
            continue
        paths = [cast.filled(route, is_page)]
        paths += [paths[0].replace("/apple", f"/{quote('acme:')}apple")]
        if (first := PARAMETER.search(route)) is not None:
            kind = route[: first.start()].rstrip("/").rsplit("/", 1)[-1]
            value = "7" if is_page and kind == "jobs" else own.get(f"{{{first[1]}}}", {}).get(kind, "")
            paths += [cast.filled(route.replace(first[0], value, 1), is_page)] if value else []
        for path in paths:
            if path not in seen:
                seen.add(path)
                yield path, is_page
    yield from ((path, not path.startswith("/api/")) for path in FILTERED)


def _fill(ledger: Ledger, runs: int) -> None:
    """Rows of every kind that a year leaves behind, in numbers that go with the runs."""
    rows = ledger.connection
    rows.execute("BEGIN")
    agents = [f"{number:032x}" for number in range(1, AGENTS + 1)]
    _put(
        rows, "agents", "id name enrolled_at_us ticket", ((a, f"many-agent-{n:05}", 1, 7) for n, a in enumerate(agents))
    )
    first = 1 + int(rows.execute("SELECT max(id) FROM jobs").fetchone()[0])
    jobs = range(first, first + JOBS)
    _put(
        rows, "jobs", "id name command agent_id created_at_us updated_at_us planned_version",
        ((job, f"many-{job - first:05}", "true", agents[job % AGENTS], 1, 1, 1) for job in jobs),
    )  # fmt: skip
    _put(rows, "schedules", "job_id cron zone created_at_us", ((job, "*/5 * * * *", "UTC", 1) for job in jobs))
    _put(rows, "runs", RUN, (_run(n, first, agents, START_US - (runs - n) * SECOND_US) for n in range(runs)))
    some = [(n, START_US - n * SECOND_US) for n in range(runs // 20)]
    schedule = int(rows.execute("SELECT max(id) FROM schedules").fetchone()[0])
    missed = ((first + n % JOBS, schedule - n % JOBS, at, "scheduler_stopped", at) for n, at in some)
    _put(rows, "missed", "job_id schedule_id scheduled_for_us cause recorded_at_us", missed)
    _put(rows, "system_messages", "at_us severity text", ((at, "info", f"said {n}") for n, at in some))
    audited = ((at, "somebody", "", "job.run", f"j{n}") for n, at in some)
    _put(rows, "audit", "at_us who address action object", audited)
    late = ((f"h{n}.r.a1", agents[n % AGENTS], f"many-{n % JOBS:05}", b"", "late", at) for n, at in some)
    _put(rows, "server_history", "run_key agent_id job_name output why recorded_at_us", late)
    answered = ((f"k{n}", "somebody", "h", 200, "{}", at) for n, at in some)
    _put(rows, "outcomes", "key principal request_hash status answer recorded_at_us", answered)
    flow = rows.execute("SELECT id FROM workflows").fetchone()[0]
    flows = ((flow, 1, f"wk{n}", "succeeded", at, "x", at, at) for n, at in some)
    _put(rows, "workflow_runs", FLOW, flows)
    told = (("l", "mail", "a@example.org", "run", f"d{n}", "s", "t", at, 0, "sent", at) for n, at in some)
    _put(rows, "notification_deliveries", TOLD, told)
    rows.execute("COMMIT")


def _run(n: int, first: int, agents: Sequence[str], at_us: int) -> tuple[object, ...]:
    job, failed = first + n % JOBS, n % 50 == 0
    state = "failed" if failed else "succeeded"
    return f"j{job}.r{n}.a1", job, agents[n % AGENTS], state, at_us, "true", at_us, at_us, at_us, int(failed)


def _put(rows: sqlite3.Connection, table: str, columns: str, values: Iterable[Sequence[object]]) -> None:
    names = columns.split()
    marks = ", ".join("?" * len(names))
    rows.executemany(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({marks})", values)
