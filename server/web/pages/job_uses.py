"""What a job shares with others, on its form and its page: environment, command set, tags."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field

from aiohttp import web

from server.actions import job_uses as actions
from server.core.job_uses import Uses
from server.storage import environments, jobs, tags
from server.web.pages import serve

EMPTY = {"uses_environment": "", "uses_command_set": "", "tags": ""}
NONE = ("", "none")


@dataclass(frozen=True, slots=True)
class Choices:
    """What the form offers, as (value, words)."""

    environments: tuple[tuple[str, str], ...] = (NONE,)
    command_sets: tuple[tuple[str, str], ...] = (NONE,)


@dataclass(frozen=True, slots=True)
class JobShares:
    """The part of a job's page."""

    uses: Uses = field(default_factory=Uses)
    tags: tuple[str, ...] = ()


async def load(request: web.Request, job_id: int) -> tuple[Choices, JobShares]:
    """What there is now, and what of it a job uses; 0 for a new one."""

    def query(connection: sqlite3.Connection) -> tuple[Choices, JobShares]:
        found = [one.name for one in environments.page(connection, limit=1000)]
        sets = [one.name for one in environments.page_of_sets(connection, limit=1000)]
        there = Choices((NONE, *((name, name) for name in found)), (NONE, *((name, name) for name in sets)))
        return there, shares_of(connection, job_id)

    return (await serve.load(request, "", query))[1]


def shares_of(connection: sqlite3.Connection, job_id: int) -> JobShares:
    """A query: what a job shares."""
    job = jobs.get(connection, job_id)
    if job is None:
        return JobShares()
    return JobShares(actions.of_job(connection, job), tuple(tags.of(connection, "job", job_id)))


def values_of(shares: JobShares) -> dict[str, str]:
    """The form's values of a job that exists."""
    return {
        "uses_environment": shares.uses.environment,
        "uses_command_set": shares.uses.command_set,
        "tags": " ".join(shares.tags),
    }


def uses_from(values: Mapping[str, str]) -> Uses:
    """What the form says."""
    return Uses(environment=values["uses_environment"], command_set=values["uses_command_set"])


def tags_from(values: Mapping[str, str]) -> list[str]:
    """What the form says: words, with blanks or commas between."""
    return values["tags"].replace(",", " ").split()
