"""Does each node hold the keys of the cluster, and do they open what is sealed: looked at before a swap or a takeover.

A node that lost `seal.key`, or has that of another cluster, would take office and then give its jobs no secrets, check
no second factor and sign no certificate. The running program has its key in memory, so the file is read as well.
`POST /proof/keys` on the cluster port asks another node; no key and no secret is in the answer.
"""

from __future__ import annotations

import asyncio
import sqlite3

import msgspec
from aiohttp import web
from cryptography.exceptions import UnsupportedAlgorithm

from server.core.swap_plan import Reason
from server.errors import Invalid, Unavailable, UnderstudyError
from server.site import Site, site_of
from server.storage import sealed
from server.trust.admission import load_authority
from server.trust.identity import SEAL_FILE
from server.trust.membership import require_member
from server.trust.tls import unseal

PATH = "/proof/keys"


class KeyProof(msgspec.Struct, frozen=True):
    """What one node found: how many secrets its key opened, and a sentence for each thing that is wrong."""

    node: str
    opened: int
    problems: list[str] = []


async def look_here(site: Site) -> KeyProof:
    """Open everything that is sealed, the authority's key too, with the key that this node works with."""
    assert site.node is not None
    problems = await asyncio.to_thread(_look_at_file, site)
    opened, closed = await site.read_now(lambda connection: _open_all(connection, site.seal_key))
    if closed:
        problems.append(
            f"{len(closed)} of {opened + len(closed)} sealed secrets do not open with its seal key, {closed[0]} first"
        )
    if wrong := await _authority(site):
        problems.append(wrong)
    return KeyProof(site.node.node, opened, problems)


def _look_at_file(site: Site) -> list[str]:
    path = site.config.data / SEAL_FILE
    advice = "copy that file from the other node, mode 0600"
    try:
        kept = path.read_bytes()
    except OSError as error:
        return [f"{path} cannot be read ({error.strerror}): {advice}"]
    return [] if kept == site.seal_key else [f"{path} is another key than the one that this node works with: {advice}"]


def _open_all(connection: sqlite3.Connection, key: bytes) -> tuple[int, list[str]]:
    """How many open, and the names of those that do not."""
    closed, opened = [], 0
    for name, nonce, ciphertext in sealed.every(connection):
        try:
            unseal(key, name, nonce, ciphertext)
            opened += 1
        except (Invalid, ValueError):
            closed.append(name)
    return opened, closed


async def _authority(site: Site) -> str:
    """What keeps this node from signing certificates, or ""."""
    try:
        authority = await load_authority(site)
    except (UnderstudyError, ValueError, UnsupportedAlgorithm) as error:
        return f"the authority's key does not open: {error}"
    if authority.key.public_key() != authority.certificate.public_key():
        return "the authority's key is not that of its certificate: exchange the authority"
    return ""


class Keys:
    """For the guide of swaps: what both nodes find. Of a node without an answer it says so, and `--yes` accepts it."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def reasons(self, target: str, name: str) -> list[Reason]:
        """Lines of the verdict of a swap to the node `target`, called `name`."""
        here = await look_here(self._site)
        found = [Reason(False, f"On this node {one}.", acceptable=True) for one in here.problems]
        assert self._site.proofs is not None
        try:
            answer = await self._site.proofs.post(target, "/keys", b"")
            there = msgspec.json.decode(answer, type=KeyProof)
        except (Unavailable, msgspec.DecodeError) as error:
            unknown = f"Whether {name} can open what is sealed is not known: {error}"
            return [*found, Reason(False, unknown, acceptable=True)]
        found += [Reason(False, f"On {name} {one}. As master it would give jobs no secrets.") for one in there.problems]
        both = f"Both nodes hold the seal key and the authority's key, and opened all {there.opened} secrets with them."
        return found or [Reason(True, both)]


async def answer(request: web.Request) -> web.StreamResponse:
    """`POST /proof/keys`: only a node of the roster is answered."""
    require_member(request)
    site = site_of(request)
    if site.node is None:
        raise Unavailable("This node is not open yet.")
    return web.Response(body=msgspec.json.encode(await look_here(site)), content_type="application/json")


def add_routes(app: web.Application) -> None:
    """Put the route on the cluster port."""
    app.router.add_post(PATH, answer)
