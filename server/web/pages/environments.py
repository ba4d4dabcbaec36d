"""Agent environments and command sets: the lists with who uses each, and the forms that make or change one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import environments as actions
from server.actions.environments import CommandSetSpec, CommandSetView, EnvironmentSpec, EnvironmentView
from server.core.environments import Place
from server.errors import Invalid, UnderstudyError
from server.web.api.environments import set_views, views
from server.web.frame import Frame
from server.web.pages import serve

HERE, SETS = "/shared/environments", "/shared/command-sets"
EMPTY = {"name": "", "description": "", "run_as": "", "working_directory": "", "variables": "", "agents": ""}
EMPTY_SET = {"name": "", "description": "", "before": "", "after": ""}


@dataclass(frozen=True, slots=True)
class EnvironmentsPage:
    """The list and the form: `values` as typed, `errors` by field. `changes`: the form changes one that there is."""

    template: ClassVar[str] = "pages/environment_list.html"
    frame: Frame
    environments: tuple[EnvironmentView, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    changes: bool = False


@dataclass(frozen=True, slots=True)
class CommandSetsPage:
    """The list and the form, as of environments."""

    template: ClassVar[str] = "pages/command_set_list.html"
    frame: Frame
    command_sets: tuple[CommandSetView, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY_SET)
    errors: Mapping[str, str] = field(default_factory=dict)
    changes: bool = False


def values_of(found: EnvironmentView) -> dict[str, str]:
    """The form's values for an environment that exists."""
    agents = "\n\n".join(f"[{name}]\n{_lines(place)}".rstrip() for name, place in found.agents.items())
    return {
        "name": found.name,
        "description": found.description,
        "run_as": found.run_as,
        "working_directory": found.working_directory,
        "variables": "\n".join(f"{name}={value}" for name, value in found.variables.items()),
        "agents": agents,
    }


def spec_from(values: Mapping[str, str]) -> EnvironmentSpec:
    """What the form says. Raises Invalid with every line that cannot be understood."""
    wrong: dict[str, str] = {}
    base = _pairs(values["variables"].splitlines(), "variables", wrong)
    sections: dict[str, list[str]] = {}
    current = ""
    for line in filter(None, (line.strip() for line in values["agents"].splitlines())):
        if line.startswith("[") and line.endswith("]"):
            current = line[1:-1].strip()
            sections[current] = []
        elif current:
            sections[current].append(line)
        else:
            wrong["agents"] = f"{line!r} stands before the name of any agent: begin with [AGENT]."
    agents = {}
    for name, lines in sections.items():
        found = _pairs(lines, "agents", wrong)
        user, directory = found.pop("@user", ""), found.pop("@directory", "")
        agents[name] = Place(run_as=user, working_directory=directory, variables=found)
    if wrong:
        raise Invalid("Some fields are not right.", fields=wrong)
    plain = {name: values[name] for name in ("name", "description", "run_as", "working_directory")}
    return EnvironmentSpec(**plain, variables=base, agents=agents)


def set_values_of(found: CommandSetView) -> dict[str, str]:
    """The form's values for a command set that exists."""
    texts = {"before": "\n".join(found.before), "after": "\n".join(found.after)}
    return {"name": found.name, "description": found.description, **texts}


def set_spec_from(values: Mapping[str, str]) -> CommandSetSpec:
    """What the form says: one command on each line."""
    before = [line for line in values["before"].splitlines() if line.strip()]
    after = [line for line in values["after"].splitlines() if line.strip()]
    return CommandSetSpec(name=values["name"], description=values["description"], before=before, after=after)


def _lines(place: Place) -> str:
    said = [f"@user={place.run_as}"] if place.run_as else []
    said += [f"@directory={place.working_directory}"] if place.working_directory else []
    return "\n".join([*said, *(f"{name}={value}" for name, value in place.variables.items())])


def _pairs(lines: list[str], where: str, wrong: dict[str, str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for line in filter(None, (line.strip() for line in lines)):
        name, equals, value = line.partition("=")
        if equals and name:
            found[name] = value
        else:
            wrong[where] = f"{line!r} is not NAME=value."
    return found


async def show(request: web.Request) -> web.Response:
    """`GET /shared/environments`; with `name=` the form is filled with that one."""
    name = request.query.get("name", "")
    frame, found = await serve.load(request, "Environments", views)
    known = next((one for one in found if one.name == name), None)
    values = dict(EMPTY) if known is None else values_of(known)
    return serve.html(EnvironmentsPage(frame, tuple(found), values, {}, known is not None))


async def put(request: web.Request) -> web.Response:
    """`POST /shared/environments`: makes or changes it, or shows the form again with what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    try:
        spec = spec_from(values)
        await serve.write(request, lambda by, now_us: actions.put(spec, by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        frame, found = await serve.load(request, "Environments", views)
        page = EnvironmentsPage(
            frame.with_problem(str(error)), tuple(found), values, error.fields, bool(values.get("changes"))
        )
        return serve.html(page, 422)
    return serve.back(HERE, "shared-set")


async def delete(request: web.Request) -> web.Response:
    """`POST /shared/environments/delete`."""
    values = await serve.form(request)
    name, reason = values.get("name", ""), values.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    return serve.back(HERE, "shared-deleted")


async def show_sets(request: web.Request) -> web.Response:
    """`GET /shared/command-sets`; with `name=` the form is filled with that one."""
    name = request.query.get("name", "")
    frame, found = await serve.load(request, "Command sets", set_views)
    known = next((one for one in found if one.name == name), None)
    values = dict(EMPTY_SET) if known is None else set_values_of(known)
    return serve.html(CommandSetsPage(frame, tuple(found), values, {}, known is not None))


async def put_set(request: web.Request) -> web.Response:
    """`POST /shared/command-sets`: makes or changes it, or shows the form again with what is wrong."""
    values = {**EMPTY_SET, **await serve.form(request)}
    try:
        spec = set_spec_from(values)
        await serve.write(request, lambda by, now_us: actions.put_set(spec, by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        frame, found = await serve.load(request, "Command sets", set_views)
        page = CommandSetsPage(
            frame.with_problem(str(error)), tuple(found), values, error.fields, bool(values.get("changes"))
        )
        return serve.html(page, 422)
    return serve.back(SETS, "shared-set")


async def delete_set(request: web.Request) -> web.Response:
    """`POST /shared/command-sets/delete`."""
    values = await serve.form(request)
    name, reason = values.get("name", ""), values.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete_set(name, by, now_us, reason))
    return serve.back(SETS, "shared-deleted")


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE, put),
    serve.post(HERE + "/delete", delete),
    serve.get(SETS, show_sets),
    serve.post(SETS, put_set),
    serve.post(SETS + "/delete", delete_set),
)
