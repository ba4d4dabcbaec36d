"""A job as people say it, read from its rows: what the API shows, the form begins with, and an export writes."""

from __future__ import annotations

import sqlite3

from server.actions import job_uses, job_workflows, prerequisites
from server.actions import jobs as job_actions
from server.actions.jobs import JobSpec
from server.core.model import Job
from server.storage import agents, groups, tags


def of_job(connection: sqlite3.Connection, job: Job) -> JobSpec:
    """What an update with this specification would leave as it is."""
    workflow = job_workflows.name_of(connection, job)
    agent, group = agents.get(connection, job.agent_id), groups.get(connection, job.agent_id)
    return JobSpec(
        name=job.name,
        command=job.command,
        agent="" if workflow or group is not None else agent.name if agent is not None else job.agent_id,
        group=group.name if group is not None else "",
        schedules=job_actions.schedules_of(connection, job.id),
        environment=job.environment,
        working_directory=job.working_directory,
        run_as=job.run_as,
        timeout_s=job.timeout_s,
        output_bytes_max=job.output_bytes_max,
        misfire_policy=job.misfire_policy,
        misfire_grace_s=job.misfire_grace_s,
        may_run_twice=job.may_run_twice,
        skip_if_running=job.skip_if_running,
        description=job.description,
        standard_input=job.standard_input,
        give_up_after_s=job.give_up_after_s,
        retry=job.retry,
        exit_rules=job.exit_rules,
        job_monitors=job.job_monitors,
        uses=job_uses.of_job(connection, job),
        limits=job.limits,
        tags=tags.of(connection, "job", job.id),
        checkpoints=job.checkpoints,
        special_instances=job.special_instances,
        prerequisites=prerequisites.text_of(connection, job.prerequisites),
        workflow=workflow,
    )
