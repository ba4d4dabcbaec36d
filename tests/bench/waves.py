"""Many jobs due in the same second on one agent of a pair: what Job History says of them, and when it said so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.process.api import Api
from tests.process.cluster import Pair, running_pair

AGENT = "alpha"
AHEAD_S = 4.0
"""The orders are at the agent by then."""
POLL_S = 0.02
EVERY_S = 3
"""Between the waves of a train."""


@dataclass(frozen=True)
class Wave:
    """`count` jobs due at once. Times are microseconds: of starts after the instant, and of the last record."""

    count: int
    late_us: list[int]
    recorded_us: int

    @property
    def starts_per_s(self) -> float:
        """From the instant to the last start."""
        return self.count / (max(self.late_us) / 1e6)

    @property
    def jobs_per_s(self) -> float:
        """From the instant until the last end was committed on both nodes."""
        return self.count / (self.recorded_us / 1e6)


@contextmanager
def one_agent(directory: Path) -> Iterator[Pair]:
    """A pair in sync with one agent, which is no witness."""
    with running_pair(directory, witness="", agents=(AGENT,)) as pair:
        yield pair


class Waves:
    """Makes jobs and waits for their runs. Each wave has jobs of its own, due once; those of a train several times."""

    def __init__(self, pair: Pair) -> None:
        self._api: Api = pair.node("master").api
        self._made = 0

    def wave(self, count: int, command: str = "true") -> Wave:
        """`count` jobs, all due at one instant a few seconds ahead."""
        return self.train(count, 1, command)

    def train(self, count: int, waves: int, command: str = "true") -> Wave:
        """`count` jobs, all due at the same instants, `EVERY_S` apart within one minute, as one wave of them all."""
        names = []
        ready_s = AHEAD_S + count / 25
        first_s = int(time.time() + ready_s) + 1
        if first_s % 60 + (waves - 1) * EVERY_S >= 60:
            first_s += 60 - first_s % 60
        at = datetime.fromtimestamp(first_s, UTC)
        seconds = ",".join(str(at.second + number * EVERY_S) for number in range(waves))
        cron = f"{seconds} {at.minute} {at.hour} {at.day} {at.month} *"
        for _ in range(count):
            self._made += 1
            names.append(f"wave-{self._made:06}")
            body = {"name": names[-1], "command": command, "agent": AGENT, "schedules": [{"cron": cron, "zone": "UTC"}]}
            self._api.post("/api/v1/jobs", body, key=names[-1])
        if time.time() > at.timestamp() - 2:
            raise SystemExit(f"{count} jobs were not made within {ready_s:.0f} s; measure on a quieter machine")
        known = self._number()
        last_s = first_s + (waves - 1) * EVERY_S
        time.sleep(last_s - time.time())
        self._wait_recorded(known + count * waves)
        recorded_us = int((time.time() - last_s) * 1e6)
        rows = self._newest(count * waves)
        assert all(row["state"] == "succeeded" and row["job"] in set(names) for row in rows), rows[:3]
        return Wave(count * waves, [row["started_at_us"] - row["scheduled_for_us"] for row in rows], recorded_us)

    def _wait_recorded(self, last: int) -> None:
        """Until that many runs are there and none is open: reads wait until both nodes have what they show."""
        while self._number() < last or any(self._open(state) for state in ("starting", "running")):
            time.sleep(POLL_S)

    def _number(self) -> int:
        rows = self._api.get("/api/v1/runs", limit=1)
        return int(rows[0]["number"]) if rows else 0

    def _open(self, state: str) -> bool:
        return bool(self._api.get("/api/v1/runs", limit=1, state=state))

    def _newest(self, count: int) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for row in self._api.pages("/api/v1/runs", "number"):
            rows.append(row)
            if len(rows) == count:
                break
        return rows
