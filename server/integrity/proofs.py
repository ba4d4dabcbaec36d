"""Both nodes read and check all they hold, and the results are held beside each other (JS7-10, BEY-11).

`POST /proof` on the cluster port has one node do it for the other; `Proofs.verify` asks both. The databases are equal
when each node's pages are what its checksum says, and the checksum of one is that of the other's journal at the same
request. Objects are compared by SHA-256; one that is being written is asked for again.
"""

from __future__ import annotations

import asyncio

import aiohttp
import msgspec
from aiohttp import web

from replication.core.types import Proof
from replication.errors import BadName, ReplicationError
from server.errors import Forbidden, Invalid, Unavailable
from server.ports.dialling import why_no_link
from server.site import Site, site_of
from server.trust.certificates import Certificates
from server.trust.membership import require_member

PATH = "/proof"
TIMEOUT = aiohttp.ClientTimeout(total=1800.0, sock_connect=5.0)
JOURNAL_WAIT_S = 5.0
TRIES = 4
TRY_AGAIN_S = 0.5
SHOWN_MAX = 20

Digests = dict[str, tuple[int, str]]


class NodeProof(msgspec.Struct, frozen=True):
    """What one node found. `soundness` is "ok", SQLite's findings, or "" when it did not look (a master)."""

    node: str
    name: str
    role: str
    sequence: int
    checksum: str
    pages: int
    bad_pages: list[int]
    soundness: str
    whole: bool
    text: str
    seconds: float
    at_us: int
    objects: int


class Verification(msgspec.Struct, frozen=True):
    """Both nodes together. `ok` only when both answered, both are whole, and they are equal. `text` says it."""

    ok: bool
    text: str
    nodes: list[NodeProof]
    differing_objects: list[str]


class Reading(msgspec.Struct, frozen=True):
    """The answer of POST /proof: the node's proof (None: only objects were asked for) and its objects."""

    node: str
    proof: NodeProof | None
    digests: Digests


def as_row(site: Site, proof: Proof, objects: int) -> NodeProof:
    """A proof with the words of people."""
    status = site.status()
    assert status is not None
    return NodeProof(
        node=status.node,
        name=status.name,
        role=status.role.value,
        sequence=proof.sequence,
        checksum=f"{proof.checksum:016x}",
        pages=proof.pages,
        bad_pages=list(proof.bad_pages[:1000]),
        soundness=proof.soundness,
        whole=proof.is_whole,
        text=proof.text,
        seconds=round(proof.seconds, 3),
        at_us=proof.at_us,
        objects=objects,
    )


async def read_here(site: Site, names: list[str]) -> Reading:
    """Prove this node's files; with names only digest those objects. Raises Unavailable."""
    if site.node is None:
        raise Unavailable(
            "This node has no role yet, so it holds nothing that could be verified. "
            "Make it a standby: master-to-standby"
        )
    digests = await site.node.prover.digest_objects(names)
    if names:
        return Reading(site.node.node, None, digests)
    try:
        proof = await site.node.prover.prove()
    except ReplicationError as error:
        raise Unavailable(f"This node cannot be verified now: {error}.") from error
    return Reading(site.node.node, as_row(site, proof, len(digests)), digests)


async def answer(request: web.Request) -> web.StreamResponse:
    """`POST /proof`, body: a JSON list of object names, empty for everything. Only a node of the roster is answered."""
    require_member(request)
    site = site_of(request)
    try:
        names = msgspec.json.decode(await request.read() or b"[]", type=list[str])
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise Invalid(f"This is no list of names: {error}.") from error
    try:
        found = await read_here(site, names)
    except BadName as error:
        raise Invalid(f"{error}.") from error
    return web.Response(body=msgspec.json.encode(found), content_type="application/json")


async def distrust(request: web.Request) -> web.StreamResponse:
    """`POST /proof/distrust`, body: why. The master has this standby compare its files with its own anew."""
    peer, site = require_member(request), site_of(request)
    status = site.status()
    if status is None or status.master != peer.id:
        raise Forbidden("Only the master has a standby compare its files.")
    return web.json_response({"doubted": doubt(site, (await request.read())[:1000].decode(errors="replace"))})


def doubt(site: Site, why: str) -> bool:
    """Begin COMPARE on this standby; False when it follows nobody now."""
    following = site.node.following if site.node is not None else None
    if following is not None:
        following.doubt(why)
    return following is not None


class Proofs:
    """One per node. `certificates` carries this node's own."""

    def __init__(self, site: Site, certificates: Certificates) -> None:
        self._site = site
        self._certificates = certificates

    async def verify(self) -> Verification:
        """Have both nodes read everything, and compare. Raises Unavailable when this node holds nothing."""
        peer = self._peer()
        here = read_here(self._site, [])
        if peer == "":
            alone = await here
            assert alone.proof is not None
            text = f"{alone.proof.text} The other node is not connected, so nothing was compared with it: start it."
            return Verification(False, text, [alone.proof], [])
        mine, theirs = await asyncio.gather(here, self._ask(peer, []))
        assert mine.proof is not None
        assert theirs.proof is not None
        nodes = [mine.proof, theirs.proof]
        differing = await self._differing_objects(peer, mine.digests, theirs.digests)
        problem = await self._problem(mine.proof, theirs.proof, differing)
        if differing:
            await self._heal(peer, problem)
        return Verification(not problem, problem or _equal(nodes), nodes, differing)

    def _peer(self) -> str:
        status = self._site.status()
        peers = [peer.node for peer in status.peers if peer.connected] if status is not None else []
        return next((node for node in peers if node in self._site.roster), "")

    async def _problem(self, mine: NodeProof, theirs: NodeProof, differing: list[str]) -> str:
        for proof in (mine, theirs):
            if not proof.whole:
                return f"{proof.name}: {proof.text}"
        checksum = await self._checksum_at(theirs.sequence)
        if checksum is None:
            return (
                f"The journal here does not hold request {theirs.sequence}, so the nodes "
                "could not be compared. Verify again."
            )
        if checksum != theirs.checksum:
            return (
                f"The databases differ at request {theirs.sequence}: checksum {checksum} on {mine.name}, "
                f"{theirs.checksum} on {theirs.name}. The standby compares itself with the master as soon as it sees "
                "that; verify again."
            )
        if differing:
            shown = ", ".join(differing[:SHOWN_MAX]) + (" and others" if len(differing) > SHOWN_MAX else "")
            return (
                f"Objects that differ between the nodes: {shown}. The standby takes the master's version and keeps its "
                "own beside its forks, since nobody can say yet which is right; verify again."
            )
        return ""

    async def _checksum_at(self, sequence: int) -> str | None:
        assert self._site.node is not None
        for _ in range(int(JOURNAL_WAIT_S / 0.1)):
            found = await self._site.node.prover.checksum_at(sequence)
            if found is not None or self._site.node.journal.last.sequence >= sequence:
                return f"{found:016x}" if found is not None else None
            await asyncio.sleep(0.1)
        return None

    async def _differing_objects(self, peer: str, mine: Digests, theirs: Digests) -> list[str]:
        """Names that stay different; what changes between two looks is being written."""
        names = _different(mine, theirs)
        for _ in range(TRIES):
            if not names:
                return []
            await asyncio.sleep(TRY_AGAIN_S)
            here, there = await asyncio.gather(read_here(self._site, names), self._ask(peer, names))
            still = _different(here.digests, there.digests)
            names = [n for n in still if mine.get(n) == here.digests.get(n) and theirs.get(n) == there.digests.get(n)]
            mine, theirs = here.digests, there.digests
        return names

    async def _heal(self, peer: str, why: str) -> None:
        if not self._site.in_office:
            doubt(self._site, why)
            return
        await self.post(peer, "/distrust", why.encode())

    async def _ask(self, peer: str, names: list[str]) -> Reading:
        return msgspec.json.decode(await self.post(peer, "", msgspec.json.encode(names)), type=Reading)

    async def post(self, peer: str, path: str, body: bytes) -> bytes:
        """What a node of the roster answers to POST /proof and `path`; raises Unavailable with why there is none."""
        row = self._site.roster[peer]
        host = f"[{row.address}]" if ":" in row.address else row.address
        context = self._certificates.for_dialling()
        async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
            try:
                url = f"https://{host}:{row.cluster_port}{PATH}{path}"
                async with session.post(url, data=body, ssl=context) as response:
                    answered = await response.read()
                    if response.status != 200:
                        raise Unavailable(refusal(row.name, response.status, answered))
                    return answered
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise Unavailable(f"The node {row.name} does not answer: {why_no_link(error)}.") from error


def refusal(name: str, status: int, answered: bytes) -> str:
    """Why a node gave no proof. A former release has no such page at its cluster port, and takes it for a mistake."""
    if status == 404:
        return f"The release of {name} does not know this question. Upgrade {name}, then it answers."
    return f"The node {name} refused ({status}): {answered[:300].decode(errors='replace')}"


def _different(mine: Digests, theirs: Digests) -> list[str]:
    return sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))


def _equal(nodes: list[NodeProof]) -> str:
    first, second = nodes
    return (
        f"Both nodes hold the same. {first.name}: {first.text} {second.name}: {second.text} The checksum of request "
        f"{second.sequence} is {second.checksum} on both; {second.objects} objects have equal contents."
    )


def add_routes(app: web.Application) -> None:
    """Put the routes on the cluster port."""
    app.router.add_post(PATH, answer)
    app.router.add_post(PATH + "/distrust", distrust)
