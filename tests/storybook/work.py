"""Agents, the scheduler, jobs and runs in their states."""

from __future__ import annotations

import msgspec

from server.core.model import Gate, Job, Schedule
from server.storage.jobs import JobLine
from server.storage.missed import MissedLine
from server.storage.overview import AgentLine, DueCount
from server.web.pages.agent_drain import AgentDrain
from server.web.pages.agent_groups import Deployment
from server.web.pages.agent_monitors import Watching
from server.web.pages.agent_reboot import Reboot
from server.web.pages.agents import AgentPage, AgentsPage, AgentView, Queues, view
from server.web.pages.contacts import Contact
from server.web.pages.job_prerequisites import JobNeeds, NeedLine
from server.web.pages.job_schedules import instants_of, lines_of
from server.web.pages.jobs import EMPTY, JobFormPage, JobPage, JobsPage, values_of
from server.web.pages.runs import RunPage, RunsPage, moments, sentence
from server.web.pages.scheduler import SchedulerPage
from tests.storybook.asides import ASIDES
from tests.storybook.fixture import (
    DAY_US,
    HOUR_US,
    LOCKED,
    MINUTE_US,
    NOW_US,
    STOPPED,
    Story,
    changed,
    frame,
    run,
)
from tests.storybook.home import FAILED, NEXT, RUNNING, WAITING
from tests.storybook.monitors import LINES
from tests.storybook.witnesses import witnesses

CALM = AgentDrain(None, None, None, 600, "auto")
"""The part of an agent that is not drained."""
HOST_LOCK = Gate(
    kind="queue_locked", set_by="admin", set_at_us=NOW_US - 5 * MINUTE_US, reason="planned swap", revision=41
)
STOP = Gate(
    kind="scheduler_stopped", set_by="admin", set_at_us=NOW_US - 4 * MINUTE_US, reason="planned swap", revision=42
)


DUE = tuple(DueCount(job_id=line.job_id, job=line.job, count=12 - 3 * n) for n, line in enumerate(NEXT))


NEEDS = JobNeeds(
    (
        NeedLine(0, False, "all of"),
        NeedLine(
            1, True, source="nightly-dump", href="/jobs/4", wanted="has completed", last="completed",
            since_us=NOW_US - 40 * 60_000_000, subject=311, subject_href="/runs/311",
            flags="stays met whatever follows",
        ),
        NeedLine(1, False, "any of"),
        NeedLine(
            2, False, source="load-orders", href="/jobs/5", wanted="has completed or has failed", last="running",
            since_us=NOW_US - 9 * 60_000_000, subject=318, subject_href="/runs/318",
        ),
        NeedLine(2, False, noun="the event ", source="orders-arrived", href="/monitors/2", wanted="has fired"),
    ),
    is_scheduled=True,
    dependents=("report", "mail-report"),
)  # fmt: skip
"""What a job waits for: one is there, one runs again, one was never heard of."""


def agent(name: str, acknowledged: int = 42, **more: object) -> AgentLine:
    """An agent's row."""
    base = AgentLine(
        id=f"{name}-id",
        name=name,
        enrolled_at_us=NOW_US - 90 * DAY_US,
        witness=0,
        former_witness=0,
        version="0.1.0",
        ticket=812,
        quarantined_at_us=None,
        quarantine_reason="",
        gates_acknowledged=acknowledged,
        locked_by=None,
        locked_at_us=None,
        locked_revision=None,
        runs=0,
        autonomous_until_us=NOW_US + 6 * DAY_US,
    )
    return msgspec.structs.replace(base, **more)


def _views(lines: list[AgentLine], host: Gate | None, silent: tuple[str, ...] = ()) -> tuple[AgentView, ...]:
    return tuple(
        view(
            line,
            host,
            42,
            None
            if line.name in silent
            else Contact(
                0.02,
                3,
                oldest_report_us=NOW_US - 90_000_000,
                spool_bytes=340_000,
                output_bytes=5_300_000,
                spool_bytes_max=4 << 30,
            ),
        )
        for line in lines
    )


def _agents() -> list[AgentLine]:
    return [
        agent("dock-1", witness=1, runs=2),
        agent("dock-2", runs=1, locked_by="operator", locked_at_us=NOW_US - HOUR_US, locked_revision=40),
        agent("dock-3", acknowledged=38),
        agent("dock-4", runs=1, draining=True, last_drain="request draining"),
        agent("dock-5", maintenance="maintenance"),
        agent("warehouse", autonomous_until_us=NOW_US + 9 * HOUR_US, silent_since_us=NOW_US - 2 * HOUR_US),
        agent(
            "cellar",
            quarantined_at_us=NOW_US - HOUR_US,
            quarantine_reason="admin declared the machine dead",
            dead_at_us=NOW_US - HOUR_US,
        ),
        agent("gatehouse", quarantined_at_us=NOW_US - HOUR_US, quarantine_reason="this identity runs twice"),
        agent("new-machine", ticket=0, version="", autonomous_until_us=None, acknowledged=0),
    ]


def agents_page(host: Gate | None, unacknowledged: int, **more: object) -> AgentsPage:
    """The list with every kind of agent."""
    lines = _agents()
    queues = Queues(9, 9 if host else 1, unacknowledged, 3, ("dock-3", "new-machine")[:unacknowledged], host)
    gates = (LOCKED,) if host else ()
    whole = frame("Agents", "/agents", gates=gates)
    page = AgentsPage(
        whole, _views(lines, host, ("cellar", "warehouse", "new-machine")), queues, "", "", witnesses("dock-1")
    )
    return changed(page, **more)


def _many() -> AgentsPage:
    lines = [agent(f"agent-{n:03}", runs=n % 3) for n in range(300)]
    return AgentsPage(
        frame("Agents", "/agents"), _views(lines, None, ("agent-017",)), Queues(300, 0, 0, 0, (), None), ""
    )


def _one(line: AgentLine, contact: Contact | None) -> AgentPage:
    page = frame(f"Agent {line.name}", "/agents")
    return AgentPage(page, view(line, None, 42, contact), None, (), 7, 0, 6, (CALM, Reboot(False)))


def agent_stories() -> list[Story]:
    """Agents and one agent."""
    nobody = Queues(0, 0, 0, 0, (), None)
    sick = _views([_agents()[7]], None)[0]
    return [
        Story("agents-open", agents_page(None, 2)),
        Story("agents-locking", agents_page(HOST_LOCK, 2)),
        Story("agents-confirm", agents_page(None, 0, frame=frame("Agents", "/agents", confirm="lock-all"))),
        Story("agents-300", _many()),
        Story("agents-empty", AgentsPage(frame("Agents", "/agents"), (), nobody, "")),
        Story(
            "agent",
            AgentPage(
                frame("Agent dock-1", "/agents"),
                _views(_agents()[:1], None)[0],
                None,
                (*RUNNING[:1], *FAILED),
                7,
                1,
                6,
                (Watching(LINES[1:6]), Deployment(("reports", "web"), True, True, 8), CALM, Reboot(True)),
            ),
        ),
        Story("agent-locked", _one(_agents()[1], Contact(0.02))),
        Story(
            "agent-lock-not-acknowledged",
            _one(
                agent("dock-2", 38, locked_by="operator", locked_at_us=NOW_US - HOUR_US, locked_revision=40),
                Contact(0.02),
            ),
        ),
        Story("agent-never-seen", _one(_agents()[8], None)),
        Story(
            "agent-starts-nothing",
            _one(
                _agents()[0],
                Contact(
                    0.02,
                    9_210,
                    "agent disk full",
                    spool_bytes=900_000_000,
                    output_bytes=3_300_000_000,
                    spool_bytes_max=4 << 30,
                ),
            ),
        ),
        Story(
            "agent-scheduler-stopped",
            changed(_one(_agents()[0], Contact(0.02)), frame=frame("Agent dock-1", "/agents", gates=(STOPPED,))),
        ),
        Story(
            "agent-quarantined",
            AgentPage(frame("Agent gatehouse", "/agents"), sick, None, (), 0, 0, 2, (CALM, Reboot(False))),
        ),
    ]


def missed(number: int, job: str, minutes: int) -> MissedLine:
    """An open row of the ledger."""
    at_us = NOW_US - minutes * MINUTE_US
    return MissedLine(
        id=number,
        job_id=number,
        job=job,
        schedule_id=number,
        scheduled_for_us=at_us,
        cause="scheduler stopped",
        recorded_at_us=at_us,
        resolution="",
        resolved_by="",
        resolved_at_us=None,
    )


def scheduler_stories() -> list[Story]:
    """Running and stopped."""
    rows = (missed(3, "checksum-documents", 4), missed(2, "disk-usage", 3), missed(1, "disk-usage", 1))
    stopped = frame("Job Scheduler", "/scheduler", gates=(STOPPED,))
    running = frame("Job Scheduler", "/scheduler")
    causes = {"scheduler stopped": 3, "prerequisites unmet": 2, "agent was quarantined": 1}
    return [
        Story("scheduler-running", SchedulerPage(frame("Job Scheduler", "/scheduler"), None, NEXT, DUE, (), 0)),
        Story("scheduler-stopped", SchedulerPage(stopped, STOP, NEXT, DUE, rows, 3)),
        Story("scheduler-missed", SchedulerPage(running, None, NEXT, DUE, rows, 3, causes)),
        Story("scheduler-put-aside", SchedulerPage(running, None, NEXT, DUE, (), 0, asides=ASIDES)),
        Story("scheduler-empty", SchedulerPage(frame("Job Scheduler", "/scheduler"), None, (), (), (), 0)),
    ]


def job(**more: object) -> Job:
    """A job."""
    values: dict[str, object] = {
        "id": 3,
        "name": "nightly-archive",
        "command": 'set -e\ncd /srv/documents\ntar --zstd -cf "archive-$(date +%F).tar.zst" .',
        "agent_id": "dock-1-id",
        "environment": {"ZSTD_CLEVEL": "9"},
        "working_directory": "/srv",
        "run_as": "archive",
        "timeout_s": 3600,
        "output_bytes_max": 10_485_760,
        "misfire_policy": "once",
        "misfire_grace_s": 3600,
        "may_run_twice": False,
        "skip_if_running": True,
        "held": False,
        "description": "Packs the documents and rotates what is older than 30 days",
        "version": 4,
        "created_at_us": NOW_US - 80 * DAY_US,
        "updated_at_us": NOW_US - DAY_US,
        "standard_input": "",
        "planned_version": 4,
    }
    return msgspec.convert(values | more, Job)


WHEN = [Schedule(id=3, job_id=3, cron="30 1 * * *", zone="Europe/Berlin", created_at_us=NOW_US - 80 * DAY_US)]


INSTANCES = [
    {"name": "month-end", "days": ["last working day"], "command": "pack --month", "environment": {"KEEP": "forever"}},
    {"name": "audit", "calendar": "audit-days"},
    {"name": "by-hand"},
]


def _job_line(number: int, name: str, schedules: str, state: str | None, **more: object) -> JobLine:
    values: dict[str, object] = {
        "id": number,
        "name": name,
        "agent": "dock-1",
        "command": f"/usr/local/bin/{name} --all",
        "held": False,
        "description": "",
        "schedules": schedules,
        "last_run": 9000 + number if state else None,
        "last_state": state,
        "last_ended_at_us": NOW_US - number * HOUR_US if state and state != "running" else None,
    }
    return msgspec.convert(values | more, JobLine)


def job_stories() -> list[Story]:
    """The list, one job, and the form with and without errors."""
    lines = (
        _job_line(1, "disk-usage", "*/5 * * * * Europe/Berlin", "succeeded", description="Free space of every mount"),
        _job_line(8, "fetch-tariffs", "0 */6 * * * UTC", "failed"),
        _job_line(11, "invoice-export", "", "waiting", held=True),
        _job_line(3, "nightly-archive", "30 1 * * * Europe/Berlin; 0 12 * * 6 UTC", "running"),
        _job_line(12, "year-end", "", None),
    )
    values = {
        **values_of(job(special_instances=INSTANCES), "dock-1", WHEN, {}),
        "cron": "30 25 * * *",
        "timeout_s": "soon",
    }
    errors = {"cron": "the field hour is wrong: '25'", "timeout_s": "soon is not a whole number."}
    names = ("dock-1", "dock-2")
    wrong = frame("Change a job", "/jobs", problem="Some fields are not right.")
    once = "0011223344556677"
    return [
        Story("jobs", JobsPage(frame("Jobs", "/jobs"), lines)),
        Story("jobs-empty", JobsPage(frame("Jobs", "/jobs"), ())),
        Story(
            "job",
            JobPage(
                frame("nightly-archive", "/jobs"),
                job(),
                "dock-1",
                lines_of(WHEN, {}),
                instants_of(WHEN, NOW_US, 5),
                (*RUNNING[:1], *FAILED),
                once,
                monitors=LINES[1:2],
                needs=NEEDS,
            ),
        ),
        Story(
            "job-special-instances",
            JobPage(
                frame("nightly-archive", "/jobs"),
                job(special_instances=INSTANCES),
                "dock-1",
                lines_of(WHEN, {}),
                (),
                (),
                once,
            ),
        ),
        Story(
            "job-held",
            JobPage(frame("nightly-archive", "/jobs"), job(held=True), "dock-1", lines_of(WHEN, {}), (), (), once),
        ),
        Story("job-new", JobFormPage(frame("New job", "/jobs"), 0, "", names, {**EMPTY, "agent": "dock-1"})),
        Story("job-wrong", JobFormPage(wrong, 3, "nightly-archive", names, values, errors)),
        Story("job-no-agent", JobFormPage(frame("New job", "/jobs"), 0, "", (), EMPTY)),
    ]


OUTPUT = "".join(
    f"2026-10-25 02:{n // 60:02}:{n % 60:02} packed documents/{n:04}.pdf ({n * 37 % 900} kB)\n" for n in range(40)
)


def run_page(state: str, output: str = "", **more: object) -> RunPage:
    line = run(9121, "nightly-archive", 3, "dock-1", state, **more)  # type: ignore[arg-type]  # passed on as they are
    whole = frame("Run 9121", "/runs")
    return RunPage(whole, line, job().command, sentence(line), moments(line), (line,), output, 0)


def run_stories() -> list[Story]:
    """The list, and runs in the states that matter."""
    lines = [*RUNNING, *WAITING, *FAILED]
    lines += [run(9000 - n, "disk-usage", 1, "dock-1", "succeeded", 300 * n + 2, 300 * n) for n in range(20)]
    lines += [run(8900, "weekly-report", 6, "warehouse", "unknown", 4000, reason="its agent is silent")]
    return [
        Story("runs", RunsPage(frame("Runs", "/runs"), tuple(lines), more_after=8900)),
        Story("runs-empty", RunsPage(frame("Runs", "/runs"), (), state="failed")),
        Story("run-running", run_page("running", OUTPUT, started_s=84, output_bytes=len(OUTPUT))),
        Story("run-waiting", run_page("waiting", reason="queue locked", requested_by="operator")),
        Story(
            "run-failed",
            run_page(
                "failed",
                OUTPUT + "tar: write error: No space left on device\n",
                started_s=84,
                ended_s=2,
                exit_code=2,
                output_bytes=20_000_000,
                output_cut=True,
            ),
        ),
        Story("run-unknown", run_page("unknown", started_s=4000, reason="its agent is silent")),
    ]


def stories() -> list[Story]:
    """All of them."""
    return [*agent_stories(), *scheduler_stories(), *job_stories(), *run_stories()]
