"""Agent environments, command sets, and tags: what jobs share by name."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import environments
from server.actions.environments import CommandSetSpec, CommandSetView, EnvironmentSpec, EnvironmentView
from server.core.environments import Place
from server.storage import environments as rows
from server.storage import tags
from server.storage.tags import TagLine
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class EnvironmentChange(msgspec.Struct, frozen=True, kw_only=True):
    """What an environment shall be, as a whole. `agents`: what differs on single agents, by their names."""

    description: str = ""
    run_as: str = ""
    working_directory: str = ""
    variables: dict[str, str] = {}
    agents: dict[str, Place] = {}


class CommandSetChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a command set shall be, as a whole."""

    description: str = ""
    before: list[str] = []
    after: list[str] = []


def views(connection: sqlite3.Connection, after: str = "", limit: int = 1000) -> list[EnvironmentView]:
    """A query: environments by name."""
    return [environments.view(connection, one) for one in rows.page(connection, after, limit)]


def set_views(connection: sqlite3.Connection, after: str = "", limit: int = 1000) -> list[CommandSetView]:
    """A query: command sets by name."""
    return [environments.view_set(connection, one) for one in rows.page_of_sets(connection, after, limit)]


async def list_environments(call: Call) -> list[EnvironmentView]:
    """Environments by name, above `after`, with the jobs that use each."""
    after, limit = call.query("after"), call.limit()
    return await call.read(lambda connection: views(connection, after, limit))


async def show_environment(call: Call) -> EnvironmentView:
    """One environment."""
    name = call.path("name")
    return await call.read(lambda connection: environments.view(connection, environments.find(connection, name)))


async def put_environment(call: Call) -> Answer:
    """Make an environment, or replace it; the jobs that use it are planned again."""
    spec = EnvironmentSpec(name=call.path("name"), **msgspec.structs.asdict(call.body))
    return await call.write(environments.put(spec, call.by, call.now_us))


async def delete_environment(call: Call) -> Answer:
    """Delete an environment; refused while a job uses it."""
    name = call.path("name")
    change = environments.delete(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def list_command_sets(call: Call) -> list[CommandSetView]:
    """Command sets by name, above `after`, with the jobs that use each."""
    after, limit = call.query("after"), call.limit()
    return await call.read(lambda connection: set_views(connection, after, limit))


async def show_command_set(call: Call) -> CommandSetView:
    """One command set."""
    name = call.path("name")
    return await call.read(
        lambda connection: environments.view_set(connection, environments.find_set(connection, name))
    )


async def put_command_set(call: Call) -> Answer:
    """Make a command set, or replace it; the jobs that use it are planned again."""
    spec = CommandSetSpec(name=call.path("name"), **msgspec.structs.asdict(call.body))
    return await call.write(environments.put_set(spec, call.by, call.now_us))


async def delete_command_set(call: Call) -> Answer:
    """Delete a command set; refused while a job uses it."""
    name = call.path("name")
    change = environments.delete_set(name, call.by, call.now_us, call.query("reason"))
    return await call.write(change, lambda _: {"name": name, "deleted": True})


async def list_tags(call: Call) -> list[TagLine]:
    """All tags of jobs, with how many jobs have each."""
    return await call.read(lambda connection: tags.every(connection, call.limit()))


_E, _C = "/api/v1/environments", "/api/v1/command-sets"
_PAGED = ("after", "limit")
ENDPOINTS = (
    Endpoint("GET", _E, list_environments, "Agent environments", answer=list[EnvironmentView], query=_PAGED),
    Endpoint("GET", _E + "/{name}", show_environment, "One agent environment", answer=EnvironmentView),
    Endpoint(
        "PUT",
        _E + "/{name}",
        put_environment,
        "Make or replace an agent environment",
        body=EnvironmentChange,
        answer=EnvironmentView,
    ),
    Endpoint(
        "DELETE",
        _E + "/{name}",
        delete_environment,
        "Delete an agent environment",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
    Endpoint("GET", _C, list_command_sets, "Command sets", answer=list[CommandSetView], query=_PAGED),
    Endpoint("GET", _C + "/{name}", show_command_set, "One command set", answer=CommandSetView),
    Endpoint(
        "PUT",
        _C + "/{name}",
        put_command_set,
        "Make or replace a command set",
        body=CommandSetChange,
        answer=CommandSetView,
    ),
    Endpoint(
        "DELETE",
        _C + "/{name}",
        delete_command_set,
        "Delete a command set",
        answer=shape(name=str, deleted=bool),
        query=("reason",),
    ),
    Endpoint("GET", "/api/v1/tags", list_tags, "Tags of jobs and workflows", answer=list[TagLine], query=("limit",)),
)
