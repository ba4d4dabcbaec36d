"""The only file that wires.

`serve` opens the parts in order and closes them in reverse; `initialise` founds a cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
from collections.abc import Coroutine, Sequence
from dataclasses import replace
from typing import Any

import structlog
from aiohttp import web

from replication.core.schema import SchemaRange
from replication.core.types import Mode, NodeId, Retention, State
from replication.core.witness import Seats
from replication.errors import ReplicationError
from replication.node import Node, NodeSettings
from replication.ports import Connection
from server import __version__
from server.actions.change import Change
from server.allocator import bound_memory
from server.clock import SystemClock
from server.config import Config, ConfigError
from server.core import witness_seats
from server.core.model import NodeRow
from server.errors import UnderstudyError
from server.fence import fence_of
from server.garbage import Collector
from server.integrity.fork_keepers import Keepers
from server.integrity.fork_reader import ForkReader
from server.integrity.mending import mend_journal
from server.integrity.proofs import Proofs
from server.integrity.repair import may_copy_again, set_aside
from server.log_lines import http_logger
from server.office.office import Office
from server.people.passwords import Passwords, hash_password
from server.ports.acceptor import Acceptor, allow_descriptors
from server.ports.agent_links import Links
from server.ports.cluster_port import ACCEPTED, dialler
from server.ports.cluster_port import make_app as make_cluster_app
from server.ports.listeners import bind_local, bind_port, own_address, port_of
from server.ports.turnstile import IDLE_BEHIND_PROXY_S, IDLE_S, cluster_turnstile, web_turnstile
from server.ports.witness_links import WitnessLinks
from server.roles import Roles
from server.site import Site
from server.storage import migrate, witnesses
from server.trust import identity as files
from server.trust.admission import place
from server.trust.certificates import Certificates
from server.trust.enrolment import EnrolmentError, Joiner
from server.trust.founding import check_empty, found_cluster
from server.trust.identity import directory_lock, load_identity, load_wish, save_identity, save_peers
from server.trust.key_proofs import Keys
from server.trust.membership import Accepted
from server.trust.renewal import announce_node
from server.trust.rotation import Rotation
from server.trust.tls import trust_in
from server.web.live import LIVE
from server.web.routes import make_app

ROSTER_S = 2.0
SHUTDOWN_S = 1.0
FOUNDING_S = 30.0
log = structlog.get_logger()


class Server:
    """One node's process.

    Open with `start`, end with `stop`; between them it may become a member of a cluster.
    """

    def __init__(self, config: Config) -> None:
        self._web_socket = bind_port(config.web_host, config.port, "--port")
        self._cluster_socket = bind_port(config.host, config.cluster_port, "--cluster-port")
        self._local_socket = bind_local(config.data / files.SOCKET_FILE)
        config = replace(
            config,
            port=port_of(self._web_socket),
            cluster_port=port_of(self._cluster_socket),
            address=config.address or own_address(config.host),
        )
        self.site = Site(config, SystemClock(), Passwords())
        self._certificates = Certificates(config.data)
        self._descriptors = allow_descriptors()
        self._stack = contextlib.AsyncExitStack()
        self._roles = Roles(self.site, self.open_member)
        self.site.become_standby = self._roles.become_standby
        self.site.become_master = self._roles.become_master

    async def start(self) -> None:
        """Serve. A directory without identity gets its web port and local socket only, and waits."""
        config = self.site.config
        self._run(self._turn())
        if load_identity(config.data) is None:
            self._certificates.load_waiting()
            log.warning("this node has no role yet", then=f"master-to-standby --data {config.data} --master HOST")
        else:
            await self.open_member()
        app = make_app(self.site)
        runner = await self._runner(app)
        await web.SockSite(runner, self._local_socket).start()
        gates = web_turnstile(config.behind_proxy, self._descriptors)
        context = None if config.behind_proxy else self._certificates.for_web
        assert runner.server is not None
        self._run(Acceptor(gates.gate(runner.server), self._web_socket, context, "web").run())
        app[LIVE].start()
        self._stack.push_async_callback(app[LIVE].stop)
        self._run(self._roles.fulfil_wish())
        scheme = "http" if config.behind_proxy else "https"
        log.info("serving", web=f"{scheme}://{config.address}:{config.port}", cluster_port=config.cluster_port)

    async def open_member(self) -> None:
        """Open the node of this directory's identity, and its cluster port."""
        site = self.site
        identity = load_identity(site.config.data)
        assert identity is not None
        site.identity = identity
        site.seal_key = files.read_private(site.config.data / files.SEAL_FILE)
        self._certificates.load(site)
        links, asked = agent_links(site)
        site.witnesses = asked
        site.office = office = _office(site, links, asked)
        app = make_cluster_app(site, links.serve)
        runner = await self._runner(app)
        site.node = await self._open_node(office, asked)
        self._stack.push_async_callback(site.node.close)
        assert runner.server is not None
        gates = cluster_turnstile()
        self._run(
            Acceptor(gates.gate(runner.server), self._cluster_socket, self._certificates.for_cluster, "cluster").run()
        )
        if site.node.status().state is State.INIT:
            await site.node.join(identity.peers)
        else:
            site.node.set_peers(site.node.control.value.peers or identity.peers)
        self._run(self._follow_roster(links, app[ACCEPTED]))
        self._run(self._certificates.keep_fresh(site))
        self._run(Rotation(site, self._certificates, links.shown).run())
        site.forks = Keepers(site, self._certificates)
        site.proofs = Proofs(site, self._certificates)
        self._run(site.forks.collect())
        self._run(Collector(lambda: len(links.connected())).look_forever())
        site.ready = True

    async def _open_node(self, office: Office, asked: WitnessLinks) -> Node:
        """Open the node. A damaged journal is mended from the other node; a standby for which that cannot be done is
        set aside whole, and copies from its master again.
        """
        site, config = self.site, self.site.config
        assert site.identity is not None
        dial = dialler(self._certificates.for_dialling)
        try:
            return await Node.open(config.data, node_settings(site), office, asked, dial, log_node)
        except ReplicationError as error:
            wish = load_wish(config.data)
            is_wished = wish is not None and wish.standby is not None
            why = "a new copy is wished"
            if not is_wished:
                why = await mend_journal(
                    config.data, site.identity, self._certificates.for_dialling(), site.clock.utc_us()
                )
                if not why:
                    return await Node.open(config.data, node_settings(site), office, asked, dial, log_node)
            if not is_wished and not await asyncio.to_thread(may_copy_again, config.data, site.identity):
                raise ConfigError(
                    f"{error}\nIt could not be mended from the other node: {why}. "
                    "Start that node, then this one again.\n"
                    "If that node is master, copy from it again (what is here is kept in forks/): "
                    f"master-to-standby --data {config.data} --master HOST --port PORT. Else restore a backup"
                ) from error
            kept = await asyncio.to_thread(set_aside, config.data)
            log.error(
                "this node's copy is damaged; it is kept and copied again", why=str(error), mend=why, kept=str(kept)
            )
        return await Node.open(config.data, node_settings(site), office, asked, dial, log_node)

    async def stop(self) -> None:
        """Close everything in reverse; the node says CLOSED while its links still stand."""
        self.site.ready = False
        await self._stack.aclose()
        for listener in (self._web_socket, self._cluster_socket, self._local_socket):
            listener.close()

    async def _runner(self, app: web.Application) -> web.AppRunner:
        idle_s = IDLE_BEHIND_PROXY_S if self.site.config.behind_proxy else IDLE_S
        runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=SHUTDOWN_S, keepalive_timeout=idle_s, logger=http_logger()
        )
        await runner.setup()
        self._stack.push_async_callback(runner.cleanup)
        return runner

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        """Run something until `stop`."""
        task = asyncio.create_task(work)
        task.add_done_callback(report_defect)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)

    async def _turn(self) -> None:
        while True:
            self.site.loop_seen_s = self.site.clock.monotonic()
            await asyncio.sleep(1.0)

    async def _follow_roster(self, links: Links, accepted: Accepted) -> None:
        """Keep replication and `identity.json` at the table of nodes, as far as this node can read it."""
        site = self.site
        assert site.node is not None
        assert site.identity is not None
        known: dict[str, str] = dict(site.identity.peers)
        while True:
            roster = await site.refresh_roster()
            peers = {row.id: f"{row.address}:{row.cluster_port}" for row in roster.values()}
            own = {site.identity.id: f"{site.config.address}:{site.config.cluster_port}"}
            links.set_roster(peers | own)  # the table may still have where this node was before
            links.set_trust(trust_in(site.authority_pem))
            links.set_witnesses(await self._seated())
            peers.pop(site.identity.id, None)
            if roster and peers != known:
                known = peers
                site.node.set_peers(peers)
                site.identity = save_peers(site.config.data, site.identity, peers)
            await accepted.close_removed(site)
            await self._announce_move(peers)
            await asyncio.sleep(ROSTER_S if roster else ROSTER_S / 10)

    async def _seated(self) -> list[str]:
        """Ids of the agents that have a seat, as far as this node can read them; else nobody."""
        try:
            return [agent.id for agent in await self.site.read_now(witnesses.seated)]
        except (UnderstudyError, ReplicationError, sqlite3.Error, OSError):
            return []

    async def _announce_move(self, peers: dict[str, str]) -> None:
        """A standby that listens elsewhere than the roster says tells its master, who writes the row."""
        site, status = self.site, self.site.status()
        assert site.identity is not None
        known, now = site.roster.get(site.identity.id), own_row(site)
        if known is None or status is None or status.master not in peers or place(known) == place(now):
            return
        joiner = Joiner(now.name, now.address, now.web_port, now.cluster_port)
        try:
            await asyncio.to_thread(announce_node, site.config.data, site.identity, peers[status.master], joiner)
            self._certificates.load(site)
            log.info("told the master where this node listens now", address=now.address, port=now.web_port)
        except EnrolmentError as error:
            log.warning("the master does not know where this node listens now; it is told again", why=str(error))


def report_defect(task: asyncio.Task[None]) -> None:
    """A loop that ends by an exception is a defect, and says so; the node serves on without it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.error("a loop of this node ended; restart the node", exc_info=error)


def own_row(site: Site) -> NodeRow:
    """This node as the roster has it."""
    assert site.identity is not None
    return NodeRow(
        id=site.identity.id,
        name=site.identity.name,
        address=site.config.address,
        web_port=site.config.port,
        cluster_port=site.config.cluster_port,
        enrolled_at_us=site.clock.utc_us(),
    )


def known_node(site: Site) -> Node:
    """The node, which exists by the time its office opens."""
    assert site.node is not None
    return site.node


def node_settings(site: Site) -> NodeSettings:
    """Who this node is, as replication wants it."""
    assert site.identity is not None
    return NodeSettings(
        cluster=site.identity.cluster,
        node=site.identity.id,
        name=site.identity.name,
        address=f"{site.config.address}:{site.config.cluster_port}",
        version=__version__,
        mode=Mode(site.config.mode),
        steady_s=site.config.standby_steady_s,
        standby_timeout_s=site.config.standby_timeout_s,
        fence=fence_of(site.config),
        copy_bytes_per_s=site.config.copy_rate_mb_s * 1e6,
        retention=Retention(site.config.slot_bytes_max, site.config.slot_age_max_s, site.config.journal_free_bytes_min),
        utc_us=site.clock.utc_us,
        fork_reader=ForkReader(),
        proof_interval_s=site.config.proof_interval_s,
        compression=site.config.compression,
        schema=SchemaRange(migrate.latest(), migrate.highest()),
    )


def agent_links(site: Site) -> tuple[Links, WitnessLinks]:
    """Where agents connect, on a node of either role; the witnesses are asked through it."""
    assert site.identity is not None

    async def sets() -> Sequence[Seats]:
        return witness_seats.sets(await site.read_now(witnesses.seated))

    links = Links(site.identity.id, site.clock.utc_us, site.clock.monotonic)
    return links, WitnessLinks(links, sets, site.clock.utc_us, site.clock.monotonic)


def log_node(text: str, facts: dict[str, Any]) -> None:
    """A sentence of replication, with its facts."""
    log.info(text, **facts)


async def dial_nobody(peer: NodeId, address: str, channel: str) -> Connection:
    """There is no peer while a cluster is founded."""
    raise ConnectionError("there is no peer yet")


async def run(config: Config) -> int:
    """Serve until SIGTERM or SIGINT; the second one ends the process at once."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()

    def stop() -> None:
        if stopping.is_set():
            os._exit(1)
        stopping.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    server = Server(config)
    try:
        await server.start()
        await stopping.wait()
        log.info("stopping")
    finally:
        await server.stop()
    return 0


def serve(config: Config) -> int:
    """`understudy serve`: hold the data directory and serve; the exit code. Raises `ConfigError` (exit 78)."""
    bound_memory()
    with directory_lock(config.data, "understudy serve"):
        return asyncio.run(run(config))


def initialise(config: Config, name: str, password: str) -> None:
    """`understudy init`: a new cluster whose first rows are written by the path of every later start.

    Raises `ConfigError`; then nothing but an unfinished directory is left, which says so.
    """
    check_empty(config.data)
    with directory_lock(config.data, "understudy init"):
        asyncio.run(_found(config, name, hash_password(password)))


def _office(site: Site, links: Links, asked: WitnessLinks, founding: Change[None] | None = None) -> Office:
    own, node = (lambda: own_row(site)), (lambda: known_node(site))
    return Office(site.clock, own, links, asked, node, site.seal, Keys(site), founding)


async def _found(config: Config, name: str, password_phc: str) -> None:
    identity, first_rows = found_cluster(config.data, name, password_phc)
    address = config.address or own_address(config.host)
    site = Site(replace(config, address=address), SystemClock(), Passwords(), identity)
    links, asked = agent_links(site)
    office = _office(site, links, asked, first_rows)
    site.node = node = await Node.open(config.data, node_settings(site), office, asked, dial_nobody, log_node)
    try:
        async with asyncio.timeout(FOUNDING_S):
            await node.found()
    finally:
        await node.close()
    save_identity(config.data, identity)
