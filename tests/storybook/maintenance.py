"""Maintenance in its phases: off, running dry, closed, suspended with its log, and for who may not read the log."""

from __future__ import annotations

import msgspec

from server.core.maintenance import CRYOSPARC, UIPATH, Phase, Policy, Session, meaning
from server.storage.maintenance import EndedRun, LogRow, Skipped
from server.storage.maintenance_states import Record, State, StillRunning
from server.web.pages.maintenance import MaintenancePage
from server.web.pages.serve import maintenance_line
from tests.storybook.fixture import HOUR_US, MINUTE_US, NOW_US, Story, frame

BEGAN_US = NOW_US - 20 * MINUTE_US


def session(phase: Phase, policy: Policy, **more: object) -> Session:
    """A row."""
    values: dict[str, object] = {
        "id": 3,
        "scope": "",
        "agent_id": "",
        "phase": phase,
        "running": policy.running,
        "submissions": policy.submissions,
        "pages": policy.pages,
        "reason": "new storage for the archive",
        "started_at_us": BEGAN_US,
        "started_by": "admin",
        "ended_at_us": None,
        "ended_by": "",
        "stops_attempted": 0,
        "kills_attempted": 0,
        "suspend_at_us": None,
        "suspend_when_idle": False,
        "suspend_kill": False,
        "end_at_us": None,
    }
    return Session(**(values | more))  # type: ignore[arg-type]  # values by name


def run(number: int, job: str, minutes: int, usual: int | None, **more: object) -> StillRunning:
    """A run at work."""
    since_us = NOW_US - minutes * MINUTE_US
    end_us = None if usual is None else since_us + usual * MINUTE_US
    values: dict[str, object] = {"is_stopping": False, "kill": False} | more
    usual_us = None if usual is None else usual * MINUTE_US
    return StillRunning(number, job, "dock-1", "running", since_us, usual_us, end_us, **values)  # type: ignore[arg-type]  # values by name


RUNS = [
    run(9121, "nightly-archive", 41, 55),
    run(9125, "checksum-documents", 12, 8),
    run(9126, "first-import", 3, None),
]
STOPPING = [
    run(9121, "nightly-archive", 41, 55, is_stopping=True),
    run(9125, "first-import", 12, None, kill=True, is_stopping=True),
]


def state(of: Session | None, running: list[StillRunning], **more: object) -> State:
    """One look."""
    phase = of.phase if of is not None else Phase.NONE
    means = meaning(phase, of.policy) if of is not None else ""
    values = {"late": [], "silent": [], "skipped": (0, 0)} | more
    late, silent, skipped = values["late"], values["silent"], values["skipped"]
    return State("", phase, means, of, len(running), running, 7, late, silent, *skipped)  # type: ignore[arg-type, misc]  # values by name


def record(of: Session, phases: tuple[str, ...]) -> Record:
    """A session with what it did."""
    log = [
        LogRow(
            id=number,
            session_id=of.id,
            phase=phase,
            policy="runs stop, submissions reject, pages closed",
            at_us=BEGAN_US + number * MINUTE_US,
            changed_by="admin",
            reason=of.reason if number == 1 else "",
        )
        for number, phase in enumerate(phases)
    ]
    ended = [EndedRun(run=9121, job="nightly-archive", kill=False, at_us=BEGAN_US, state="cancelled")]
    skipped = [
        Skipped(job_id=3, job="nightly-archive", at_us=BEGAN_US + MINUTE_US, missed_id=41, run=None, resolution=""),
        Skipped(
            job_id=5, job="disk-usage", at_us=BEGAN_US + 2 * MINUTE_US, missed_id=42, run=None, resolution="policy"
        ),
        Skipped(
            job_id=6, job="import-invoice", at_us=BEGAN_US + 3 * MINUTE_US, missed_id=None, run=9130, resolution=""
        ),
    ]
    return Record(of, log, ended, skipped, 2, 1)


def _of_tenant() -> MaintenancePage:
    """One tenant's, while another one's and an agent's are on."""
    acme = msgspec.structs.replace(session(Phase.DRAINING, CRYOSPARC), scope="tenant:acme")
    look = msgspec.structs.replace(state(acme, RUNS[:1]), scope="tenant:acme", unaware_agents=["yard-7"])
    others = (
        msgspec.structs.replace(session(Phase.SUSPENDED, UIPATH), scope="tenant:bravo", reason="the tenant is closed"),
        msgspec.structs.replace(session(Phase.DRAINING, UIPATH), scope="agent:dock-2"),
    )
    return MaintenancePage(frame("Maintenance", "/maintenance"), look, (record(acme, ("none", "draining")),), others)


def stories() -> list[Story]:
    """Every phase."""
    dry = session(Phase.DRAINING, CRYOSPARC)
    closed = session(Phase.DRAINING, UIPATH, stops_attempted=2, suspend_when_idle=True)
    suspended = session(Phase.SUSPENDED, UIPATH, stops_attempted=1, end_at_us=NOW_US + HOUR_US)
    over = session(Phase.NONE, UIPATH, stops_attempted=1, ended_at_us=NOW_US - MINUTE_US, ended_by="admin")

    def page(of: Session | None, look: State, *records: Record, **more: object) -> MaintenancePage:
        lines = maintenance_line(of if of is not None and of.phase is not Phase.NONE else None)
        return MaintenancePage(frame("Maintenance", "/maintenance", gates=lines, **more), look, records)

    waiting = {"late": ["dock-2"], "silent": ["yard-7", "yard-8"]}
    logged = record(suspended, ("none", "draining", "suspended"))
    ended = record(over, ("none", "draining", "suspended", "none"))
    user = {"user": "ulf", "user_role": "user"}
    return [
        Story("maintenance-off", page(None, state(None, RUNS[:1]))),
        Story("maintenance-dry", page(dry, state(dry, RUNS, **waiting), record(dry, ("none", "draining")))),
        Story("maintenance-closed", page(closed, state(closed, STOPPING))),
        Story("maintenance-suspended", page(suspended, state(suspended, []), logged, ended)),
        Story("maintenance-over", page(over, state(over, []), ended)),
        Story("maintenance-ask", page(None, state(None, RUNS[:1]), confirm="draining")),
        Story("maintenance-user", page(dry, state(dry, RUNS), **user)),
        Story("maintenance-tenant", _of_tenant()),
    ]
