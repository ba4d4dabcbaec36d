"""Files appear at a rate while agent and master are killed at random: each one's event begins one run of each job.

Two jobs react to one monitor: one of the watching agent, which begins it by itself, and one of the other agent, which
the master submits. The witness is what the jobs wrote and fsynced themselves; rows are only compared with it.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tests.process.api import NoAnswer
from tests.process.checker import Verdict
from tests.process.cluster import Pair, running_pair

FILES_PER_S = 8.0
JOBS = {"here": "alpha", "elsewhere": "beta"}


class Arrivals:
    """Puts files into the watched directory, each whole and by a rename, until stopped."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._put, daemon=True)

    def start(self) -> Arrivals:
        self._thread.start()
        return self

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()

    def _put(self) -> None:
        while not self._stop.wait(1 / FILES_PER_S):
            name = f"{len(self.names):06}.csv"
            part = self.folder / f".{name}"
            part.write_text(name)
            part.rename(self.folder / name)
            self.names.append(name)


def events(directory: Path, count: int, say: Callable[[str], None]) -> Verdict:
    """`count` kills: of the watching agent, of the master (started again), of the master (the standby takes over)."""
    folder = directory / "arrivals"
    folder.mkdir(parents=True)
    choice = random.Random(count)
    killed: Counter[str] = Counter()
    with running_pair(directory, flags=("--mode", "strict")) as pair:
        proofs = {job: directory / f"{job}.ran" for job in JOBS}
        _make(pair, folder, proofs)
        pair.wait("the first look", lambda: _sees(pair, folder))
        arrivals = Arrivals(folder).start()
        for number in range(count):
            kind = ("agent", "master", "agent", "failover", "both")[number % 5]
            time.sleep(choice.uniform(0.2, 2))  # a random moment, not a wait for something
            _strike(pair, kind, choice)
            killed[kind] += 1
            pair.wait_healthy()
        arrivals.finish()
        say("killed: " + ", ".join(f"{kind} {times}" for kind, times in sorted(killed.items())))
        return _judge(pair, arrivals.names, folder, proofs)


def _make(pair: Pair, folder: Path, proofs: dict[str, Path]) -> None:
    api = pair.node("master").api
    for job, agent in JOBS.items():
        line = f'echo "$UNDERSTUDY_RUN_ID $UNDERSTUDY_EVENT_PATH" >> {proofs[job]} && sync {proofs[job]}'
        api.post("/api/v1/jobs", {"name": job, "command": line, "agent": agent}, key=f"make-{job}")
    settings = {"path": f"{folder}/*.csv", "on": ["created"], "interval_s": 1, "existing": True}
    monitor = {"name": "arrivals", "agent": "alpha", "kind": "file", "settings": settings, "jobs": list(JOBS)}
    api.post("/api/v1/monitors", monitor, key="make-monitor")


def _sees(pair: Pair, folder: Path) -> bool:
    found = pair.node("master").api.get("/api/v1/monitors/arrivals")
    return bool(found["held_version"] == found["version"])


def _strike(pair: Pair, kind: str, choice: random.Random) -> None:
    """Kill, leave dead for a random while in which files go on to arrive, start again."""
    master, standby = pair.wait_healthy()
    agent = pair.agents["alpha"].program
    if kind in ("agent", "both"):
        agent.kill()
    if kind in ("master", "both", "failover"):
        master.program.kill()
    time.sleep(choice.uniform(0, 2))  # a random while
    if kind == "failover":
        pair.type(standby, "standby-to-master", "--yes")
        pair.wait("the standby to be master", standby.is_master)
    if kind == "both":
        agent.start()
        time.sleep(choice.uniform(0, 2))  # the agent works alone for a while
    if kind == "agent":
        agent.start()
    else:
        master.program.start()


def _rows(pair: Pair, job: str) -> list[dict[str, Any]]:
    try:
        return list(pair.node("master").api.pages("/api/v1/runs", "number", job=job))
    except NoAnswer:
        return []


def _judge(pair: Pair, names: list[str], folder: Path, proofs: dict[str, Path]) -> Verdict:
    """Wait until every file has an ended run of each job, then hold rows and witness against the files."""

    def settled() -> dict[str, list[dict[str, Any]]] | None:
        rows = {job: _rows(pair, job) for job in JOBS}
        open_ones = any(row["ended_at_us"] is None for found in rows.values() for row in found)
        return None if open_ones or any(len(found) < len(names) for found in rows.values()) else rows

    rows = pair.wait(f"{len(names)} events to be settled", settled, 180.0)
    fired = list(pair.node("master").api.pages("/api/v1/events/history", "id"))
    faults = [*_check_events(fired, names, folder)]
    for job, proof in proofs.items():
        faults += _check_job(job, rows[job], proof.read_text().splitlines(), names, folder)
    ran = {job: len(proof.read_text().splitlines()) for job, proof in proofs.items()}
    counts = {"files": len(names), "events": len(fired), **{f"ran {job}": n for job, n in ran.items()}}
    return Verdict({**counts, "faults": len(faults)}, tuple(faults))


def _check_events(fired: list[dict[str, Any]], names: list[str], folder: Path) -> Iterator[str]:
    told = Counter(event["variables"]["PATH"] for event in fired)
    for name in names:
        times = told.pop(str(folder / name), 0)
        if times != 1:
            yield f"{name}: {times} events"
    for path, times in told.items():
        yield f"{path}: {times} events of a file that nobody put"


def _check_job(job: str, rows: list[dict[str, Any]], lines: list[str], names: list[str], folder: Path) -> Iterator[str]:
    ran = Counter(line.split(" ", 1)[1] for line in lines)
    keys = Counter(line.split(" ", 1)[0] for line in lines)
    known = {row["key"]: row for row in rows}
    for key, times in keys.items():
        if times > 1:
            yield f"{job}: run {key} ran {times} times"
        if key not in known:
            yield f"{job}: run {key} ran and is in no row"
    for name in names:
        if ran[str(folder / name)] != 1:
            yield f"{job}: {name} ran {ran[str(folder / name)]} times"
    for key, row in known.items():
        if (row["state"], key in keys) != ("succeeded", True):
            yield f"{job}: run {key} is {row['state']} ({row['reason']}) and {'ran' if key in keys else 'did not run'}"
