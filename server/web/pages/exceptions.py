"""Exceptions on a job's page: what its agents have of its orders, and one occurrence skipped, moved or changed."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import ClassVar

from aiohttp import web

from server.actions import exceptions as actions
from server.actions.exceptions import ExceptionSpec
from server.core.model import DAY_US, Job, Schedule
from server.core.schedule import BadSchedule, find_zone
from server.errors import Invalid, NotFound, UnderstudyError
from server.ports.numbers import is_number
from server.storage import exceptions, jobs, orders, schedules
from server.storage.exceptions import ExceptionLine
from server.storage.orders import OrderLine
from server.web.frame import Frame
from server.web.pages import serve
from server.web.pages.contacts import contact

KINDS = (
    ("move", "Move it to another time"),
    ("change", "Run it with another command or environment, once"),
    ("skip", "Skip it"),
)
EMPTY = {"kind": "move", "to": "", "command": "", "environment": "", "reason": ""}


@dataclass(frozen=True, slots=True)
class OrderView:
    """An order, and whether its agent is connected."""

    line: OrderLine
    connected: bool

    @property
    def is_behind(self) -> bool:
        """The agent goes by an older version than the one made here."""
        return self.line.state == "active" and self.line.acknowledged_version < self.line.version


@dataclass(frozen=True, slots=True)
class JobOrders:
    """What the agents of a job have been told, and its exceptions of the last day and to come."""

    orders: tuple[OrderView, ...] = ()
    exceptions: tuple[ExceptionLine, ...] = ()

    @property
    def releasing(self) -> tuple[OrderView, ...]:
        """Orders that an agent has not given back yet."""
        return tuple(view for view in self.orders if view.line.state == "releasing")

    @property
    def behind(self) -> tuple[OrderView, ...]:
        """Orders of which the agent has an older version, or none."""
        return tuple(view for view in self.orders if view.is_behind)


@dataclass(frozen=True, slots=True)
class ExceptionFormPage:
    """The form: `values` as typed, `errors` by field. `at_us` is the instant of `schedule`."""

    template: ClassVar[str] = "pages/exception_edit.html"
    frame: Frame
    job: Job
    schedule: Schedule
    at_us: int
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[tuple[str, str], ...] = KINDS


def read(connection: sqlite3.Connection, job_id: int, now_us: int) -> tuple[list[OrderLine], list[ExceptionLine]]:
    """Rows for `job_orders`; a query."""
    return orders.lines_of_job(connection, job_id), exceptions.lines(connection, job_id, now_us - DAY_US)


def job_orders(request: web.Request, found: tuple[list[OrderLine], list[ExceptionLine]]) -> JobOrders:
    """The part of a job's page that says what its agents have."""
    site = serve.site(request)
    views = tuple(OrderView(line, contact(site, line.agent_id) is not None) for line in found[0])
    return JobOrders(views, tuple(found[1]))


def _one(connection: sqlite3.Connection, job_id: int, schedule_id: int, at_us: int) -> tuple[Job, Schedule]:
    job, schedule = jobs.get(connection, job_id), schedules.get(connection, schedule_id)
    if job is None or schedule is None or schedule.job_id != job.id or not actions.is_due(schedule, at_us):
        raise NotFound("The job has no such occurrence. See what is next on its page.")
    return job, schedule


def _where(request: web.Request, fields: Mapping[str, str]) -> tuple[int, int, int]:
    texts = (fields.get("schedule", ""), fields.get("at", ""))
    if not all(is_number(text) for text in texts):
        raise NotFound("The address names no occurrence. See what is next on the job's page.")
    return int(request.match_info["id"]), int(texts[0]), int(texts[1])


async def edit(request: web.Request) -> web.Response:
    """`GET /jobs/{id}/exceptions/new?schedule=&at=`."""
    where = _where(request, request.query)
    frame, (job, schedule) = await serve.load(request, "One occurrence", lambda c: _one(c, *where))
    values = {**EMPTY, "to": _local(where[2], schedule.zone), "command": job.command}
    return serve.html(ExceptionFormPage(frame, job, schedule, where[2], values))


async def put(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/exceptions`: makes it, or shows the form again with what is wrong."""
    fields = {**EMPTY, **await serve.form(request)}
    where = _where(request, fields)
    frame, (job, schedule) = await serve.load(request, "One occurrence", lambda c: _one(c, *where))
    try:
        spec, reason = spec_from(fields, job, schedule, where[2]), fields.get("reason", "")
        await serve.write(request, lambda by, now_us: actions.put(job.name, spec, by, now_us, reason))
    except UnderstudyError as error:
        if error.status not in (400, 409):
            raise
        names = {"move_to_us": "to"}
        wrong = {names.get(error.field, error.field): str(error)} if isinstance(error, Invalid) and error.field else {}
        shown = ExceptionFormPage(frame.with_problem(str(error)), job, schedule, where[2], fields, wrong)
        return serve.html(shown, 422)
    return serve.back(f"/jobs/{job.id}", "exception-put")


async def remove(request: web.Request) -> web.Response:
    """`POST /jobs/{id}/exceptions/remove`."""
    job_id, schedule_id, at_us = _where(request, await serve.form(request))
    _, (job, _) = await serve.load(request, "", lambda c: _one(c, job_id, schedule_id, at_us))
    await serve.write(request, lambda by, now_us: actions.remove(job.name, at_us, by, now_us, schedule_id))
    return serve.back(f"/jobs/{job_id}", "exception-removed")


def spec_from(fields: Mapping[str, str], job: Job, schedule: Schedule, at_us: int) -> ExceptionSpec:
    """What the form says. Raises Invalid with the field that is wrong."""
    kind = fields.get("kind", "")
    if kind == "skip":
        return ExceptionSpec(instant_us=at_us, skip=True, schedule_id=schedule.id)
    if kind == "move":
        to_us = _moment(fields.get("to", ""), schedule.zone)
        return ExceptionSpec(instant_us=at_us, move_to_us=to_us, schedule_id=schedule.id)
    pairs = [line.strip().partition("=") for line in fields.get("environment", "").splitlines() if line.strip()]
    if any(not equals for _, equals, _ in pairs):
        raise Invalid("Write one NAME=value on each line.", field="environment")
    environment = {name: value for name, _, value in pairs} or None
    command = fields.get("command", "")
    changed = command if command.replace("\r\n", "\n") != job.command else None
    return ExceptionSpec(instant_us=at_us, command=changed, environment=environment, schedule_id=schedule.id)


def _moment(text: str, zone: str) -> int:
    try:
        local = datetime.fromisoformat(text)
        return int((local if local.tzinfo else local.replace(tzinfo=find_zone(zone))).timestamp()) * 1_000_000
    except (ValueError, BadSchedule) as error:
        raise Invalid(f"Write the time as 2026-11-23 02:30, in the zone {zone}.", field="to") from error


def _local(at_us: int, zone: str) -> str:
    try:
        return datetime.fromtimestamp(at_us / 1e6, find_zone(zone)).strftime("%Y-%m-%d %H:%M:%S")
    except BadSchedule:
        return ""


ROUTES = (
    serve.get(r"/jobs/{id:\d+}/exceptions/new", edit),
    serve.post(r"/jobs/{id:\d+}/exceptions", put),
    serve.post(r"/jobs/{id:\d+}/exceptions/remove", remove),
)
