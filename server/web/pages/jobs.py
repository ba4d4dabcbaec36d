"""Jobs: the list, one job with its next instants, and the form that makes or changes one."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import explanations, job_workflows
from server.actions import jobs as actions
from server.actions.jobs import JobSpec
from server.actions.prerequisites import text_of as text_of_prerequisites
from server.core.explanations import Explanation
from server.core.model import Job, Schedule
from server.core.monitor_watches import Trip
from server.errors import Invalid, NotFound, UnderstudyError
from server.ports.numbers import is_number
from server.storage import agents, calendars, groups, jobs, monitors, runs, schedules, silence, workflows
from server.storage import job_monitors as trips
from server.storage.groups import GROUP_NAME
from server.storage.jobs import JobLine
from server.storage.monitors import MonitorLine
from server.storage.runs import RunLine
from server.storage.silence import UnknownLine
from server.web.frame import Frame
from server.web.pages import (
    exceptions,
    job_checkpoints,
    job_instances,
    job_prerequisites,
    job_retry,
    job_uses,
    job_watch,
    resources,
    serve,
)
from server.web.pages.exceptions import JobOrders
from server.web.pages.groups import group_of
from server.web.pages.job_prerequisites import JobNeeds
from server.web.pages.job_schedules import (
    Instant,
    ScheduleLine,
    instants_of,
    lines_of,
    read_text,
    sentences_of,
    text_of,
)
from server.web.pages.job_uses import Choices, JobShares

LIMIT = 200
WORKFLOW_NAME = "workflow "
"""What stands before a workflow's name where a job may run: no agent's name has a blank."""
TRIPS = 5
POLICIES = (
    ("once", "Run once, however many were missed"),
    ("all", "Run every one that was missed"),
    ("skip", "Skip them"),
    ("ask", "Ask: list them as missed until somebody decides"),
)


@dataclass(frozen=True, slots=True)
class JobsPage:
    """The list. `more_after` is the name to page on from, or empty."""

    template: ClassVar[str] = "pages/job_list.html"
    frame: Frame
    jobs: tuple[JobLine, ...]
    match: str = ""
    more_after: str = ""
    tag: str = ""


@dataclass(frozen=True, slots=True)
class JobPage:
    """One job."""

    template: ClassVar[str] = "pages/job_show.html"
    frame: Frame
    job: Job
    agent: str
    schedules: tuple[ScheduleLine, ...]
    instants: tuple[Instant, ...]
    runs: tuple[RunLine, ...]
    once: str
    """Makes two clicks of *Run now* one run."""
    unknown: tuple[UnknownLine, ...] = ()
    """What of it silent agents may have started."""
    told: JobOrders = field(default_factory=JobOrders)
    monitors: tuple[MonitorLine, ...] = ()
    trips: tuple[Trip, ...] = ()
    shares: JobShares = field(default_factory=JobShares)
    needs: JobNeeds = field(default_factory=JobNeeds)
    why: Explanation | None = None

    @property
    def reaches_window(self) -> bool:
        """Whether a run that begins now would reach into a planned maintenance."""
        return self.why is not None and any(line.topic == "maintenance" for line in self.why.lines)


@dataclass(frozen=True, slots=True)
class JobFormPage:
    """The form: `values` as typed, `errors` by field. `job` is the name of the job that is changed, or empty."""

    template: ClassVar[str] = "pages/job_edit.html"
    frame: Frame
    job_id: int
    job: str
    agents: tuple[str, ...]
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[tuple[str, str], ...] = POLICIES
    choices: Choices = field(default_factory=Choices)

    @property
    def sentences(self) -> tuple[str, ...]:
        """Each schedule of the form in plain English, as far as it can be read."""
        return sentences_of(self.values["cron"], self.values["zone"])

    @property
    def elsewhere(self) -> tuple[str, ...]:
        """What is wrong with something that has no field of its own here, so that no refusal is without its reason."""
        return tuple(f"{name}: {text}" for name, text in self.errors.items() if name not in {*EMPTY, "workflow"})

    def opened(self, *names: str) -> bool:
        """Whether the part of the form with these fields holds something or is wrong: else it is folded."""
        return any(name in self.errors or self.values[name] != EMPTY[name] for name in names)


EMPTY = {
    "name": "", "command": "", "agent": "", "cron": "", "zone": "UTC", "description": "", "working_directory": "",
    "run_as": "", "timeout_s": "0", "environment": "", "misfire_policy": "once", "misfire_grace_s": "3600",
    "may_run_twice": "", "skip_if_running": "", "standard_input": "", "output_bytes_max": "10485760", "version": "",
    "give_up_after_s": "0", "prerequisites": "", **job_retry.EMPTY, **job_watch.EMPTY, **job_uses.EMPTY,
    **resources.JOB_EMPTY,
    **job_checkpoints.EMPTY,
    **job_instances.EMPTY,
}  # fmt: skip


def values_of(job: Job, agent: str, found: list[Schedule], calendars: Mapping[int, str]) -> dict[str, str]:
    """The form's values for a job that exists."""
    lines, zone = text_of(found, calendars)
    return {
        **EMPTY,
        "name": job.name, "command": job.command, "agent": agent, "cron": lines, "zone": zone,
        "description": job.description, "working_directory": job.working_directory, "run_as": job.run_as,
        "timeout_s": str(job.timeout_s), "misfire_policy": job.misfire_policy,
        "misfire_grace_s": str(job.misfire_grace_s), "may_run_twice": "1" if job.may_run_twice else "",
        "skip_if_running": "1" if job.skip_if_running else "", "standard_input": job.standard_input,
        "environment": "\n".join(f"{name}={value}" for name, value in job.environment.items()),
        "output_bytes_max": str(job.output_bytes_max), "version": str(job.version),
        "give_up_after_s": str(job.give_up_after_s), **job_retry.values_of(job.retry, job.exit_rules),
        **resources.job_values(job.limits),
        **job_watch.values_of(job.job_monitors),
        **job_checkpoints.values_of(job.checkpoints),
        **job_instances.values_of(job.special_instances),
    }  # fmt: skip


def spec_from(values: Mapping[str, str]) -> JobSpec:
    """What the form says. Raises Invalid with every field that is no number or no `NAME=value`."""
    wrong: dict[str, str] = {}
    names = ("timeout_s", "misfire_grace_s", "output_bytes_max", "give_up_after_s")
    numbers = {name: _number(name, values, wrong) for name in names}
    environment = _environment(values["environment"], wrong)
    limits = resources.limits_from(values, wrong)
    retry, exit_rules = job_retry.retry_from(values, wrong), job_retry.rules_from(values, wrong)
    job_monitors = job_watch.monitors_from(values, wrong)
    checkpoints = job_checkpoints.rule_from(values, wrong)
    workflow = workflow_of(values["agent"])
    special_instances = job_instances.instances_from(values, wrong)
    if wrong:
        raise Invalid("Some fields are not right.", fields=wrong)
    return JobSpec(
        name=values["name"],
        command=values["command"] if not workflow or values["command"].strip() else "",
        agent="" if group_of(values["agent"]) or workflow else values["agent"],
        group=group_of(values["agent"]),
        workflow=workflow,
        schedules=read_text(values["cron"], values["zone"]),
        environment=environment,
        working_directory=values["working_directory"],
        run_as=values["run_as"],
        timeout_s=numbers["timeout_s"],
        output_bytes_max=numbers["output_bytes_max"],
        misfire_policy=values["misfire_policy"],
        misfire_grace_s=numbers["misfire_grace_s"],
        may_run_twice=values["may_run_twice"] == "1",
        skip_if_running=values["skip_if_running"] == "1",
        description=values["description"],
        standard_input=values["standard_input"],
        give_up_after_s=numbers["give_up_after_s"],
        limits=limits,
        uses=job_uses.uses_from(values),
        tags=job_uses.tags_from(values),
        retry=retry,
        exit_rules=exit_rules,
        job_monitors=job_monitors,
        prerequisites=values["prerequisites"].strip(),
        checkpoints=checkpoints,
        special_instances=special_instances,
    )


def _number(name: str, values: Mapping[str, str], wrong: dict[str, str]) -> int:
    text = values[name]
    if is_number(text):
        return int(text)
    wrong[name] = f"{text or 'Nothing'} is not a whole number."
    return 0


def _environment(text: str, wrong: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in text.splitlines():
        name, equals, value = line.strip().partition("=")
        if equals and name:
            found[name] = value
        elif line.strip():
            wrong["environment"] = f"{line.strip()!r} is not NAME=value."
    return found


def workflow_of(place: str) -> str:
    """The name of the workflow that a place stands for, or ""."""
    return place.removeprefix(WORKFLOW_NAME) if place.startswith(WORKFLOW_NAME) else ""


async def show_all(request: web.Request) -> web.Response:
    """`GET /jobs`."""
    match, tag, after = (request.query.get(name, "") for name in ("match", "tag", "after"))
    frame, found = await serve.load(request, "Jobs", lambda c: jobs.lines(c, after, LIMIT, match, tag))
    return serve.html(JobsPage(frame, tuple(found), match, found[-1].name if len(found) == LIMIT else "", tag))


def _one(
    connection: sqlite3.Connection, job_id: int
) -> tuple[Job, str, list[Schedule], list[RunLine], tuple[str, ...], dict[int, str]]:
    job = jobs.get(connection, job_id)
    if job is None:
        raise NotFound("There is no such job. See the list of jobs.")
    agent = agents.get(connection, job.agent_id)
    begins = job_workflows.name_of(connection, job)
    name = WORKFLOW_NAME + begins if begins else agent.name if agent else job.agent_id[:8]
    newest = runs.page(connection, job_id=job_id, limit=20)
    return job, name, schedules.of_job(connection, job_id), newest, _places(connection), calendars.names(connection)


def _places(connection: sqlite3.Connection) -> tuple[str, ...]:
    """Where a job may run: agents, then groups and workflows by the names that stand for them."""
    found = [agent.name for agent in agents.page(connection, limit=1000)]
    flows = [WORKFLOW_NAME + line.name for line in workflows.lines(connection, limit=1000)]
    return (*found, *(GROUP_NAME + name for name in groups.names(connection)), *flows)


async def show(request: web.Request) -> web.Response:
    """`GET /jobs/{id}`."""
    job_id, now_us = int(request.match_info["id"]), serve.site(request).clock.utc_us()
    frame, (one, unknown, held, starting, tripped, shares, needs, why) = await serve.load(
        request,
        "Job",
        lambda c: (
            one := _one(c, job_id),
            tuple(silence.unknown(c, now_us, job_id=job_id)),
            exceptions.read(c, job_id, now_us),
            tuple(monitors.lines_of_job(c, job_id)),
            tuple(trips.trips(c, job_id, limit=TRIPS)),
            job_uses.shares_of(c, job_id),
            job_prerequisites.read(c, one[0]),
            explanations.of_job(c, one[0], now_us),
        ),
    )
    job, agent, found, newest, _, named = one
    told = exceptions.job_orders(request, held)
    instants = () if job.held or job.deleted_at_us else instants_of(found, frame.now_us, special=told.exceptions)
    once, title = secrets.token_hex(8), frame.with_title(job.name)
    orders = lines_of(found, named), instants, tuple(newest)
    page = JobPage(title, job, agent, *orders, once, tuple(unknown), told, starting, tripped, shares, needs, why)
    return serve.html(page)


async def new(request: web.Request) -> web.Response:
    """`GET /jobs/new`."""
    frame, names = await serve.load(request, "New job", _places)
    values = {**EMPTY, "agent": request.query.get("agent", names[0] if names else "")}
    there, _ = await job_uses.load(request, 0)
    return serve.html(JobFormPage(frame, 0, "", names, values, choices=there))


async def edit(request: web.Request) -> web.Response:
    """`GET /jobs/{id}/edit`."""
    job_id = int(request.match_info["id"])
    frame, ((job, agent, found, _, names, named), waits) = await serve.load(
        request, "Change a job", lambda c: (one := _one(c, job_id), text_of_prerequisites(c, one[0].prerequisites))
    )
    there, shares = await job_uses.load(request, job_id)
    values = values_of(job, agent, found, named) | job_uses.values_of(shares) | {"prerequisites": waits}
    return serve.html(JobFormPage(frame, job_id, job.name, names, values, choices=there))


async def create(request: web.Request) -> web.Response:
    """`POST /jobs/new`: makes the job, or shows the form again with what was typed and what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    try:
        spec = spec_from(values)
        job = await serve.write(request, lambda by, now_us: actions.create(spec, by, now_us))
    except UnderstudyError as error:
        return await _again(request, 0, "", values, error)
    return serve.back(f"/jobs/{job.id}", "job-saved")


async def update(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/edit`: refused when somebody else changed the job since the form was opened."""
    job_id = int(request.match_info["id"])
    values = {**EMPTY, **await serve.form(request)}
    _, (job, *_) = await serve.load(request, "", lambda c: _one(c, job_id))
    version = int(values["version"]) if is_number(values["version"]) else None
    try:
        spec = spec_from(values)
        await serve.write(request, lambda by, now_us: actions.update(job.name, spec, by, now_us, version))
    except UnderstudyError as error:
        return await _again(request, job_id, job.name, values, error)
    return serve.back(f"/jobs/{job_id}", "job-saved")


async def _again(
    request: web.Request, job_id: int, job: str, values: Mapping[str, str], error: UnderstudyError
) -> web.Response:
    if error.status not in (400, 409):
        raise error
    frame, names = await serve.load(request, "Job", _places)
    fields = {_field(name): text for name, text in error.fields.items()}
    there, _ = await job_uses.load(request, job_id)
    page = JobFormPage(frame.with_problem(str(error)), job_id, job, names, values, fields, choices=there)
    return serve.html(page, 422)


def _field(name: str) -> str:
    """The form's field for a field of the specification: `schedules[0].cron` is shown beside `cron`."""
    if name.startswith("schedules"):
        return "zone" if name.endswith("zone") else "cron"
    return (job_retry.FIELDS | job_watch.FIELDS | job_checkpoints.FIELDS | resources.JOB_FIELDS).get(
        name, name.split(".")[0]
    )


async def _named(request: web.Request) -> str:
    job_id = int(request.match_info["id"])
    _, (job, *_) = await serve.load(request, "", lambda c: _one(c, job_id))
    return job.name


async def delete(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/delete`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    return serve.back("/jobs", "job-deleted")


async def hold(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/hold`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.hold(name, by, now_us, reason))
    return serve.back(f"/jobs/{request.match_info['id']}", "job-held")


async def release(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/release`."""
    name = await _named(request)
    await serve.write(request, lambda by, now_us: actions.release(name, by, now_us))
    return serve.back(f"/jobs/{request.match_info['id']}", "job-released")


ROUTES = (
    serve.get("/jobs", show_all),
    serve.get("/jobs/new", new),
    serve.post("/jobs/new", create),
    serve.get(r"/jobs/{id:\d+}", show),
    serve.get(r"/jobs/{id:\d+}/edit", edit),
    serve.post(r"/jobs/{id:\d+}/edit", update),
    serve.post(r"/jobs/{id:\d+}/delete", delete),
    serve.post(r"/jobs/{id:\d+}/hold", hold),
    serve.post(r"/jobs/{id:\d+}/release", release),
)
