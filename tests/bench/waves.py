"""Many jobs due in the same second on one agent of a pair: what Job History says of them, and when it said so."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.bench.processor_time import ProcessorTime
from tests.process.api import Api
from tests.process.cluster import Pair, running_pair

AGENT = "alpha"
AHEAD_S = 3.0
"""The orders are at the agent by then, since they are planned while jobs are made."""
MADE_PER_S = 100.0
"""So many jobs are made a second at least, until it is known better."""
MAKERS = 8
POLL_S = 0.02
POLL_SHARE = 0.05
"""Of the time that passed: whoever asks takes processor time of what is measured, and this much is not known of it."""
EVERY_S = 2
"""Between the waves of a train."""


@dataclass(frozen=True)
class Wave:
    """`count` jobs due at once. Times are microseconds: of starts after the instant, and of the last record.

    `cpu_ms` is processor time for each job by program, from just before the instant until the last record.
    """

    count: int
    late_us: list[int]
    recorded_us: int
    cpu_ms: dict[str, float]

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
    """Makes jobs and waits for their runs. Each wave has jobs of its own, due once; those of a train several times.

    Nothing new is begun after `budget_s` from now: `has_time` says so.
    """

    def __init__(self, pair: Pair, budget_s: float) -> None:
        self._api: Api = pair.node("master").api
        self._makers = [Api(a.host, a.port, a.authority, a.token) for a in [self._api] * MAKERS]
        self._made = 0
        self._made_per_s = MADE_PER_S
        self._time = ProcessorTime(pair, AGENT)
        self._end_s = time.monotonic() + budget_s
        self._took_s: dict[tuple[int, int], float] = {}

    def has_time(self, count: int, waves: int = 1) -> bool:
        """Whether a train like that is over in time, as far as the one before tells; the first one always is."""
        return time.monotonic() + self._took_s.get((count, waves), 0.0) < self._end_s

    def wave(self, count: int, command: str = "true") -> Wave:
        """`count` jobs, all due at one instant a few seconds ahead."""
        return self.train(count, 1, command)

    def train(self, count: int, waves: int, command: str = "true") -> Wave:
        """`count` jobs, all due at the same instants, `EVERY_S` apart within one minute, as one wave of them all."""
        began_s = time.monotonic()
        known = self._number()
        ready_s = AHEAD_S + 1.5 * count / self._made_per_s
        first_s = int(time.time() + ready_s) + 1
        if first_s % 60 + (waves - 1) * EVERY_S >= 60:
            first_s += 60 - first_s % 60
        names = self._make(count, first_s, waves, command)
        if time.time() > first_s - AHEAD_S / 2:
            raise SystemExit(f"{count} jobs were not made within {ready_s:.0f} s; measure on a quieter machine")
        last_s = first_s + (waves - 1) * EVERY_S
        time.sleep(first_s - 0.2 - time.time())
        self._time.begin()
        time.sleep(last_s - time.time())
        self._api.close()  # a node ends a connection that is silent for long
        self._wait_recorded(known + count * waves)
        recorded_us = int((time.time() - last_s) * 1e6)
        cpu_ms = self._time.ms_each(count * waves)
        rows = self._newest(count * waves)
        assert all(row["state"] == "succeeded" and row["job"] in names for row in rows), rows[:3]
        self._took_s[count, waves] = time.monotonic() - began_s
        late_us = [row["started_at_us"] - row["scheduled_for_us"] for row in rows]
        return Wave(count * waves, late_us, recorded_us, cpu_ms)

    def _make(self, count: int, first_s: int, waves: int, command: str) -> set[str]:
        """The jobs, a few clients side by side; their names."""
        at = datetime.fromtimestamp(first_s, UTC)
        seconds = ",".join(str(at.second + number * EVERY_S) for number in range(waves))
        schedule = {"cron": f"{seconds} {at.minute} {at.hour} {at.day} {at.month} *", "zone": "UTC"}
        names = [f"wave-{self._made + number:06}" for number in range(1, count + 1)]
        self._made += count

        def make(maker: int) -> None:
            for name in names[maker::MAKERS]:
                body = {"name": name, "command": command, "agent": AGENT, "schedules": [schedule]}
                self._makers[maker].post("/api/v1/jobs", body, key=name)
            self._makers[maker].close()

        began_s = time.monotonic()
        with ThreadPoolExecutor(MAKERS) as pool:
            list(pool.map(make, range(MAKERS)))
        if count >= 100:
            self._made_per_s = count / (time.monotonic() - began_s)
        return set(names)

    def _wait_recorded(self, last: int) -> None:
        """Until that many runs are there and none is open: reads wait until both nodes have what they show."""
        began_s = time.monotonic()

        def pause() -> None:
            time.sleep(max(POLL_S, POLL_SHARE * (time.monotonic() - began_s)))

        while self._number() < last:
            pause()
        for state in ("starting", "running"):
            while self._open(state):
                pause()

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


def middle(values: list[float]) -> float:
    """The upper median."""
    return sorted(values)[len(values) // 2]


def cpu_ms_per_job(waves: list[Wave]) -> dict[str, float]:
    """The median of each program, and of all of them together."""
    shown = {name: middle([wave.cpu_ms[name] for wave in waves]) for name in waves[0].cpu_ms}
    return shown | {"all": round(middle([sum(wave.cpu_ms.values()) for wave in waves]), 2)}
