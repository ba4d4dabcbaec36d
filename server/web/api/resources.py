"""Counted resources: how many there are, which runs hold them, and how many wait."""

from __future__ import annotations

import msgspec

from server.actions import resources
from server.actions.resources import ResourceView
from server.storage import limits
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class ResourceChange(msgspec.Struct, frozen=True, kw_only=True):
    """How many there shall be."""

    count: int
    description: str = ""


async def list_resources(call: Call) -> list[ResourceView]:
    """Resources by name, above `after`."""
    after, limit = call.query("after"), call.limit()
    return await call.read(lambda connection: resources.views(connection, after, limit))


async def show_resource(call: Call) -> ResourceView:
    """One resource with the runs that hold it."""
    name = call.path("name")
    return await call.read(
        lambda connection: resources.view(resources.find(connection, name), limits.holders(connection), connection)
    )


async def put_resource(call: Call) -> Answer:
    """Make a resource, or give it another count."""
    change = resources.put(call.path("name"), call.body.count, call.body.description, call.by, call.now_us)
    return await call.write(change)


async def delete_resource(call: Call) -> Answer:
    """Delete a resource; refused while a job needs it."""
    name = call.path("name")
    change = resources.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


_R = "/api/v1/resources"
ENDPOINTS = (
    Endpoint("GET", _R, list_resources, "Counted resources", answer=list[ResourceView], query=("after", "limit")),
    Endpoint("GET", _R + "/{name}", show_resource, "One resource and who holds it", answer=ResourceView),
    Endpoint(
        "PUT", _R + "/{name}", put_resource, "Make or change a resource", body=ResourceChange, answer=ResourceView
    ),
    Endpoint(
        "DELETE",
        _R + "/{name}",
        delete_resource,
        "Delete a resource",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
)
