"""Agents: who is reachable, whose queue is locked and has acknowledged it, and the buttons that lock and unlock."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

from aiohttp import web

from server.actions import agents as actions
from server.actions import gates as gate_actions
from server.core.gates import QUEUE_LOCKED
from server.core.model import Gate, Order
from server.core.witness_seats import SEAT
from server.errors import NotFound
from server.storage import agents, debts, gates, groups, jobs, orders, overview, runs, settings
from server.storage.overview import AgentLine
from server.storage.runs import RunLine
from server.web import witnesses
from server.web.agent_states import Advice, advice, agent_state, since_us
from server.web.frame import Frame
from server.web.pages import agent_requests, serve
from server.web.pages.agent_parts import Part, groups_of, is_first, parts
from server.web.pages.agent_requests import PendingList, pending_list
from server.web.pages.agent_silence import Silence
from server.web.pages.contacts import Contact, contact
from server.web.states import AGENTS, OK, QUEUE_IDLE, QUEUES, WITNESSES, Badge
from server.web.witnesses import Standing

LIMIT = 100


@dataclass(frozen=True, slots=True)
class AgentView:
    """One agent as people see it. `since_us`: since when it is in its state, where that is known; `advice` says what
    the state means."""

    line: AgentLine
    state: Badge
    queue: Badge
    contact: Contact | None
    witness: Badge | None = None
    since_us: int | None = None
    advice: Advice = field(default_factory=lambda: Advice(""))

    @property
    def reachable(self) -> bool:
        """Connected and not quarantined."""
        return self.contact is not None and self.line.quarantined_at_us is None


@dataclass(frozen=True, slots=True)
class Queues:
    """How the queues are, over all agents. `all_locked_by` is None unless a host-wide lock is in force."""

    total: int
    locked: int
    unacknowledged: int
    waiting: int
    names: tuple[str, ...]
    all_locked: Gate | None


@dataclass(frozen=True, slots=True)
class AgentsPage:
    """The list. `more_after` is the name to page on from, or empty."""

    template: ClassVar[str] = "pages/agent_list.html"
    frame: Frame
    agents: tuple[AgentView, ...]
    queues: Queues
    match: str
    more_after: str = ""
    witnesses: Standing | None = None
    requests: PendingList | None = None
    owing: tuple[str, ...] = ()
    """Agents that may hold what a lost master gave them."""
    deployed: frozenset[str] | None = None
    """Ids of the agents that serve a group; None while there are no groups."""
    groups_of: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """The names of the groups that the agents of this page serve, by id."""
    state: str = ""
    states: tuple[str, ...] = overview.AGENT_STATES


@dataclass(frozen=True, slots=True)
class ListRows:
    """What one read finds for the list: the agents of one page, and what concerns all of them."""

    lines: list[AgentLine]
    queues: Queues
    revision: int
    owing: tuple[str, ...]
    deployed: frozenset[str] | None
    groups_of: Mapping[str, Sequence[str]]


@dataclass(frozen=True, slots=True)
class AgentPage:
    """One agent with its runs and standing orders."""

    template: ClassVar[str] = "pages/agent_show.html"
    frame: Frame
    agent: AgentView
    all_locked: Gate | None
    runs: tuple[RunLine, ...]
    orders_active: int
    orders_unacknowledged: int
    jobs_count: int
    parts: tuple[Part, ...] = ()
    silent_since_us: int | None = None

    @property
    def first(self) -> tuple[Part, ...]:
        """What is wrong."""
        return tuple(part for part in self.parts if part.template and is_first(part))

    @property
    def later(self) -> tuple[Part, ...]:
        """The other sections."""
        return tuple(part for part in self.parts if part.template and not is_first(part))

    @property
    def groups(self) -> tuple[str, ...] | None:
        """What it serves; None while there are no groups."""
        return groups_of(self.parts)

    @property
    def silence(self) -> Silence | None:
        """What nobody knows of it."""
        return next((part for part in self.parts if isinstance(part, Silence)), None)


def view(
    line: AgentLine,
    host: Gate | None,
    revision: int,
    found: Contact | None,
    deployed: bool = True,
    gated: bool = False,
) -> AgentView:
    """How one agent is: from its row, the host-wide lock, the gates' revision, its connection, whether it serves a
    group (where there are groups), and whether something stops all agents."""
    waiting = found.waiting if found else ""
    state = agent_state(line, found is not None, waiting, deployed)
    wanted = max(host.revision if host else 0, line.locked_revision or 0)
    if host or line.locked_by is not None:
        queue = "locked" if line.gates_acknowledged >= wanted else "locking"
    else:
        queue = "open" if line.gates_acknowledged >= revision else "unlocking"
    shown = QUEUE_IDLE if queue == "open" and AGENTS[state].tone != OK else QUEUES[queue]
    return AgentView(
        line,
        AGENTS[state],
        shown,
        found,
        _witness(line, found is not None),
        since_us(line, state),
        advice(line, state, queue, waiting, gated),
    )


def _witness(line: AgentLine, is_connected: bool) -> Badge | None:
    if line.witness:
        return WITNESSES["lost" if line.witness != SEAT else "answers" if is_connected else "silent"]
    return WITNESSES["former"] if line.former_witness else None


def _queues(connection: sqlite3.Connection) -> tuple[Queues, int]:
    revision = settings.gate_revision(connection)
    host = gates.get(connection, QUEUE_LOCKED)
    total, behind = agents.count(connection), agents.unacknowledged(connection, revision)
    return Queues(
        total,
        total if host else gates.locked_agents(connection),
        behind,
        runs.count_waiting(connection),
        tuple(agents.unacknowledged_names(connection, revision, 20)) if behind else (),
        host,
    ), revision


def read_list(connection: sqlite3.Connection, after: str, match: str, state: str) -> ListRows:
    """A query of a fixed number of look-ups for each of `LIMIT` agents, however many there are."""
    lines = overview.agent_lines(connection, after, LIMIT, match, state)
    queues, revision = _queues(connection)
    has_groups = bool(groups.names(connection))
    names = groups.names_of(connection, [line.id for line in lines]) if has_groups else {}
    deployed = frozenset(names) if has_groups else None
    return ListRows(lines, queues, revision, tuple(debts.names(connection, 20)), deployed, names)


def list_page(
    frame: Frame,
    found: ListRows,
    contact_of: Callable[[str], Contact | None],
    match: str = "",
    state: str = "",
    standing: Standing | None = None,
    pending: PendingList | None = None,
) -> AgentsPage:
    """The page of what was read, with what is known of each connection now."""
    serving = found.deployed
    views = tuple(
        view(line, found.queues.all_locked, found.revision, contact_of(line.id), serving is None or line.id in serving)
        for line in found.lines
    )
    more = found.lines[-1].name if len(found.lines) == LIMIT else ""
    return AgentsPage(
        frame,
        views,
        found.queues,
        match,
        more,
        standing,
        pending,
        found.owing,
        found.deployed,
        found.groups_of,
        state,
    )


async def show(request: web.Request) -> web.Response:
    """`GET /agents?match=&state=&after=`."""
    match, after, state = (request.query.get(name, "") for name in ("match", "after", "state"))
    frame, (found, seating, asked) = await serve.load(
        request,
        "Agents",
        lambda c: (read_list(c, after, match, state), witnesses.read(c), agent_requests.read(c)),
    )
    site = serve.site(request)
    standing, pending = witnesses.standing(site, seating), pending_list(site, asked)
    return serve.html(list_page(frame, found, partial(contact, site), match, state, standing, pending))


def read_one(
    connection: sqlite3.Connection, name: str, now_us: int
) -> tuple[AgentLine, Gate | None, int, list[RunLine], list[Order], int, tuple[Part, ...]]:
    line = overview.agent_line(connection, name)
    if line is None:
        raise NotFound(f"There is no agent {name}.")
    return (
        line,
        gates.get(connection, QUEUE_LOCKED),
        settings.gate_revision(connection),
        runs.page(connection, agent_id=line.id, limit=20),
        orders.of_agent(connection, line.id, limit=200),
        jobs.count_of_agent(connection, line.id),
        parts(connection, line, now_us),
    )


async def show_one(request: web.Request) -> web.Response:
    """`GET /agents/{name}`."""
    name, now_us = request.match_info["name"], serve.site(request).clock.utc_us()
    frame, found = await serve.load(request, f"Agent {name}", lambda connection: read_one(connection, name, now_us))
    line, host, revision, newest, standing, jobs_count, told = found
    held = [order for order in standing if order.state == "active"]
    behind = sum(1 for order in standing if order.acknowledged_version < order.version)
    site = serve.site(request)
    deployed = groups_of(told) != ()
    agent = view(line, host, revision, contact(site, line.id), deployed, bool(frame.gates))
    silent = None if agent.contact is not None else site.agent_silent_since_us(line.id)
    return serve.html(AgentPage(frame, agent, host, tuple(newest), len(held), behind, jobs_count, told, silent))


async def lock_all(request: web.Request) -> web.Response:
    """`POST /agents/lock`."""
    reason = (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: gate_actions.lock_all(by, now_us, reason))
    return serve.back("/agents", "locked")


async def unlock_all(request: web.Request) -> web.Response:
    """`POST /agents/unlock`."""
    await serve.write(request, gate_actions.unlock_all)
    return serve.back("/agents", "unlocked")


async def lock_one(request: web.Request) -> web.Response:
    """`POST /agents/{name}/lock`."""
    name, reason = request.match_info["name"], (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: gate_actions.lock(name, by, now_us, reason))
    return serve.back(f"/agents/{name}", "agent-locked")


async def unlock_one(request: web.Request) -> web.Response:
    """`POST /agents/{name}/unlock`."""
    name = request.match_info["name"]
    await serve.write(request, lambda by, now_us: gate_actions.unlock(name, by, now_us))
    return serve.back(f"/agents/{name}", "agent-unlocked")


async def accept_restored(request: web.Request) -> web.Response:
    """`POST /agents/{name}/accept-restored`: ends a quarantine."""
    name, reason = request.match_info["name"], (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.accept_restored(name, by, now_us, reason))
    return serve.back(f"/agents/{name}", "agent-accepted")


async def remove(request: web.Request) -> web.Response:
    """`POST /agents/{name}/remove`."""
    name, reason = request.match_info["name"], (await serve.form(request)).get("reason", "")
    await serve.write(request, lambda by, now_us: actions.remove(name, by, now_us, reason))
    return serve.back("/agents", "agent-removed")


ROUTES = (
    serve.get("/agents", show),
    serve.post("/agents/lock", lock_all),
    serve.post("/agents/unlock", unlock_all),
    serve.get("/agents/{name}", show_one),
    serve.post("/agents/{name}/lock", lock_one),
    serve.post("/agents/{name}/unlock", unlock_one),
    serve.post("/agents/{name}/accept-restored", accept_restored),
    serve.post("/agents/{name}/remove", remove),
)
