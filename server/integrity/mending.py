"""A journal that is damaged at start is mended from the other node's before this node opens (invariant 17).

Where it opens, nothing was cut: the damaged segment is kept, the range fetched, and the node starts as if nothing was.
"""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import aiohttp
import structlog

from replication.errors import ReplicationError
from replication.files import Disk
from replication.mend import Gap, Unmendable, find_gap, keep_name, mend
from server.ports.dialling import why_no_link
from server.ports.journal_port import COMMIT_HEADER, PATH
from server.trust.identity import Identity

GAPS_MAX = 16
TIMEOUT = aiohttp.ClientTimeout(total=120.0, sock_connect=5.0)
log = structlog.get_logger()


async def mend_journal(data: Path, identity: Identity, context: ssl.SSLContext, now_us: int) -> str:
    """Mend what can be mended; returns "" when the journal is whole now, else why not. Nothing is lost either way."""
    for number in range(GAPS_MAX):
        gap = await asyncio.to_thread(_find, data)
        if gap is None:
            return "" if number else "the damage is not in a part of the journal that could be fetched"
        problem = await _mend_one(data, identity, context, gap, now_us + number)
        if problem:
            return problem
        log.warning("mended the journal from the other node", segment=gap.segment, first=gap.first, last=gap.last)
    return f"there are more than {GAPS_MAX} damaged places"


def _find(data: Path) -> Gap | None:
    disk = Disk(data)
    try:
        return find_gap(disk)
    finally:
        disk.close()


async def _mend_one(data: Path, identity: Identity, context: ssl.SSLContext, gap: Gap, now_us: int) -> str:
    problem = "no other node is known"
    for node, address in identity.peers.items():
        try:
            requests, commit = await _fetch(address, gap, context)
            await asyncio.to_thread(_write, data, gap, requests, commit, now_us)
        except (Unmendable, ReplicationError) as error:
            problem = str(error)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            problem = f"node {node[:8]} at {address} does not answer: {why_no_link(error)}"
        else:
            return ""
    return problem


def _write(data: Path, gap: Gap, requests: list[bytes], commit: int, now_us: int) -> None:
    disk = Disk(data)
    try:
        mend(disk, gap, requests, commit, keep_name(disk, gap.segment, now_us))
    finally:
        disk.close()


async def _fetch(address: str, gap: Gap, context: ssl.SSLContext) -> tuple[list[bytes], int]:
    url = f"https://{address}{PATH}/{gap.first}?last={gap.last}"
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session, session.get(url, ssl=context) as response:
        body = await response.read()
        if response.status != 200:
            raise Unmendable(f"the other node does not have requests {gap.first} to {gap.last} ({response.status})")
        commit = int(response.headers.get(COMMIT_HEADER, 0))
    requests, at = [], 0
    while at < len(body):
        length = int.from_bytes(body[at : at + 4], "big")
        requests.append(body[at + 4 : at + 4 + length])
        at += 4 + length
    return requests, commit
