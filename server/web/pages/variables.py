"""Variables: the list with who names each, and the form that makes or changes one. A secret's value is never shown."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import variables as actions
from server.actions.variables import VariableSpec, VariableView
from server.errors import UnderstudyError
from server.storage import jobs
from server.web.api.variables import views
from server.web.frame import Frame
from server.web.pages import serve

HERE = "/shared/variables"
EMPTY = {"name": "", "job": "", "value": "", "secret": "", "description": "", "was_secret": ""}


@dataclass(frozen=True, slots=True)
class VariablesPage:
    """The list and the form: `values` as typed, `errors` by field. `changes`: the form changes one that there is."""

    template: ClassVar[str] = "pages/variable_list.html"
    frame: Frame
    variables: tuple[VariableView, ...]
    jobs: tuple[str, ...] = ()
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    changes: bool = False


def _read(connection: sqlite3.Connection) -> tuple[tuple[VariableView, ...], tuple[str, ...]]:
    found = sorted(views(connection), key=lambda one: (one.job, one.name))
    return tuple(found), tuple(job.name for job in jobs.page(connection, limit=1000))


async def show(request: web.Request) -> web.Response:
    """`GET /shared/variables`; with `name=` and `job=` the form is filled with that one."""
    name, job = request.query.get("name", ""), request.query.get("job", "")
    frame, (found, names) = await serve.load(request, "Variables", _read)
    known = next((one for one in found if (one.name, one.job) == (name, job)), None)
    return serve.html(VariablesPage(frame, found, names, values_of(known), {}, known is not None))


def values_of(known: VariableView | None) -> dict[str, str]:
    """The form's values; the value of a secret is not among them."""
    if known is None:
        return dict(EMPTY)
    return {
        "name": known.name,
        "job": known.job,
        "value": known.value or "",
        "secret": "1" if known.secret else "",
        "description": known.description,
        "was_secret": "1" if known.secret else "",
    }


async def put(request: web.Request) -> web.Response:
    """`POST /shared/variables`: makes or changes it, or shows the form again with what is wrong, without a secret."""
    fields = await request.post()
    typed = {name: str(fields.get(name, "")) for name in EMPTY}
    values = {name: text if name == "value" else text.strip() for name, text in typed.items()}
    is_secret = values["secret"] == "1"
    value = values["value"].replace("\r\n", "\n")
    spec = VariableSpec(
        name=values["name"],
        value=None if values["was_secret"] and not value else value,
        secret=is_secret,
        description=values["description"],
        job=values["job"],
    )
    seal = serve.site(request).seal.seal
    try:
        await serve.write(request, lambda by, now_us: actions.put(spec, seal, by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        frame, (found, names) = await serve.load(request, "Variables", _read)
        shown = {**values, "value": "" if is_secret else value}
        page = VariablesPage(
            frame.with_problem(str(error)), found, names, shown, error.fields, bool(fields.get("changes"))
        )
        return serve.html(page, 422)
    return serve.back(HERE, "variable-set")


async def delete(request: web.Request) -> web.Response:
    """`POST /shared/variables/delete`."""
    values = await serve.form(request)
    name, job, reason = values.get("name", ""), values.get("job", ""), values.get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, job, by, now_us, reason))
    return serve.back(HERE, "variable-deleted")


async def shared(request: web.Request) -> web.Response:
    """`GET /shared`: the first of what jobs share."""
    return serve.back(HERE)


ROUTES = (
    serve.get("/shared", shared),
    serve.get(HERE, show),
    serve.post(HERE, put),
    serve.post(HERE + "/delete", delete),
)
