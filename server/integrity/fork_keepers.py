"""The nodes that keep forks, asked by the master: this one in its directory, the other one on its cluster port.

In office the lists and outputs of every fork of the pair are collected into rows and objects, again until they are all
here, so that either node shows them after a swap; and what an operator had deleted is deleted where it lies.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from replication.errors import ReplicationError
from server.actions import forks as actions
from server.core.forks import Contents, ForkRow
from server.errors import NotFound, Unavailable, UnderstudyError
from server.integrity import forks
from server.integrity.forks import Folder
from server.ports.dialling import why_no_link
from server.ports.fork_port import PATH, Kept, local_archive
from server.site import Site
from server.storage import forks as rows
from server.trust.certificates import Certificates

COLLECT_S = 5.0
DESCRIBED_US = 180_000_000
"""A fork that has no list after so long will get none: it is recorded as one whose contents are unknown."""
BATCH = 500
TIMEOUT = aiohttp.ClientTimeout(total=30.0, sock_connect=5.0)
EXPORT_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=5.0, sock_read=30.0)
TRYING = (UnderstudyError, ReplicationError, OSError, TimeoutError, aiohttp.ClientError, msgspec.MsgspecError)
log = structlog.get_logger()


class Keepers:
    """One per node. `certificates` carries this node's own, renewed while it serves."""

    def __init__(self, site: Site, certificates: Certificates) -> None:
        self._site = site
        self._certificates = certificates
        self._told: str = ""

    @property
    def _own(self) -> str:
        assert self._site.identity is not None
        return self._site.identity.id

    def reachable(self) -> list[str]:
        """The ids of the nodes that can be asked now: this one, and those that are connected."""
        status = self._site.status()
        peers = [peer.node for peer in status.peers if peer.connected] if status is not None else []
        return [self._own, *(node for node in peers if node in self._site.roster)]

    def name(self, node: str) -> str:
        """The name of a node for people."""
        row = self._site.roster.get(node)
        return row.name if row is not None else node[:8]

    def require(self, node: str) -> None:
        """Raise Unavailable, with what to do, when the node that keeps a fork cannot be asked now."""
        if node not in self.reachable():
            raise Unavailable(
                f"The node {self.name(node)} keeps this fork and is not connected now; nothing was changed. "
                "Start it, then try again.",
                retry_after_s=10,
            )

    # asking one node

    async def listed(self, node: str) -> list[Folder]:
        """The folders that a node keeps. Raises Unavailable."""
        if node == self._own:
            return await asyncio.to_thread(forks.listed, self._site.config.data)
        async with self._get(node, "") as response:
            kept = msgspec.json.decode(await response.read(), type=Kept)
        if kept.node != node:
            raise Unavailable(
                f"At the address of node {self.name(node)} another one answers. Compare the "
                "addresses in Server Properties, and restart that node on its own."
            )
        return kept.forks

    async def contents(self, node: str, name: str) -> Contents:
        """What a fork holds. Raises Unavailable, NotFound."""
        if node == self._own:
            return await asyncio.to_thread(forks.contents, self._site.config.data, name)
        async with self._get(node, f"/{quote(name)}/contents") as response:
            return msgspec.json.decode(await response.read(), type=Contents)

    async def output(self, node: str, name: str, number: int) -> bytes:
        """The beginning of one run's output. Raises Unavailable, NotFound."""
        if node == self._own:
            return await asyncio.to_thread(forks.output, self._site.config.data, name, number)
        async with self._get(node, f"/{quote(name)}/outputs/{number}") as response:
            return await response.read()

    async def archive(self, node: str, name: str) -> AsyncIterator[bytes]:
        """A fork as a tar file, in pieces. Raises Unavailable, NotFound before the first."""
        if node == self._own:
            async for piece in local_archive(self._site, name):
                yield piece
            return
        async with self._get(node, f"/{quote(name)}/export", EXPORT_TIMEOUT) as response:
            async for piece in response.content.iter_chunked(forks.CHUNK_BYTES):
                yield piece

    async def remove(self, node: str, name: str) -> None:
        """Have a node delete a fork; returns when it is gone there. Raises Unavailable."""
        if node == self._own:
            await asyncio.to_thread(forks.remove, self._site.config.data, name)
            return
        async with self._request("DELETE", node, f"/{quote(name)}?node={node}", TIMEOUT):
            return

    def _get(
        self, node: str, path: str, timeout: aiohttp.ClientTimeout = TIMEOUT
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        return self._request("GET", node, path, timeout)

    @contextlib.asynccontextmanager
    async def _request(
        self, method: str, node: str, path: str, timeout: aiohttp.ClientTimeout
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        self.require(node)
        row = self._site.roster[node]
        host = f"[{row.address}]" if ":" in row.address else row.address
        url = f"https://{host}:{row.cluster_port}{PATH}{path}"
        context = self._certificates.for_dialling()
        async with aiohttp.ClientSession(timeout=timeout) as session:
            try:
                response = await session.request(method, url, ssl=context)
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                why = why_no_link(error)
                raise Unavailable(
                    f"The node {self.name(node)} does not answer ({why}); nothing was changed."
                ) from error
            async with response:
                if response.status == 404:
                    raise NotFound(f"The node {self.name(node)} keeps no such fork any more.")
                if response.status != 200:
                    raise Unavailable(
                        f"The node {self.name(node)} refused ({response.status}); nothing was "
                        "changed. The log of its machine says why."
                    )
                yield response

    # in office

    async def collect(self) -> None:
        """Keep the rows at what the nodes keep, while this node is in office; for ever."""
        while True:
            if self._site.in_office:
                for node in self.reachable():
                    try:
                        await self._collect_from(node)
                        self._told = ""
                    except TRYING as error:
                        if str(error) != self._told:
                            log.warning("the forks of a node are asked for again", node=self.name(node), why=str(error))
                        self._told = str(error)
            await asyncio.sleep(COLLECT_S)

    async def _collect_from(self, node: str) -> None:
        store = self._site.store()
        found = await self.listed(node)
        known = {fork.name: fork for fork in (await store.read(lambda c: rows.page(c, True, 10_000)))[0]}
        for line in found:
            fork = known.get(line.name)
            arrived = fork is not None and fork.state != actions.ARRIVING
            if line.requests is not None and not arrived and self._is_described(line):
                await self._take(node, line)
        for fork in known.values():
            if fork.node == node and fork.state == actions.DELETING:
                await self.finish_deletion(node, fork.name)

    def _is_described(self, line: Folder) -> bool:
        """Its list is made while the node returns; a fork without one after minutes was kept by an older release."""
        return line.described or self._site.clock.utc_us() - line.kept_at_us > DESCRIBED_US

    async def _take(self, node: str, line: Folder) -> None:
        store, name = self._site.store(), line.name
        held = await self.contents(node, name)
        await store.write(actions.begin(_row(node, line, held, self._site.clock.utc_us())))
        for at in range(0, max(len(held.run_list), len(held.edit_list)), BATCH):
            part = slice(at, at + BATCH)
            await store.write(actions.add(name, held.run_list[part], held.edit_list[part]))
        for run in held.run_list:
            if run.output_kept:
                output = await self.output(node, name, run.number)
                await store.write(actions.add_output(name, run.number, output))
        await store.write(actions.complete(name, self.name(node), self._site.clock.utc_us()))
        log.info("a fork is listed", fork=name, node=self.name(node), runs=held.runs, edits=held.edits)

    async def finish_deletion(self, node: str, name: str) -> None:
        """The committed decision is carried out: the node deletes it, then the row says so. Raises Unavailable."""
        await self.remove(node, name)
        await self._site.store().write(actions.deleted(name, self._site.clock.utc_us()))
        log.info("a fork is deleted", fork=name, node=self.name(node))


def _row(node: str, line: Folder, held: Contents, now_us: int) -> ForkRow:
    return ForkRow(
        name=line.name,
        node=node,
        epoch=line.epoch or 0,
        first=line.first or 0,
        last=line.last or 0,
        requests=line.requests or 0,
        bytes=line.bytes,
        kept_at_us=line.kept_at_us,
        why=line.why,
        contents=held.contents,
        problem=held.problem,
        runs=held.runs,
        edits=held.edits,
        recorded_at_us=now_us,
    )
