"""Letting nodes and agents in: what `/enrol` answers on the master. The joiner's side is
`server/trust/enrolment.py`."""

from __future__ import annotations

import asyncio
import contextlib
import math
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from server.actions import agents, nodes, second_factor
from server.actions.authorities import sealed_name
from server.actions.change import both
from server.actions.second_factor import Proof
from server.core.access import may
from server.core.model import NodeRow, Principal
from server.core.sign_in_guard import Limits
from server.errors import Conflict, Forbidden, Invalid, TooManyAttempts
from server.people.sign_in import FAILURE_PAUSE_S, check_code, check_password
from server.storage import agents as agent_rows
from server.storage import authorities, sealed
from server.storage import nodes as node_rows
from server.trust.enrolment import ENROLMENT_VERSION, EnrolAnswer, EnrolRequest, Place
from server.trust.tls import SEALED_AUTHORITY_KEY, Authority, Peer, hash_of_request, read_request, secret_hash, unseal

if TYPE_CHECKING:
    from server.site import Site


async def admit(site: Site, asked: EnrolRequest, address: str, peer: Peer | None) -> EnrolAnswer:
    """Check, write the row, and sign.

    `address` is where the request came from, for the audit; `peer` who showed a certificate: an agent that
    does gets a fresh one, on either node, without a token.

    Raises `NotMaster`, `Invalid`, `Unauthenticated`, `Forbidden`, `Conflict`; then nothing changed. The
    certificate is made after the row is committed, so a certificate without a row never leaves.
    """
    if asked.version != ENROLMENT_VERSION:
        raise Invalid(
            f"The master speaks enrolment version {ENROLMENT_VERSION}, this program {asked.version}. "
            "Install the same release on both machines."
        )
    if len(asked.id) != 32 or any(digit not in "0123456789abcdef" for digit in asked.id):
        raise Invalid("The id is not 32 hexadecimal digits.")
    if asked.kind == "agent" and (peer == Peer("agent", asked.id) or (peer is None and not asked.secret)):
        return await _renew_agent(site, asked, address, peer)
    site.store()
    if asked.kind == "node" and peer == Peer("node", asked.id):
        return await _move_node(site, asked, address)
    if asked.kind == "agent":
        return await _admit_agent(site, asked, address)
    if asked.kind == "node":
        return await _admit_node(site, asked, address)
    raise Invalid("Only nodes and agents enrol.")


async def _admit_agent(site: Site, asked: EnrolRequest, address: str) -> EnrolAnswer:
    token_id, _, secret = asked.secret.partition(".")
    authority = await load_authority(site)
    read_request(asked.request.encode())  # before the token is used up
    change = agents.enrol(token_id, secret_hash(secret), asked.id, site.clock.utc_us(), address)
    async with _guessing(site, f"join token from {address}"):
        agent, _ = await site.store().write(change)
    return await _answer(site, asked, authority, agent.name, ())


@contextlib.asynccontextmanager
async def _guessing(site: Site, who: str) -> AsyncIterator[None]:
    """Around a look at a join token or an agent's key: a refusal is answered late, and counts against `who`.

    Sign-ins are counted apart, so that a machine that asks again and again with an old token locks nobody out of them.
    """
    joins, now_s = site.door.joins, site.clock.monotonic()
    if (wait_s := joins.wait_s(who, who, now_s)) > 0:
        raise TooManyAttempts(
            f"Too many tries to join failed. Try again in {math.ceil(wait_s)} seconds, with a new join token: "
            "`understudy agent invite --name NAME` on the master.",
            retry_after_s=math.ceil(wait_s),
        )
    try:
        yield
    except Forbidden:
        joins.failed(who, who, now_s, Limits())
        await asyncio.sleep(FAILURE_PAUSE_S)
        raise
    joins.forget(who)


async def _renew_agent(site: Site, asked: EnrolRequest, address: str, peer: Peer | None) -> EnrolAnswer:
    """A fresh certificate for an agent: its old one proves who asks, or the key that the cluster knows."""
    agent = await site.read_now(lambda connection: agent_rows.get(connection, asked.id))
    if agent is None or agent.removed_at_us is not None:
        raise Forbidden("This agent was removed. Enrol it anew: `understudy agent invite --name NAME` on the master.")
    if peer is None:
        async with _guessing(site, f"key of {asked.id} from {address}"):
            await _check_key(site, asked, agent.name)
    return await _answer(site, asked, await load_authority(site), agent.name, ())


async def _check_key(site: Site, asked: EnrolRequest, name: str) -> None:
    """Raises Forbidden unless the request is signed by the key that the cluster knows of this agent."""
    shown = await site.read_now(lambda connection: authorities.shown(connection, "agent", asked.id))
    if shown is None or shown.key_hash != hash_of_request(asked.request.encode()):
        raise Forbidden(
            "This is not the key that this cluster knows of the agent. "
            f"Type `understudy agent replace {name}` on the master, and enrol with the token that it prints."
        )


async def _move_node(site: Site, asked: EnrolRequest, address: str) -> EnrolAnswer:
    """A node of this cluster says where it listens now: its row and its certificate follow."""
    known = await site.read_now(lambda connection: node_rows.get(connection, asked.id))
    if known is None or known.removed_at_us is not None:
        raise Forbidden("This node was removed from the cluster. Enrol it anew: master-to-standby on that node.")
    by = Principal(f"node {known.name}", "administrator", address)
    return await _write_node(site, asked, by, address)


async def _admit_node(site: Site, asked: EnrolRequest, address: str) -> EnrolAnswer:
    checked = await check_password(site, asked.user, asked.password, address)
    by = checked.by
    if checked.is_password_given:
        raise Forbidden(f"Somebody else gave {by.name} this password. Sign in at the master, set your own first.")
    if checked.is_factor_missing:
        raise Forbidden(
            f"The role {by.role} asks for a second factor and {by.name} has none. Set it up first: sign in at the "
            "master, Users and Sessions, Second Factor"
        )
    proof = await check_code(site, checked, asked.code, address)
    site.door.guard.forget(by.name)
    if not may(by, "nodes.manage"):
        raise Forbidden(f"{by.name} has the role {by.role}; a node is added by an administrator of the host.")
    assert site.identity is not None
    if asked.id == site.identity.id:
        raise Conflict("That is this node's own id: the data directory is a copy of this node's. Use an empty one.")
    if asked.check:
        return EnrolAnswer(site.identity.cluster, copy_bytes=await asyncio.to_thread(data_bytes, site.config.data))
    return await _write_node(site, asked, by, address, proof)


async def _write_node(
    site: Site, asked: EnrolRequest, by: Principal, address: str, proof: Proof | None = None
) -> EnrolAnswer:
    """`proof` is used up in the change that adds the node: who enrols twice needs two codes."""
    authority = await load_authority(site)
    row = NodeRow(
        id=asked.id,
        name=asked.name,
        address=asked.address or address,
        web_port=asked.web_port,
        cluster_port=asked.cluster_port,
        enrolled_at_us=site.clock.utc_us(),
    )
    now_us = site.clock.utc_us()
    put = nodes.put(row, by, now_us)
    await site.store().write(put if proof is None else both(second_factor.spending(proof, by, now_us), put))
    return await _answer(site, asked, authority, row.name, (row.address,))


async def _answer(
    site: Site, asked: EnrolRequest, authority: Authority, name: str, addresses: tuple[str, ...]
) -> EnrolAnswer:
    peer = Peer("node" if asked.kind == "node" else "agent", asked.id)
    moment = datetime.fromtimestamp(site.clock.utc_us() / 1e6, UTC)
    certificate = authority.issue(asked.request.encode(), peer, addresses, moment)
    roster = await site.refresh_roster()
    assert site.identity is not None
    seal_key = site.seal_key.hex() if asked.kind == "node" else ""
    return EnrolAnswer(
        cluster=site.identity.cluster,
        name=name,
        certificate=certificate.decode(),
        authority=site.authority_pem.decode(),
        seal_key=seal_key,
        roster=[place(row) for row in roster.values()],
    )


async def load_authority(site: Site) -> Authority:
    """The authority that signs, its key unsealed from the replicated row: either node can sign after a swap."""
    certificate, name, (nonce, ciphertext) = await site.read_now(lambda rows: _signing(rows, site.authority_pem))
    return Authority.load(certificate, unseal(site.seal_key, name, nonce, ciphertext))


def _signing(connection: sqlite3.Connection, known_pem: bytes) -> tuple[bytes, str, tuple[bytes, bytes]]:
    current = authorities.current(connection)
    name = sealed_name(connection, current.fingerprint) if current is not None else SEALED_AUTHORITY_KEY
    found = sealed.get(connection, name)
    if found is None:
        raise Conflict("The authority's key is not in the database. Restore this node from its peer.")
    return current.certificate.encode() if current is not None else known_pem, name, found


def place(row: NodeRow) -> Place:
    """A node of the roster as joiners get it."""
    return Place(row.id, row.name, row.address, row.web_port, row.cluster_port)


def data_bytes(data: Path) -> int:
    """What a first copy has to carry: the database and the objects."""
    paths = [data / "scheduler.db", *(data / "objects").rglob("*")]
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size
        except FileNotFoundError:
            continue
    return total
