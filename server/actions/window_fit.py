"""Whether a run fits before the planned maintenance windows that concern its job, by its history (BEY-10). Queries."""

from __future__ import annotations

import sqlite3

from server.core import maintenance_windows as rule
from server.core.explanations import Why
from server.core.maintenance import AGENT, HOST, TENANT
from server.core.maintenance_windows import Window
from server.core.model import Job
from server.core.tenancy import tenant_of
from server.storage import agents, maintenance_windows, tenancy


def warn(connection: sqlite3.Connection, job: Job, begin_us: int) -> list[Why]:
    """The windows into which a run of the job that begins at `begin_us` would probably reach.

    By its history: the 95th percentile of what its latest successful runs took. Without history nothing is said.
    """
    usual_us = _usual_us(connection, job)
    if usual_us is None:
        return []
    found = []
    for window in _concerning(connection, job):
        if not rule.fits(window, usual_us, begin_us):
            text = (
                f"A run that begins now does not fit before the maintenance from {rule.span(window)}: "
                f"{rule.FITS} of 100 took up to {rule.in_minutes(usual_us)}. It would go on during it."
            )
            found.append(Why(topic="maintenance", text=text, command="understudy maintenance window list"))
    return found


def begin_us(connection: sqlite3.Connection, job: Job, now_us: int) -> int:
    """When a run of the job may begin so that it reaches into no window: now, or at the end of one."""
    usual_us = _usual_us(connection, job)
    return now_us if usual_us is None else rule.begin_us(_concerning(connection, job), usual_us, now_us)


def _usual_us(connection: sqlite3.Connection, job: Job) -> int | None:
    return rule.percentile_us(maintenance_windows.durations_us(connection, job.id))


def _concerning(connection: sqlite3.Connection, job: Job) -> list[Window]:
    """What is planned for everything, for the job's agent or for its tenant, the next first."""
    agent, tenant = agents.get(connection, job.agent_id), tenant_of(job.name) or tenancy.tenant_of(connection)
    scopes = {HOST, AGENT + agent.name if agent else HOST, TENANT + tenant if tenant else HOST}
    planned = [window for window in maintenance_windows.coming(connection) if window.state == rule.PLANNED]
    return [window for window in planned if window.scope in scopes]
