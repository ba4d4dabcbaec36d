"""The master is killed while notifications wait for a receiver that refuses: each arrives once it takes them.

A job fails at each of its attempts, and ends too soon for its monitor. The receiver outside the product is the witness:
what it answered 2xx it has taken. A trip is found once; what was told twice was told under the same id.
"""

from __future__ import annotations

import http.server
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.process.checker import Verdict
from tests.process.cluster import Node, Pair, running_pair
from tests.process.partitions import stands_by, take_over

Say = Callable[[str], None]
RUNS = 4
"""Runs in each round, each with two attempts."""


class Receiver:
    """A webhook on loopback. `taken`: (id, message) of what it answered 2xx, in order; `refused` counts the rest."""

    def __init__(self) -> None:
        self.takes = False
        self.taken: list[tuple[str, dict[str, Any]]] = []
        self.refused = 0
        self.url = ""

    def answer(self, delivery: str, body: bytes) -> int:
        """The status for one message."""
        if not self.takes:
            self.refused += 1
            return 503
        self.taken.append((delivery, json.loads(body)))
        return 204


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver in a thread of its own, until the end of the block."""
    receiver = Receiver()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(receiver.answer(self.headers["Understudy-Delivery"], body))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)


def notifications(directory: Path, count: int, say: Say) -> Verdict:
    """`count` failovers with a full queue; afterwards every run that failed was told once, and every trip."""
    with receiving() as receiver, running_pair(directory) as pair:
        master, _ = pair.wait_healthy()
        _make(master, receiver.url)
        faults: list[str] = []
        for number in range(1, count + 1):
            say(f"failover {number}: {_round(pair, receiver, number)}")
        master, _ = pair.wait_healthy()
        api = master.api
        runs = list(api.pages("/api/v1/runs", "number", job="failing"))
        trips = list(api.pages("/api/v1/job-monitors/trips", "id", job="failing"))
        api.close()
        told = Counter(delivery for delivery, _ in receiver.taken)
        about = {delivery: message["about"] for delivery, message in receiver.taken}
        faults += _compare(runs, trips, about)
        counts = {
            "runs": len(runs),
            "trips": len(trips),
            "told": len(told),
            "told twice": sum(times > 1 for times in told.values()),
            "refused": receiver.refused,
        }
        return Verdict(counts, tuple(faults))


def _make(master: Node, url: str) -> None:
    api = master.api
    spec = {"webhooks": [{"url": url, "secret": "a word of eight"}]}
    assert api.request("PUT", "/api/v1/notification-lists/ops", spec, "make-list").status == 200
    job = {
        "name": "failing",
        "command": "exit 7",
        "agent": "alpha",
        "retry": {"attempts_max": 2, "delay_s": 1},
        "job_monitors": {"underrun_s": 600, "notify": ["ops"], "notify_failed": ["ops"]},
    }
    api.post("/api/v1/jobs", job, key="make-failing")
    api.close()


def _round(pair: Pair, receiver: Receiver, number: int) -> str:
    """Runs fail while the receiver refuses; the master is killed in the middle; then the receiver takes all."""
    master, standby = pair.wait_healthy()
    receiver.takes = False
    api = master.api
    for run in range(RUNS):
        api.post("/api/v1/jobs/failing/run", {}, key=f"run-{number}-{run}")
    pair.wait("something refused", lambda: _waiting(master) >= RUNS)
    api.close()
    waiting = _waiting(master)
    master.program.kill()
    take_over(pair, standby)
    master.program.start()
    stands_by(pair, master, standby)
    pair.wait("each attempt to have ended", lambda: _ended(standby) == 2 * RUNS * number)
    receiver.takes = True
    pair.wait("nothing to wait any more", lambda: _waiting(standby) == 0, 120.0)
    return f"{waiting} waited when {master.name} was killed; {standby.name} sent what was left"


def _waiting(node: Node) -> int:
    api = node.api
    found = api.get("/api/v1/notifications", state="waiting", limit=1000)
    api.close()
    return len(found)


def _ended(node: Node) -> int:
    api = node.api
    found = [run for run in api.pages("/api/v1/runs", "number", job="failing") if run["state"] == "failed"]
    api.close()
    return len(found)


def _compare(runs: list[dict[str, Any]], trips: list[dict[str, Any]], about: dict[str, str]) -> list[str]:
    """Faults: a final failure or a trip that was not told, or under two ids; one that was told and is not there."""
    expected = {f"run {run['key']}" for run in runs if run["attempt"] == 2}
    expected |= {f"job monitor trip {trip['id']}" for trip in trips}
    told = Counter(about.values())
    faults = [f"{one} was not told" for one in sorted(expected - set(told))]
    faults += [f"{one} was told and should not be" for one in sorted(set(told) - expected)]
    faults += [f"{one} was told under {times} ids" for one, times in told.items() if times > 1]
    found = Counter(trip["run_key"] for trip in trips)
    faults += [f"{run['key']} has {found[run['key']]} trips" for run in runs if found[run["key"]] != 1]
    return faults
