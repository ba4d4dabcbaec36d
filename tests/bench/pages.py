"""Server time of the agents' pages at 100, 1,000 and 10,000 agents, each with its order, a gate and ended runs.

What is timed is what a request costs the server beside its HTTP: the rows read, the page made, the HTML written. It is
time on the processor, all of it is in memory: others on the machine do not count.
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import time
from collections.abc import Callable
from typing import Any

from server.storage import migrate
from server.web import live
from server.web.frame import Frame
from server.web.pages import agents
from server.web.pages.contacts import Contact
from server.web.render import render

NOW_US = 1_790_000_000_000_000
SIZES = (100, 1_000, 10_000)
SPEC = '{"job_id":1,"job_name":"job","command":"true"}'


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds (p50, p95) of the list, a filtered list, the last page of it, one agent, and the live channel."""
    return {f"{count} agents": _measure(count, arguments.runs, arguments.seconds) for count in SIZES}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """How much history there is."""
    parser.add_argument("--runs", type=int, default=200_000, help="ended runs in the history")


def _measure(count: int, runs: int, seconds: float) -> dict[str, Any]:
    connection = _filled(count, runs)
    frame = Frame("Agents", "/agents", NOW_US, "c" * 32, "north", "master", "admin", "administrator")

    def listed(after: str = "", match: str = "", state: str = "") -> int:
        found = agents.read_list(connection, after, match, state)
        return len(render(agents.list_page(frame, found, lambda _: Contact(0.02, 3), match, state)))

    last, one = f"agent-{max(count - 50, 0):05}", f"agent-{count // 2:05}"
    return {
        "list": _times(listed, seconds),
        "list from the middle": _times(lambda: listed(one), seconds),
        "list, name contains 99": _times(lambda: listed(match="99"), seconds),
        "list, not acknowledged": _times(lambda: listed(state="unacknowledged"), seconds),
        "end of the list": _times(lambda: listed(last), seconds),
        "one agent": _times(lambda: agents.read_one(connection, one, NOW_US), seconds),
        "live channel, one look": _times(lambda: live.marks(connection), seconds),
        "bytes": listed(),
    }


def _times(work: Callable[[], object], seconds: float) -> dict[str, float]:
    work()
    found, end = [], time.perf_counter() + seconds / 8
    while time.perf_counter() < end or len(found) < 20:
        began = time.thread_time()
        work()
        found.append((time.thread_time() - began) * 1000)
    return {"p50": round(statistics.median(found), 2), "p95": round(sorted(found)[int(len(found) * 0.95)], 2)}


def _filled(count: int, runs: int) -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate.migrate(connection)
    connection.execute("BEGIN")
    put = connection.executemany
    ids = [f"{n:032x}" for n in range(count)]
    values = [(ids[n], f"agent-{n:05}", NOW_US, 40 + n % 2, 7) for n in range(count)]
    put("INSERT INTO agents (id, name, enrolled_at_us, gates_acknowledged, ticket) VALUES (?, ?, ?, ?, ?)", values)
    connection.execute("INSERT OR REPLACE INTO settings VALUES ('gate_revision', '41')")
    put(
        "INSERT INTO jobs (id, name, command, agent_id, created_at_us, updated_at_us) VALUES (?, ?, 'true', ?, 0, 0)",
        [(n + 1, f"job-{n:05}", ids[n]) for n in range(count)],
    )
    put(
        "INSERT INTO schedules (id, job_id, cron, zone, created_at_us) VALUES (?, ?, '* * * * *', 'UTC', 0)",
        [(n + 1, n + 1) for n in range(count)],
    )
    put(
        "INSERT INTO orders (schedule_id, job_id, agent_id, version, state, valid_from_us, valid_until_us, instants,"
        " specification, acknowledged_version, accounted_until_us, renew_at_us, next_instant_us)"
        f" VALUES (?, ?, ?, 1, 'active', 0, {NOW_US * 2}, '[]', '{SPEC}', 1, 0, 0, 0)",
        [(n + 1, n + 1, ids[n]) for n in range(count)],
    )
    states = ("succeeded", "failed", "succeeded", "succeeded")
    put(
        "INSERT INTO runs (key, job_id, agent_id, state, state_since_us, command, submitted_at_us, ended_at_us)"
        f" VALUES (?, ?, ?, ?, {NOW_US}, 'true', {NOW_US}, {NOW_US})",
        ((f"j1.r{n}.a1", n % count + 1, ids[n % count], states[n % 4]) for n in range(runs)),
    )
    connection.execute("COMMIT")
    return connection
