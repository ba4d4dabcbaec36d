"""Groups of agents: the list, and one group with what its members do, what waits and why, and the form that deploys."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

from aiohttp import web

from server.actions import groups as actions
from server.actions.groups import GroupChange, GroupSpec
from server.core.groups import Policy
from server.errors import Invalid, UnderstudyError
from server.storage import agents, groups
from server.storage.groups import GROUP_NAME, GroupLine
from server.web.api.groups import GroupView, view
from server.web.frame import Frame
from server.web.pages import serve

LIMIT = 500
POLICIES = (
    (str(Policy.LEAST_LOADED), "One member: the one with the fewest runs"),
    (str(Policy.ROUND_ROBIN), "One member: each in turn"),
    (str(Policy.PREFERRED), "One member: the first in order that can"),
    (str(Policy.ALL), "All members, each at each time"),
)
POLICY_WORDS = dict(POLICIES)
EMPTY = {"name": "", "policy": str(Policy.LEAST_LOADED), "agents": "", "description": "", "runs_at_once": "0"}


@dataclass(frozen=True, slots=True)
class GroupsPage:
    """The list with the form for a new one: `values` as typed, `errors` by field."""

    template: ClassVar[str] = "pages/group_list.html"
    frame: Frame
    groups: tuple[GroupLine, ...]
    agents: tuple[str, ...]
    once: str = ""
    values: Mapping[str, str] = field(default_factory=lambda: EMPTY)
    errors: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[tuple[str, str], ...] = POLICIES
    words: Mapping[str, str] = field(default_factory=lambda: POLICY_WORDS)


@dataclass(frozen=True, slots=True)
class GroupPage:
    """One group. `others` are the agents that are no members; `values` is what the form holds."""

    template: ClassVar[str] = "pages/group_show.html"
    frame: Frame
    group: GroupView
    others: tuple[str, ...]
    values: Mapping[str, str]
    errors: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[tuple[str, str], ...] = POLICIES
    words: Mapping[str, str] = field(default_factory=lambda: POLICY_WORDS)

    @property
    def waiting(self) -> int:
        """How many runs wait for a member."""
        return sum(line.count for line in self.group.waiting)


def lines(text: str) -> list[str]:
    """The members that were typed: one on a line, or several with blanks or commas between."""
    return text.replace(",", " ").split()


def members_text(group: GroupView) -> str:
    """The members as the form holds them."""
    return "\n".join(m.agent + (f":{m.group_capacity}" if m.group_capacity else "") for m in group.members)


async def show_all(request: web.Request) -> web.Response:
    """`GET /groups`."""
    return serve.html(await _list(request))


async def _list(
    request: web.Request,
    values: Mapping[str, str] = EMPTY,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
) -> GroupsPage:
    frame, (found, every) = await serve.load(
        request, "Groups", lambda c: (groups.lines(c, "", LIMIT), agents.page(c, limit=1000))
    )
    whole = frame.with_problem(problem) if problem else frame
    names = tuple(agent.name for agent in every)
    return GroupsPage(whole, tuple(found), names, secrets.token_hex(16), values, errors or {})


async def create(request: web.Request) -> web.Response:
    """`POST /groups`: makes the group, or shows the form again with what was typed and what is wrong."""
    values = {**EMPTY, **await serve.form(request)}
    once = values.get("once", "")
    group_id = hashlib.sha256(f"group {once or secrets.token_hex(16)}".encode()).hexdigest()[:32]
    try:
        spec = GroupSpec(
            name=values["name"],
            policy=values["policy"],
            agents=lines(values["agents"]),
            description=values["description"],
            runs_at_once=number(values["runs_at_once"]),
        )
        await serve.write(request, lambda by, now_us: actions.create(spec, group_id, by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        return serve.html(await _list(request, values, error.fields, str(error)), 422)
    return serve.back(f"/groups/{spec.name}", "group-saved")


def number(text: str) -> int:
    """The runs at once that were typed; nothing is no limit. Raises Invalid."""
    if text.strip() and not text.strip().isdigit():
        raise Invalid(f"{text} is not a whole number. 0 is no limit.", field="runs_at_once")
    return int(text.strip() or 0)


async def show(request: web.Request) -> web.Response:
    """`GET /groups/{name}`."""
    return serve.html(await _one(request))


async def _one(
    request: web.Request,
    typed: Mapping[str, str] | None = None,
    errors: Mapping[str, str] | None = None,
    problem: str = "",
) -> GroupPage:
    name, site = request.match_info["name"], serve.site(request)
    frame, (group, every) = await serve.load(
        request,
        f"Group {name}",
        lambda c: (view(c, name, site.agent_connected), agents.page(c, limit=1000)),
    )
    inside = {member.agent for member in group.members}
    others = tuple(agent.name for agent in every if agent.name not in inside)
    whole = frame.with_problem(problem) if problem else frame
    kept = {"agents": members_text(group), "runs_at_once": str(group.runs_at_once)}
    return GroupPage(whole, group, others, {**kept, **(typed or {})}, errors or {})


async def deploy(request: web.Request) -> web.Response:
    """`POST /groups/{name}`: replaces the members as a whole."""
    name, values = request.match_info["name"], await serve.form(request)
    try:
        wanted = GroupChange(
            agents=lines(values.get("agents", "")),
            policy=values.get("policy"),
            runs_at_once=number(values.get("runs_at_once", "0")),
            reason=values.get("reason", ""),
        )
        await serve.write(request, lambda by, now_us: actions.update(name, wanted, by, now_us))
    except UnderstudyError as error:
        if error.status not in (400, 404, 409):
            raise
        wrong = error.fields or {"agents": str(error)}
        return serve.html(await _one(request, values, wrong, str(error)), 422)
    return serve.back(f"/groups/{name}", "group-deployed")


async def delete(request: web.Request) -> web.Response:
    """`POST /groups/{name}/delete`."""
    name, reason = request.match_info["name"], (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.delete(name, by, now_us, reason))
    return serve.back("/groups", "group-deleted")


def group_of(agent: str) -> str:
    """The group for which a name of `agents` stands, or ""."""
    return agent.removeprefix(GROUP_NAME) if agent.startswith(GROUP_NAME) else ""


ROUTES = (
    serve.get("/groups", show_all),
    serve.post("/groups", create),
    serve.get("/groups/{name}", show),
    serve.post("/groups/{name}", deploy),
    serve.post("/groups/{name}/delete", delete),
)
