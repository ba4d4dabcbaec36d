"""The state of a maintenance as people and programs read it: its session, who still runs, what it suppressed."""

from __future__ import annotations

import sqlite3
from statistics import median

import msgspec

from server.core.maintenance import Phase, Session, meaning
from server.storage import maintenance
from server.storage.maintenance import BusyRun, EndedRun, LogRow, Skipped

RUNS_SHOWN = 100
HISTORY = 20
"""How many successful runs say how long the next one takes."""


class StillRunning(msgspec.Struct, frozen=True):
    """A run that a maintenance waits for.

    `usual_us`: how long the job's latest successful runs took, by the median; `expected_end_us` follows from it; both
    None without any. `is_stopping`: somebody asked for its end, by `kill` at once.
    """

    number: int
    job: str
    agent: str
    state: str
    since_us: int
    usual_us: int | None
    expected_end_us: int | None
    is_stopping: bool
    kill: bool


class State(msgspec.Struct, frozen=True):
    """One look. `session` is the open one, or the last; None before the first.

    `late_agents` answer and have not said yet that they start nothing more; `silent_agents` do not answer: what they
    hold they will obey when they do. `unaware_agents` are of a former release: of one tenant's maintenance they are not
    told, and begin by their standing orders. `triggers_skipped` counts occurrences in time, `system_triggers_skipped`
    runs that events would have begun.
    """

    scope: str
    phase: Phase
    meaning: str
    session: Session | None
    running_count: int
    running: list[StillRunning]
    waiting_count: int
    late_agents: list[str]
    silent_agents: list[str]
    triggers_skipped: int
    system_triggers_skipped: int
    unaware_agents: list[str] = []

    @property
    def is_idle(self) -> bool:
        """Nothing runs, and nothing begins where an agent answers."""
        return not self.running_count and not self.late_agents


class Record(msgspec.Struct, frozen=True):
    """A session with all that it did: its changes, the runs that it ended, what it suppressed."""

    session: Session
    log: list[LogRow]
    ended_runs: list[EndedRun]
    skipped: list[Skipped]
    triggers_skipped: int
    system_triggers_skipped: int


def read(connection: sqlite3.Connection, place: tuple[str, str]) -> State:
    """A query: the state of a scope. `place`: the scope, and the id of its agent."""
    session = maintenance.latest(connection, place[0])
    phase = Phase.NONE if session is None else session.phase
    is_on = session is not None and phase is not Phase.NONE
    late, silent = maintenance.unheard(connection, place) if is_on else ([], [])
    skipped = (0, 0) if session is None else maintenance.count_skipped(connection, session)
    return State(
        place[0],
        phase,
        "" if session is None else meaning(phase, session.policy),
        session,
        maintenance.count_busy(connection, place),
        [still_running(connection, run) for run in maintenance.busy(connection, place, RUNS_SHOWN)],
        maintenance.count_waiting(connection, place),
        late,
        silent,
        *skipped,
    )


def records(
    connection: sqlite3.Connection, scope: str, after: int | None = None, limit: int = 20, listed: int = 1000
) -> list[Record]:
    """A query: sessions of a scope, newest first, going on below id `after`; `listed`: how much of each list."""
    return [
        Record(
            session,
            maintenance.log(connection, session.id),
            maintenance.ended(connection, session.id, listed),
            maintenance.skipped(connection, session, listed),
            *maintenance.count_skipped(connection, session),
        )
        for session in maintenance.page(connection, scope, after, limit)
    ]


def still_running(connection: sqlite3.Connection, run: BusyRun) -> StillRunning:
    """A run with its expected end from the history of its job."""
    usual = usual_us(connection, run.job_id)
    return StillRunning(
        run.number,
        run.job,
        run.agent,
        run.state,
        run.since_us,
        usual,
        None if usual is None else run.since_us + usual,
        run.cancel_requested_at_us is not None,
        run.cancel_kill,
    )


def usual_us(connection: sqlite3.Connection, job_id: int) -> int | None:
    """How long a run of the job takes: the median of its latest successful ones; None without any."""
    query = (
        "SELECT ended_at_us - started_at_us FROM (SELECT * FROM runs WHERE job_id = ? ORDER BY number DESC LIMIT 200)"
        " WHERE state = 'succeeded' AND started_at_us IS NOT NULL ORDER BY number DESC LIMIT ?"
    )
    took = [int(length) for (length,) in connection.execute(query, (job_id, HISTORY))]
    return round(median(took)) if took else None
