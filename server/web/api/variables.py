"""Variables: the list, one, and its value. The value of a secret is taken and never given."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import variables
from server.actions.variables import VariableSpec, VariableView
from server.ports.numbers import NUMBER_MAX
from server.storage import variables as rows
from server.web.api.endpoint import AFTER, Answer, Call, Endpoint, shape


class VariableChange(msgspec.Struct, frozen=True, kw_only=True):
    """Another value, or none to let it as it is; `job`: of this job alone."""

    value: str | None = None
    secret: bool = False
    description: str = ""
    job: str = ""


async def list_variables(call: Call) -> list[VariableView]:
    """Variables in the order in which they were made, above number `after`; with `job` those of one job."""
    after, limit, job = call.query_number("after", 0, 0, NUMBER_MAX), call.limit(), call.query("job")
    return await call.read(lambda connection: views(connection, job, after, limit))


def views(connection: sqlite3.Connection, job: str = "", after: int = 0, limit: int = 1000) -> list[VariableView]:
    """A query: variables with who names them."""
    scope = variables.scope_of(connection, job) if job else None
    return [variables.view(connection, one) for one in rows.page(connection, scope, after, limit)]


async def show_variable(call: Call) -> VariableView:
    """One variable, with who names it."""
    name, job = call.path("name"), call.query("job")
    return await call.read(lambda connection: variables.view(connection, variables.find(connection, name, job)))


async def put_variable(call: Call) -> Answer:
    """Make or change a variable. What is kept of the request, to answer it twice the same, shows no secret."""
    body = call.body
    spec = VariableSpec(
        name=call.path("name"), value=body.value, secret=body.secret, description=body.description, job=body.job
    )
    return await call.write(variables.put(spec, call.site.seal.seal, call.by, call.now_us), is_secret=body.secret)


async def delete_variable(call: Call) -> Answer:
    """Delete a variable; refused while something names it."""
    name, job = call.path("name"), call.query("job")
    change = variables.delete(name, job, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "job": job, "deleted": True})


ENDPOINTS = (
    Endpoint(
        "GET",
        "/api/v1/variables",
        list_variables,
        "Variables and who names them",
        answer=list[VariableView],
        query=(AFTER, "limit", "job"),
    ),
    Endpoint("GET", "/api/v1/variables/{name}", show_variable, "One variable", answer=VariableView, query=("job",)),
    Endpoint(
        "PUT",
        "/api/v1/variables/{name}",
        put_variable,
        "Make or change a variable",
        body=VariableChange,
        answer=VariableView,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/variables/{name}",
        delete_variable,
        "Delete a variable",
        answer=shape(name=str, job=str, deleted=bool),
        query=("job", "reason"),
    ),
)
