"""Event monitors: the list, one monitor with its last events and what they started, and the form (SKY-16)."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import monitors as actions
from server.actions.monitors import MonitorSpec
from server.core.monitors import KINDS, MANUAL, Settings
from server.errors import Invalid, NotFound, UnderstudyError
from server.ports.numbers import is_number
from server.storage import agents, events, monitors
from server.storage.events import EventLine
from server.storage.monitors import MonitorLine
from server.web.frame import Frame
from server.web.pages import serve
from server.web.states import MONITORS, Badge

LIMIT = 200
EVENTS = 50
KIND_WORDS = (
    ("file", "Files that match a pattern"),
    ("directory", "The entries of a directory"),
    ("process", "Processes"),
    ("manual", "Nothing: it is fired by hand or by a job"),
)
TOLD_WORDS = {
    ("file", "created"): "a file is created",
    ("file", "changed"): "a file is changed or replaced",
    ("file", "deleted"): "a file is deleted",
    ("file", "steady"): "a new or changed file stays as it is for a while (steady)",
    ("directory", "changed"): "entries of the directory come or go",
    ("directory", "count"): "the directory has so many entries",
    ("process", "started"): "a process starts",
    ("process", "ended"): "a process ends",
}
TOLD = tuple((kind, word, TOLD_WORDS[kind, word]) for kind, words in KINDS.items() for word in words)


@dataclass(frozen=True, slots=True)
class MonitorView:
    """One monitor as people see it. `knows` is False when its connected agent is of a release without monitors."""

    line: MonitorLine
    state: Badge
    place: str
    when: str
    knows: bool | None


@dataclass(frozen=True, slots=True)
class MonitorsPage:
    """The list. `more_after` is the name to page on from, or empty."""

    template: ClassVar[str] = "pages/monitor_list.html"
    frame: Frame
    monitors: tuple[MonitorView, ...]
    match: str = ""
    more_after: str = ""


@dataclass(frozen=True, slots=True)
class MonitorPage:
    """One monitor. `once` makes two clicks of *Fire* one event; `more_after` is the event to page on below, or None."""

    template: ClassVar[str] = "pages/monitor_show.html"
    frame: Frame
    monitor: MonitorView
    jobs: tuple[tuple[int, str, bool], ...]
    """(id, name, whether the watching agent runs it)."""
    events: tuple[EventLine, ...]
    once: str
    more_after: int | None = None


@dataclass(frozen=True, slots=True)
class MonitorFormPage:
    """The form: `values` as typed, `errors` by field, `chosen` are names of jobs. `monitor` is empty for a new one."""

    template: ClassVar[str] = "pages/monitor_edit.html"
    frame: Frame
    monitor_id: int
    monitor: str
    agents: tuple[str, ...]
    values: Mapping[str, str]
    on: frozenset[str] = frozenset()
    errors: Mapping[str, str] = field(default_factory=dict)
    kinds: tuple[tuple[str, str], ...] = KIND_WORDS
    told: tuple[tuple[str, str, str], ...] = TOLD


EMPTY = {
    "name": "", "agent": "", "kind": "file", "path": "", "steady_s": "0", "at_least": "0", "pattern": "",
    "pid_file": "", "existing": "", "interval_s": "5", "jobs": "", "description": "", "version": "",
}  # fmt: skip


def view(line: MonitorLine, knows: bool | None) -> MonitorView:
    """How one monitor is."""
    held = line.acknowledged_version == line.version
    state = "disabled" if not line.enabled else ("problem" if line.problem else "watching")
    if line.enabled and not held:
        state = "unknown" if knows is False else "waiting"
    if (state, line.kind) == ("watching", MANUAL):
        state = "ready"
    found = line.settings
    return MonitorView(line, MONITORS[state], found.path or found.pattern or found.pid_file, when(line), knows)


def when(line: MonitorLine) -> str:
    """What is an event of it, in a few words."""
    found = line.settings
    if line.kind == MANUAL:
        return "fired by hand or by a job"
    named = {"steady": f"steady for {found.steady_s} s", "count": f"with {found.at_least} entries"}
    return f"{line.kind} {' or '.join(named.get(one, one) for one in found.on)}"


def _knows(request: web.Request, agent_id: str) -> bool | None:
    office = serve.site(request).office
    link = office.fleet.contact(agent_id) if office is not None else None
    return None if link is None else link.hello.protocol >= 2


async def show_all(request: web.Request) -> web.Response:
    """`GET /monitors`."""
    match, after = request.query.get("match", ""), request.query.get("after", "")
    frame, found = await serve.load(request, "Event Monitors", lambda c: monitors.lines(c, after, LIMIT, match))
    seen = tuple(view(line, _knows(request, line.agent_id)) for line in found)
    return serve.html(MonitorsPage(frame, seen, match, found[-1].name if len(found) == LIMIT else ""))


def _line(connection: sqlite3.Connection, monitor_id: int) -> MonitorLine:
    line = monitors.line(connection, monitor_id)
    if line is None:
        raise NotFound("There is no such monitor. See the list of monitors.")
    return line


async def show(request: web.Request) -> web.Response:
    """`GET /monitors/{id}`."""
    monitor_id, after = int(request.match_info["id"]), serve.before(request)
    frame, (line, reacting, found) = await serve.load(
        request,
        "Monitor",
        lambda c: (_line(c, monitor_id), monitors.jobs_of(c, monitor_id), events.page(c, monitor_id, after, EVENTS)),
    )
    named = tuple((job.id, job.name, job.agent_id == line.agent_id) for job in reacting)
    more = found[-1].id if len(found) == EVENTS else None
    seen = view(line, _knows(request, line.agent_id))
    page = MonitorPage(frame.with_title(line.name), seen, named, tuple(found), secrets.token_hex(16), more)
    return serve.html(page)


def values_of(line: MonitorLine) -> dict[str, str]:
    """The form's values for a monitor that exists."""
    found = line.settings
    return {
        **EMPTY,
        "name": line.name, "agent": line.agent, "kind": line.kind, "path": found.path,
        "steady_s": str(found.steady_s), "at_least": str(found.at_least), "pattern": found.pattern,
        "pid_file": found.pid_file, "existing": "1" if found.existing else "", "interval_s": str(found.interval_s),
        "jobs": line.jobs, "description": line.description, "version": str(line.version),
    }  # fmt: skip


def spec_from(values: Mapping[str, str], on: frozenset[str], enabled: bool = True) -> MonitorSpec:
    """What the form says. Raises Invalid with every field that is no number."""
    numbers = {name: values[name] for name in ("steady_s", "at_least", "interval_s")}
    wrong = {
        name: f"{text or 'Nothing'} is not a whole number." for name, text in numbers.items() if not is_number(text)
    }
    if wrong:
        raise Invalid("Some fields are not right.", fields=wrong)
    kind = values["kind"]
    has_path = kind in ("file", "directory")
    settings = Settings(
        path=values["path"] if has_path else "",
        on=[word for word in KINDS.get(kind, ()) if f"{kind}-{word}" in on],
        steady_s=int(values["steady_s"]),
        at_least=int(values["at_least"]),
        pattern=values["pattern"] if kind == "process" else "",
        pid_file=values["pid_file"] if kind == "process" else "",
        existing=values["existing"] == "1",
        interval_s=int(values["interval_s"]),
    )
    names = [name.strip() for name in values["jobs"].replace("\n", ",").split(",") if name.strip()]
    return MonitorSpec(
        name=values["name"],
        agent=values["agent"],
        kind=kind,
        settings=settings,
        jobs=names,
        enabled=enabled,
        description=values["description"],
    )


async def new(request: web.Request) -> web.Response:
    """`GET /monitors/new`; `job` names a job that is to react."""
    frame, found = await serve.load(request, "New monitor", lambda c: agents.page(c, limit=1000))
    names = tuple(agent.name for agent in found)
    values = {**EMPTY, "agent": request.query.get("agent", names[0] if names else "")}
    values["jobs"] = request.query.get("job", "")
    return serve.html(MonitorFormPage(frame, 0, "", names, values))


async def edit(request: web.Request) -> web.Response:
    """`GET /monitors/{id}/edit`."""
    monitor_id = int(request.match_info["id"])
    frame, (line, found) = await serve.load(
        request, "Change a monitor", lambda c: (_line(c, monitor_id), agents.page(c, limit=1000))
    )
    names, on = tuple(agent.name for agent in found), frozenset(f"{line.kind}-{word}" for word in line.settings.on)
    return serve.html(MonitorFormPage(frame, monitor_id, line.name, names, values_of(line), on))


async def create(request: web.Request) -> web.Response:
    """`POST /monitors/new`: makes it, or shows the form again with what is wrong."""
    values, on = await _typed(request)
    try:
        spec = spec_from(values, on)
        made = await serve.write(request, lambda by, now_us: actions.create(spec, by, now_us))
    except UnderstudyError as error:
        return await _again(request, 0, "", values, on, error)
    return serve.back(f"/monitors/{made.id}", "monitor-saved")


async def update(request: web.Request) -> web.Response:
    """`POST /monitors/{id}/edit`: refused when somebody else changed it since the form was opened."""
    monitor_id = int(request.match_info["id"])
    values, on = await _typed(request)
    _, line = await serve.load(request, "", lambda c: _line(c, monitor_id))
    version = int(values["version"]) if is_number(values["version"]) else None
    try:
        spec = spec_from({**values, "name": line.name}, on, line.enabled)
        made = await serve.write(request, lambda by, now_us: actions.update(line.name, spec, by, now_us, version))
    except UnderstudyError as error:
        return await _again(request, monitor_id, line.name, values, on, error)
    return serve.back(f"/monitors/{made.id}", "monitor-saved")


async def _typed(request: web.Request) -> tuple[dict[str, str], frozenset[str]]:
    values = {**EMPTY, **await serve.form(request)}
    return values, frozenset(name.removeprefix("on-") for name in values if name.startswith("on-"))


async def _again(
    request: web.Request,
    monitor_id: int,
    name: str,
    values: Mapping[str, str],
    on: frozenset[str],
    error: UnderstudyError,
) -> web.Response:
    if error.status not in (400, 404, 409):
        raise error
    frame, found = await serve.load(request, "Monitor", lambda c: agents.page(c, limit=1000))
    names = tuple(agent.name for agent in found)
    page = MonitorFormPage(frame.with_problem(str(error)), monitor_id, name, names, values, on, error.fields)
    return serve.html(page, 422)


async def _named(request: web.Request) -> str:
    monitor_id = int(request.match_info["id"])
    _, line = await serve.load(request, "", lambda c: _line(c, monitor_id))
    return line.name


async def delete(request: web.Request) -> web.Response:
    """`POST /monitors/{id}/delete`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    return serve.back("/monitors", "monitor-deleted")


async def enable(request: web.Request) -> web.Response:
    """`POST /monitors/{id}/enable`."""
    name = await _named(request)
    await serve.write(request, lambda by, now_us: actions.enable(name, by, now_us))
    return serve.back(f"/monitors/{request.match_info['id']}", "monitor-enabled")


async def disable(request: web.Request) -> web.Response:
    """`POST /monitors/{id}/disable`."""
    name, reason = await _named(request), (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.disable(name, by, now_us, reason))
    return serve.back(f"/monitors/{request.match_info['id']}", "monitor-disabled")


async def fire(request: web.Request) -> web.Response:
    """`POST /monitors/{id}/fire`: `variables` are lines of NAME=VALUE, `once` makes two clicks one event."""
    name, form = await _named(request), await serve.form(request)
    lines = [line.strip() for line in form.get("variables", "").splitlines() if line.strip()]
    if any("=" not in line for line in lines):
        raise Invalid("Write each variable as NAME=VALUE, one on a line.")
    variables = dict(line.split("=", 1) for line in lines)
    once = form.get("once") or secrets.token_hex(16)
    await serve.write(request, lambda by, now_us: actions.fire(name, variables, once, by, now_us))
    return serve.back(f"/monitors/{request.match_info['id']}", "event-fired")


ROUTES = (
    serve.get("/monitors", show_all),
    serve.get("/monitors/new", new),
    serve.post("/monitors/new", create),
    serve.get(r"/monitors/{id:\d+}", show),
    serve.get(r"/monitors/{id:\d+}/edit", edit),
    serve.post(r"/monitors/{id:\d+}/edit", update),
    serve.post(r"/monitors/{id:\d+}/delete", delete),
    serve.post(r"/monitors/{id:\d+}/enable", enable),
    serve.post(r"/monitors/{id:\d+}/disable", disable),
    serve.post(r"/monitors/{id:\d+}/fire", fire),
)
