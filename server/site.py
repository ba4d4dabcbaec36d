"""What every route needs: this node, its office, its settings. One per process, found under the key
`SITE`."""

from __future__ import annotations

import base64
import hmac
import sqlite3
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from aiohttp import web

from replication.core.types import IN_OFFICE, Role, Status
from replication.errors import ReplicationError
from server import __version__
from server.actions.reports import output_object
from server.clock import Clock
from server.config import Config
from server.core.authorities import Leaf
from server.core.model import NodeRow
from server.core.role_requests import BecomeMaster, BecomeStandby
from server.errors import NotMaster, Unavailable, UnderstudyError
from server.people.door import Door
from server.people.oidc import Asker
from server.people.passwords import Passwords
from server.storage import nodes, tenancy
from server.storage.former import completed
from server.trust.identity import Identity
from server.trust.sealing import Seal

if TYPE_CHECKING:
    from replication.node import Node
    from replication.store import Store
    from server.integrity.fork_keepers import Keepers
    from server.integrity.proofs import Proofs


T = TypeVar("T")


class OfficeView(Protocol):
    """What exists only while this node is master; the attributes are None outside of office."""

    @property
    def store(self) -> Store | None:
        """Takes writes once office is open."""

    @property
    def fleet(self) -> Any:
        """The agents' links, or None."""

    @property
    def guide(self) -> Any:
        """Drives planned swaps, or None."""


class WitnessView(Protocol):
    """What is known here of the witnesses (`server.ports.witness_links`)."""

    def is_connected(self, agent_id: str) -> bool:
        """Whether this node could ask it now."""

    def silent_since_us(self, agent_id: str) -> int | None:
        """When its last link to this node ended."""

    def heard(self, agent_id: str) -> Any:
        """Its record as last heard here, or None."""

    async def look(self, agent_ids: Collection[str]) -> None:
        """Ask those connected for their record; bounded by 1 s."""


@dataclass
class Site:
    """`node` and `identity` are None while `serve` waits on an empty directory. `wishes` carries out role
    commands.

    `become_standby` and `become_master` are the role scripts' work, supplied by `server.app`, which wires.
    """

    config: Config
    clock: Clock
    passwords: Passwords
    identity: Identity | None = None
    node: Node | None = None
    office: OfficeView | None = None
    witnesses: WitnessView | None = None
    forks: Keepers | None = None
    proofs: Proofs | None = None
    authority_pem: bytes = b""
    leaf: Leaf = field(default_factory=Leaf)
    seal_key: bytes = b""
    version: str = __version__
    loop_seen_s: float = 0.0
    ready: bool = False
    become_standby: Callable[[BecomeStandby], Awaitable[dict[str, Any]]] | None = None
    become_master: Callable[[BecomeMaster], Awaitable[dict[str, Any]]] | None = None
    roster: dict[str, NodeRow] = field(default_factory=dict)
    door: Door = field(default_factory=Door)
    oidc: Asker = field(default_factory=Asker)

    @property
    def seal(self) -> Seal:
        """Seals and opens secrets with the cluster's key."""
        return Seal(lambda: self.seal_key)

    def status(self) -> Status | None:
        """A consistent look at the node, or None while it waits for a role."""
        return self.node.status() if self.node is not None else None

    def keepers(self) -> Keepers:
        """Who keeps forks; raises `Unavailable` on a node without a role."""
        if self.forks is None:
            raise Unavailable("This node has no role yet.")
        return self.forks

    def known_node(self) -> Node:
        """The node, where one must exist."""
        assert self.node is not None
        return self.node

    @property
    def in_office(self) -> bool:
        """Whether this node takes changes now."""
        status = self.status()
        return status is not None and status.state in IN_OFFICE and self._store() is not None

    def store(self) -> Store:
        """The store of this office; raises `NotMaster` with the master's URL, or `Unavailable` while office
        opens."""
        store = self._store()
        if store is not None:
            return store
        status = self.status()
        if status is not None and status.role is Role.MASTER:
            raise Unavailable("This node is taking office. Try again in a few seconds.")
        raise not_master(self.master_url())

    def _store(self) -> Store | None:
        return self.office.store if self.office is not None else None

    def master_url(self) -> str:
        """The web address of the node that is master, or "" when this node does not know one."""
        status = self.status()
        return self.web_url(status.master) if status is not None and status.master is not None else ""

    def web_url(self, node: str) -> str:
        """The web address of a node of the roster, or ""."""
        if node not in self.roster:
            return ""
        row = self.roster[node]
        host = f"[{row.address}]" if ":" in row.address else row.address
        return f"https://{host}:{row.web_port}"

    def derive_secret(self, purpose: str, who: str, key: str) -> str:
        """A secret that only this cluster can make:

        the same for the same request, so that a repetition gets it again.

        256 bits, URL-safe. `key` is the request's Idempotency-Key; nothing of the secret is stored.
        """
        message = "\0".join((purpose, who, key)).encode()
        digest = hmac.digest(self.seal_key, message, "sha256")
        return base64.urlsafe_b64encode(digest).decode().rstrip("=")

    def agents_active(self) -> int:
        """How many agents are connected and obey this node; 0 outside of office."""
        fleet = self.office.fleet if self.office is not None else None
        return fleet.active_count() if fleet is not None else 0

    def guide(self) -> Any:
        """The guide of planned swaps; raises `NotMaster` or `Unavailable` outside of office."""
        self.store()
        guide = self.office.guide if self.office is not None else None
        if guide is None:
            raise Unavailable("The guide of swaps is not ready on this node. Try again in a few seconds.")
        return guide

    def output_path(self, number: int) -> Path | None:
        """Where the output of a run is kept on this node, or None when this node has no copy."""
        if self.node is None:
            return None
        return self.config.data / "objects" / output_object(number)

    def agent_connected(self, agent_id: str) -> bool | None:
        """Whether an agent is connected and obeys this node; None outside of office."""
        fleet = self.office.fleet if self.office is not None else None
        return fleet.is_active(agent_id) if fleet is not None else None

    def agent_silent_since_us(self, agent_id: str) -> int | None:
        """When the agent's last link to this node ended; None: it had none since this node started, or has one."""
        return self.witnesses.silent_since_us(agent_id) if self.witnesses is not None else None

    async def read(self, query: Callable[[sqlite3.Connection], T], tenant: str) -> tuple[T, int, bool]:
        """Run a query as people of `tenant` see the rows ("": all): its value, its sequence, whether that is committed.

        Waits up to a second for the standby's confirmation, then answers with False: show it so, never act on
        it. On a standby the held copy is read, which only ever holds what is committed.
        """
        store = self._store()
        if store is not None:
            return await store.read_unconfirmed(tenancy.seen_by(tenant, query), dress=tenancy.dress_for(tenant))
        value, sequence = await self._read_copy(tenancy.seen_by(tenant, query))
        return value, sequence, True

    async def read_now(self, query: Callable[[sqlite3.Connection], T], tenant: str = "") -> T:
        """Run a query without waiting for the standby: for sign-in and status alone, which must never wait."""
        seen, store = tenancy.seen_by(tenant, query), self._store()
        if store is not None:
            return (await store.read_unconfirmed(seen, 0.0, tenancy.dress_for(tenant)))[0]
        return (await self._read_copy(seen))[0]

    async def _read_copy(self, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        if self.node is None:
            raise Unavailable(
                "This node has no role yet. Make it a standby with `master-to-standby --master HOST --port PORT`, "
                "or a new cluster with `understudy init`."
            )
        try:
            return await self.node.read_copy(lambda connection: query(completed(connection)))
        except sqlite3.OperationalError as error:
            if "no such" not in str(error):
                raise
            raise Unavailable("This node is taking office. Try again in a few seconds.") from error

    async def refresh_roster(self) -> dict[str, NodeRow]:
        """Read the table of nodes again; keeps what was known when this node has no readable copy yet."""
        try:
            found = await self.read_now(lambda connection: nodes.page(connection))
        except (UnderstudyError, ReplicationError, sqlite3.Error, OSError):
            return self.roster
        self.roster = {row.id: row for row in found}
        return self.roster


SEQUENCE = web.RequestKey("sequence", int)
"""The sequence that a request saw; what is not set is answered with the commit sequence."""

CONFIRMED = web.RequestKey("confirmed", bool)
"""False when what a request read was not yet confirmed by the standby."""

IDEMPOTENCY_KEY = web.RequestKey("idempotency_key", str)
"""The key of an unsafe request, made here when the client sent none."""


def not_master(url: str) -> NotMaster:
    """The refusal of a write on a node that is not in office; `url` is the master's, or ""."""
    where = f"Send it to {url}." if url else "Ask the other node, or try again in a few seconds."
    return NotMaster(f"This node is not master and takes no changes. {where}", master=url)


SITE = web.AppKey("site", Site)


def site_of(request: web.Request) -> Site:
    """The site of this request's application."""
    return request.app[SITE]
