"""Brings an exchange of the cluster's authority to its end while the master is in office: `core.authorities`.

It keeps note of which certificate each member shows, and takes the next part as soon as nobody is waited for.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import aiohttp
import structlog

from replication.errors import ReplicationError
from server.actions import authorities as actions
from server.core.authorities import CURRENT, NEXT, AuthorityRow, Leaf, Shown, awaited, phase
from server.core.model import SYSTEM, NodeRow
from server.errors import Invalid, UnderstudyError
from server.site import Site
from server.storage import authorities
from server.trust import tls
from server.trust.admission import load_authority
from server.trust.certificates import Certificates, authority_row

LOOK_S = 2.0
ASK_S = 5.0
NOTES_MAX = 500
log = structlog.get_logger()


class Rotation:
    """One per node; works in office alone. `agents` gives what each connected agent trusts and showed."""

    def __init__(
        self, site: Site, certificates: Certificates, agents: Callable[[], Mapping[str, tuple[str, Leaf]]]
    ) -> None:
        self._site = site
        self._certificates = certificates
        self._agents = agents
        self._noted: dict[tuple[str, str], tuple[str, Leaf]] = {}

    async def run(self) -> None:
        """Look every two seconds, for ever."""
        while True:
            await asyncio.sleep(LOOK_S)
            if not self._site.in_office:
                self._noted.clear()
                continue
            try:
                await self.look()
            except (UnderstudyError, ReplicationError, sqlite3.Error) as error:
                log.warning("the certificates were not looked at; it is tried again", why=str(error))

    async def look(self) -> None:
        """Note what changed, and go on with the rotation when nobody is waited for."""
        known = await self._site.read_now(authorities.every)
        if not known:
            await self._note_first()
            return
        await self._note(await self._nodes() if phase(known) else self._own())
        await self._note({("agent", agent_id): shown for agent_id, shown in self._agents().items()})
        if phase(known) and not await self._site.read_now(lambda rows: awaited(known, authorities.bearers(rows))):
            doing, _ = await self._site.store().write(actions.advance(SYSTEM, self._site.clock.utc_us()))
            log.info("the exchange of the authority goes on", now=doing or "it is over")

    async def _note_first(self) -> None:
        first = tls.authorities_in(self._site.authority_pem)[0]
        row = authority_row(first, CURRENT, SYSTEM.name, self._site.clock.utc_us())
        await self._site.store().write(actions.found(row))

    async def _note(self, shown: Mapping[tuple[str, str], tuple[str, Leaf]]) -> None:
        news = {place: what for place, what in shown.items() if self._noted.get(place) != what and what[1].issuer}
        places = list(news)
        for first in range(0, len(places), NOTES_MAX):
            part = places[first : first + NOTES_MAX]
            await self._site.store().write(actions.note([self._row(place, news[place]) for place in part]))
        self._noted |= news

    def _row(self, place: tuple[str, str], shown: tuple[str, Leaf]) -> Shown:
        (kind, identifier), (trusts, leaf) = place, shown
        return Shown(
            kind=kind,
            id=identifier,
            key_hash=leaf.key_hash,
            issuer=leaf.issuer,
            valid_until_us=leaf.valid_until_us,
            trusts=trusts,
            shown_at_us=self._site.clock.utc_us(),
        )

    def _own(self) -> dict[tuple[str, str], tuple[str, Leaf]]:
        assert self._site.identity is not None
        own = tls.trust_in(self._site.authority_pem), self._site.leaf
        return {("node", self._site.identity.id): own}

    async def _nodes(self) -> dict[tuple[str, str], tuple[str, Leaf]]:
        """What each node trusts and shows now; those that do not answer are left as they were noted."""
        found = self._own()
        for row in self._site.roster.values():
            if ("node", row.id) not in found:
                shown = await self._ask(row)
                if shown is not None:
                    found["node", row.id] = shown
        return found

    async def _ask(self, row: NodeRow) -> tuple[str, Leaf] | None:
        host = f"[{row.address}]" if ":" in row.address else row.address
        context, patience = self._certificates.for_dialling(), aiohttp.ClientTimeout(total=ASK_S)
        try:
            async with (
                aiohttp.ClientSession(timeout=patience) as session,
                session.get(f"https://{host}:{row.cluster_port}/enrol", ssl=context) as response,
            ):
                said = await response.json()
                return tls.trust_in(str(said["certificate"]).encode()), Leaf(**said["leaf"])
        except (aiohttp.ClientError, TimeoutError, OSError, ValueError, KeyError, TypeError, Invalid) as error:
            log.info("a node does not say what it trusts", node=row.name, why=str(error) or type(error).__name__)
            return None


async def following(site: Site, by: str) -> tuple[AuthorityRow, tuple[bytes, bytes]]:
    """A new authority as a row, and its private key, sealed: what `actions.authorities.begin` takes.

    Raises `NotMaster` or `Unavailable` where no change can be made. Nothing is written yet.
    """
    site.store()
    return await asyncio.to_thread(_made, await load_authority(site), by, site)


def _made(current: tls.Authority, by: str, site: Site) -> tuple[AuthorityRow, tuple[bytes, bytes]]:
    assert site.identity is not None, "a master has its identity"
    now = datetime.fromtimestamp(site.clock.utc_us() / 1e6, UTC)
    made = tls.Authority.create(site.identity.cluster, now)
    cross = current.cross_sign(made.certificate, now)
    row = authority_row(made.certificate, NEXT, by, site.clock.utc_us(), cross)
    return row, tls.seal(site.seal_key, f"{actions.SEALED_KEY}:{row.fingerprint}", made.key_pem())
