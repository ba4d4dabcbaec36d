"""Counted resources that runs hold while they run, such as licences. Permission: jobs.change."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

from server.actions.change import Change, Transaction, record, require
from server.core.limits import WAITS, resource_name, said, wrong_resource
from server.core.model import Principal, Run
from server.errors import Conflict, Invalid, NotFound
from server.storage import limits
from server.storage.limits import Holder, Resource


class Holding(msgspec.Struct, frozen=True):
    """A run that holds some of it."""

    run: int
    job: str
    state: str
    count: int


class ResourceView(msgspec.Struct, frozen=True, kw_only=True):
    """A resource as it is shown. `waiting`: how many runs are short of it."""

    name: str
    count: int
    description: str
    updated_at_us: int
    updated_by: str
    held: int
    holders: list[Holding]
    waiting: int
    used_by: list[str]


def put(name: str, count: int, description: str, by: Principal, now_us: int) -> Change[ResourceView]:
    """Make a resource, or give it another count. Fewer than are held: nothing is let go until enough has ended."""
    require(by, "jobs.change")
    wrong = wrong_resource(name, count)
    if wrong:
        raise Invalid("; ".join(f"{field} {text}" for field, text in wrong.items()), fields=wrong)

    def change(transaction: Transaction) -> ResourceView:
        connection = transaction.connection
        before = limits.get(connection, name)
        limits.put(connection, name, count, description, now_us, by.name)
        made = find(connection, name)
        record(connection, by, now_us, "resources.put", name, before or "", made)
        return view(made, limits.holders(connection), connection)

    return change


def delete(name: str, by: Principal, now_us: int, reason: str = "") -> Change[None]:
    """Take a resource away; Conflict naming the jobs that need it, or the runs that hold it."""
    require(by, "jobs.change")

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        found = view(find(connection, name), limits.holders(connection), connection)
        if found.used_by:
            raise Conflict(f"{name} is needed by {', '.join(found.used_by)}. Change these jobs first.")
        if found.holders:
            raise Conflict(f"{name} is held by {_said(found.holders)}. Wait until they have ended.")
        limits.delete(connection, name)
        record(connection, by, now_us, "resources.delete", name, found, "", reason)

    return change


def find(connection: sqlite3.Connection, name: str) -> Resource:
    """The resource of that name; raises NotFound."""
    found = limits.get(connection, name)
    if found is None:
        raise NotFound(f"There is no resource {name}. `understudy resource list` shows them.")
    return found


def check(connection: sqlite3.Connection, needs: Mapping[str, int]) -> None:
    """Raise Invalid when a run would need what there is not, or more than there is."""
    wrong = []
    for name, count in needs.items():
        found = limits.get(connection, name)
        if found is None:
            wrong.append(f"there is no resource {name}: `understudy resource set {name} --count N`")
        elif found.count < count:
            wrong.append(f"there are only {found.count} of {name}")
    if wrong:
        raise Invalid("The job would wait for ever: " + "; ".join(wrong), fields={"limits.resources": "; ".join(wrong)})


def view(found: Resource, holders: list[Holder], connection: sqlite3.Connection) -> ResourceView:
    """The resource with who holds it. `holders`: of all resources."""
    place = resource_name(found.name)
    mine = [Holding(one.number, one.job, one.state, one.holds[place]) for one in holders if place in one.holds]
    return ResourceView(
        name=found.name,
        count=found.count,
        description=found.description,
        updated_at_us=found.updated_at_us,
        updated_by=found.updated_by,
        held=sum(one.count for one in mine),
        holders=mine,
        waiting=limits.count_waiting(connection, said(place)),
        used_by=limits.users(connection, found.name),
    )


def views(connection: sqlite3.Connection, after: str = "", limit: int = 1000) -> list[ResourceView]:
    """A query: resources by name."""
    holders = limits.holders(connection)
    return [view(one, holders, connection) for one in limits.page(connection, after, limit)]


def describe(connection: sqlite3.Connection, run: Run) -> str:
    """Who holds what a waiting run is short of, in one line; "" when it waits for no limit."""
    if run.state != "waiting" or not run.reason.startswith(WAITS):
        return ""
    holders = limits.holders(connection)
    for name in {name for one in holders for name in one.holds}:
        if said(name) == run.reason and (not name.startswith("job ") or name == f"job {run.job_id}"):
            mine = [Holding(one.number, one.job, one.state, one.holds[name]) for one in holders if name in one.holds]
            return f"{sum(one.count for one in mine)} of {limits.capacity(connection, name)} held by {_said(mine)}"
    return ""


def _said(holders: list[Holding]) -> str:
    words = [f"{one.job} #{one.run}{' (unknown)' if one.state == 'unknown' else ''}" for one in holders]
    return ", ".join(words[:10]) + (f" and {len(words) - 10} more" if len(words) > 10 else "")
