"""Counted resources: the list with who holds them, and the form; and a job's priority and limits on its form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import resources as actions
from server.actions.resources import ResourceView
from server.core.limits import Limits
from server.errors import Invalid, UnderstudyError
from server.ports.numbers import is_number
from server.web.frame import Frame
from server.web.pages import serve

HERE = "/shared/resources"
EMPTY = {"name": "", "count": "1", "description": ""}
JOB_EMPTY = {"priority": "0", "runs_at_once": "0", "resources": ""}
JOB_FIELDS = {"limits.priority": "priority", "limits.runs_at_once": "runs_at_once", "limits.resources": "resources"}
"""The job form's field for a field of the limits."""


@dataclass(frozen=True, slots=True)
class ResourcesPage:
    """The list and the form: `values` as typed, `errors` by field. `changes`: the form changes one that there is."""

    template: ClassVar[str] = "pages/resource_list.html"
    frame: Frame
    resources: tuple[ResourceView, ...]
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    changes: bool = False


def job_values(limits: Limits) -> dict[str, str]:
    """The job form's values for limits that exist."""
    return {
        "priority": str(limits.priority),
        "runs_at_once": str(limits.runs_at_once),
        "resources": " ".join(f"{name}={count}" for name, count in limits.resources.items()),
    }


def limits_from(values: Mapping[str, str], wrong: dict[str, str]) -> Limits:
    """What a job's form says; what is no number is named in `wrong`."""
    numbers = {}
    for name in ("priority", "runs_at_once"):
        try:
            numbers[name] = int(values[name])
        except ValueError:
            wrong[name] = f"{values[name] or 'Nothing'} is not a whole number."
    needs: dict[str, int] = {}
    for word in values["resources"].replace(",", " ").split():
        name, equals, count = word.partition("=")
        if not name or (equals and not is_number(count)):
            wrong["resources"] = f"{word} is not NAME or NAME=number."
        else:
            needs[name] = int(count or 1)
    return Limits(**numbers, resources=needs)


async def show(request: web.Request) -> web.Response:
    """`GET /shared/resources`; with `name=` the form is filled with that one."""
    name = request.query.get("name", "")
    frame, found = await serve.load(request, "Resources", actions.views)
    known = next((one for one in found if one.name == name), None)
    values = dict(EMPTY)
    if known is not None:
        values = {"name": known.name, "count": str(known.count), "description": known.description}
    return serve.html(ResourcesPage(frame, tuple(found), values, {}, known is not None))


async def put(request: web.Request) -> web.Response:
    """`POST /shared/resources`: makes or changes it, or shows the form again with what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    try:
        if not is_number(values["count"]):
            raise Invalid(f"{values['count'] or 'Nothing'} is not a whole number.", field="count")
        name, count, said = values["name"], int(values["count"]), values["description"]
        await serve.write(request, lambda by, now_us: actions.put(name, count, said, by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        frame, found = await serve.load(request, "Resources", actions.views)
        page = ResourcesPage(
            frame.with_problem(str(error)), tuple(found), values, error.fields, bool(values.get("changes"))
        )
        return serve.html(page, 422)
    return serve.back(HERE, "resource-set")


async def delete(request: web.Request) -> web.Response:
    """`POST /shared/resources/delete`."""
    values = await serve.form(request)
    name, reason = values.get("name", ""), values.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    return serve.back(HERE, "shared-deleted")


ROUTES = (serve.get(HERE, show), serve.post(HERE, put), serve.post(HERE + "/delete", delete))
