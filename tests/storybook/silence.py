"""Agents that do not answer: silent, with the question before it is declared dead, dead, and owing since a loss."""

from __future__ import annotations

from server.core.model import Agent
from server.storage.silence import UnknownLine
from server.web.pages.agent_silence import Silence
from server.web.pages.agents import AgentPage, view
from server.web.pages.job_schedules import instants_of, lines_of
from server.web.pages.jobs import JobPage
from server.web.pages.runs import RunPage, RunsPage, moments, sentence
from tests.storybook.fixture import HOUR_US, MINUTE_US, NOW_US, Story, changed, frame, run
from tests.storybook.work import WHEN, agent, agents_page, job

SINCE_US = NOW_US - 2 * HOUR_US
WHY_NOT = (
    "dock-2 is silent and may have run it, or run it still: it is unknown until dock-2 answers. If the machine is dead "
    "for certain, type: understudy agent declare-dead dock-2. For the future a job that does no harm twice may be "
    "given up: understudy job update disk-usage --may-run-twice --give-up-after-s 600"
)


def line(number: int, name: str, count: int, step_us: int, dead: bool = False) -> UnknownLine:
    """The unknown occurrences of one schedule."""
    first_us = SINCE_US + MINUTE_US
    return UnknownLine(
        job_id=number,
        job=name,
        agent_id="dock-2-id",
        agent="dock-2",
        schedule_id=number,
        count=count,
        first_us=first_us,
        last_us=first_us + (count - 1) * step_us,
        silent_since_us=SINCE_US,
        dead=dead,
        instants_us=[first_us],
    )


def lines(dead: bool = False) -> tuple[UnknownLine, ...]:
    """Two schedules."""
    return line(1, "disk-usage", 23, 5 * MINUTE_US, dead), line(7, "fetch-tariffs", 1, 0, dead)


def _page(part: Silence, **more: object) -> AgentPage:
    row = agent("dock-2", runs=1, silent_since_us=SINCE_US, owes=part.owes)
    if part.agent.dead_at_us is not None:
        why = (
            "admin declared the machine dead. If it is on again and its work was not given away, type `understudy "
            "agent accept-restored dock-2`; for a new machine `understudy agent replace dock-2`"
        )
        dead_us = part.agent.dead_at_us
        row = agent("dock-2", runs=1, quarantined_at_us=dead_us, quarantine_reason=why, dead_at_us=dead_us)
    seen = view(row, None, 42, None)
    return AgentPage(frame("Agent dock-2", "/agents", **more), seen, None, (), 2, 0, 2, (part,), SINCE_US)


def _agent(**more: object) -> Agent:
    values = {"id": "dock-2-id", "name": "dock-2", "enrolled_at_us": 0, "ticket": 812, "silent_since_us": SINCE_US}
    return Agent(**(values | more))  # type: ignore[arg-type]  # values by name


def stories() -> list[Story]:
    """The agent's page, the list, the run, the job."""
    silent = Silence(_agent(), lines(), 1)
    dead = Silence(_agent(dead_at_us=NOW_US - HOUR_US), lines(True), 1)
    lost = run(8900, "disk-usage", 1, "dock-2", "unknown", 7000, reason="its agent is silent")
    whole = frame("disk-usage", "/jobs")
    run_page = RunPage(
        frame("Run 8900", "/runs"), lost, "df -h", sentence(lost), moments(lost), (lost,), "", 0, why_not=WHY_NOT
    )
    return [
        Story("agent-silent", _page(silent)),
        Story("agent-declare-dead", _page(silent, confirm="declare-dead")),
        Story("agent-dead", _page(dead)),
        Story("agent-owing", _page(changed(silent, owes=True))),
        Story("agents-owing", changed(agents_page(None, 0), owing=("dock-2", "warehouse"))),
        Story("runs-unknown", RunsPage(frame("Runs", "/runs"), (lost,), "unknown", unknown=lines(True))),
        Story("run-unknown-silent", run_page),
        Story(
            "job-unknown",
            JobPage(
                whole,
                job(),
                "dock-2",
                lines_of(WHEN, {}),
                instants_of(WHEN, NOW_US, 3),
                (lost,),
                "00",
                unknown=lines()[:1],
            ),
        ),
    ]
