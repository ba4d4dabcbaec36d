"""Tenants, for the host's people (UIP-8): `docs/tenants.md`."""

from __future__ import annotations

import msgspec

from server.actions import tenants
from server.storage import tenants as rows
from server.storage.tenants import TenantLine
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class NewTenant(msgspec.Struct, frozen=True):
    """`name`: small letters, digits and -; it stands before the names of what the tenant has."""

    name: str
    title: str = ""


class TenantChange(msgspec.Struct, frozen=True):
    """One of them."""

    title: str | None = None
    closed: bool | None = None
    reason: str = ""


class Owner(msgspec.Struct, frozen=True):
    """The tenant whose own an agent or group becomes; "" is shared by all."""

    tenant: str
    reason: str = ""


async def list_tenants(call: Call) -> list[TenantLine]:
    """Tenants by name, above `after`."""
    after, limit = call.query("after"), call.limit()
    return await call.read(lambda connection: rows.lines(connection, after, limit))


async def show_tenant(call: Call) -> TenantLine:
    """One tenant."""
    return await call.read(lambda connection: tenants.find(connection, call.path("name")))


async def create_tenant(call: Call) -> Answer:
    """Add a tenant."""
    return await call.write(tenants.create(call.body.name, call.body.title, call.by, call.now_us), status=201)


async def update_tenant(call: Call) -> Answer:
    """Change its title, close it, or open it again."""
    name, body = call.path("name"), call.body
    if body.closed is None:
        return await call.write(tenants.update(name, body.title or "", call.by, call.now_us))
    make = tenants.close if body.closed else tenants.reopen
    return await call.write(make(name, call.by, call.now_us, body.reason))


async def give_agent(call: Call) -> Answer:
    """Give an agent or a group to one tenant, or share it."""
    name, body = call.path("name"), call.body
    change = tenants.give_agent(name, body.tenant, call.by, call.now_us, body.reason)
    return await call.write(change, lambda _: {"name": name, "tenant": body.tenant})


_T = "/api/v1/tenants"
ENDPOINTS = (
    Endpoint("GET", _T, list_tenants, "Tenants", answer=list[TenantLine], query=("after", "limit")),
    Endpoint("POST", _T, create_tenant, "Add a tenant", body=NewTenant, answer=TenantLine, status=201),
    Endpoint("GET", _T + "/{name}", show_tenant, "One tenant", answer=TenantLine),
    Endpoint("PUT", _T + "/{name}", update_tenant, "Change or close a tenant", body=TenantChange, answer=TenantLine),
    Endpoint(
        "PUT",
        "/api/v1/agents/{name}/tenant",
        give_agent,
        "Give an agent or a group to one tenant",
        answer=shape(name=str, tenant=str),
        body=Owner,
    ),
)
