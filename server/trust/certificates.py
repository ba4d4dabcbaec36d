"""This node's certificate and the authorities that it trusts: the contexts of its ports, and both kept as the rows say.

The rows are replicated, the files are this node's: each node, of either role, takes them from its own copy.
"""

from __future__ import annotations

import asyncio
import sqlite3
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog
from cryptography import x509

from replication.errors import ReplicationError
from server.core.authorities import AuthorityRow, crosses, trusted
from server.errors import UnderstudyError
from server.site import Site
from server.storage import authorities
from server.trust import identity as files
from server.trust import tls
from server.trust.admission import load_authority

LOOK_S = 2.0
RETRY_S = 5.0
log = structlog.get_logger()


class Certificates:
    """Gives the contexts of this node. Connections stay as they were made; new ones show and trust what is new."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._leaf: x509.Certificate | None = None
        self._shown_along = self._crosses = ""
        self._cluster: ssl.SSLContext | None = None
        self._client: ssl.SSLContext | None = None
        self.web: ssl.SSLContext | None = None

    def load_waiting(self) -> None:
        """For the web port of a directory without identity:

        a certificate of its own, that nobody trusts or keeps.
        """
        now = datetime.now(UTC)
        authority = tls.Authority.create("none yet", now)
        key = tls.new_key()
        peer = tls.Peer("node", files.new_id())
        with tempfile.TemporaryDirectory() as folder:
            certificate_path, key_path = Path(folder, "certificate"), Path(folder, "key")
            certificate_path.write_bytes(authority.issue(tls.certificate_request(key), peer, (), now))
            files.write_private(key_path, tls.private_pem(key))
            self.web = tls.web_context(certificate_path, key_path)

    def load(self, site: Site) -> None:
        """Take the files of the directory into use. An authority that is trusted no more needs new contexts; the web
        port's verifies nobody, and stays the one that the port was opened with.
        """
        certificate, key = self._data / files.CERTIFICATE_FILE, self._data / files.KEY_FILE
        authority = self._data / files.AUTHORITY_FILE
        site.authority_pem = files.read_private(authority)
        self._leaf, *along = x509.load_pem_x509_certificates(files.read_private(certificate))
        site.leaf = tls.read_leaf(self._leaf)
        self._shown_along = "".join(tls.certificate_pem(one) for one in along)
        self._cluster = tls.cluster_context(certificate, key, authority)
        self._client = tls.client_context(authority, certificate, key)
        if self.web is None:
            self.web = tls.web_context(certificate, key)
        self.web.load_cert_chain(certificate, key)

    def for_web(self) -> ssl.SSLContext:
        """For accepting on the web port now."""
        assert self.web is not None, "a certificate is loaded before the port opens"
        return self.web

    def for_cluster(self) -> ssl.SSLContext:
        """For accepting on the cluster port now."""
        assert self._cluster is not None, "a node of a cluster has its certificate"
        return self._cluster

    def for_dialling(self) -> ssl.SSLContext:
        """For dialling another node now."""
        assert self._client is not None, "a node of a cluster has its certificate"
        return self._client

    def _write_leaf(self, leaf: x509.Certificate) -> None:
        """node.crt: the leaf, and behind it what is shown along."""
        files.write_private(self._data / files.CERTIFICATE_FILE, (tls.certificate_pem(leaf) + self._crosses).encode())

    async def keep_fresh(self, site: Site) -> None:
        """Follow the rows, and renew in time, for ever."""
        while True:
            try:
                await self.follow(site)
                await self.renew_when_due(site)
            except Exception as error:
                log.warning("the certificate was not renewed; it is tried again", why=str(error))
                await asyncio.sleep(RETRY_S)
            await asyncio.sleep(LOOK_S)

    async def follow(self, site: Site) -> bool:
        """Trust what this node's copy says; True when that is new here. ca.crt is replaced durably."""
        try:
            rows = await site.read_now(authorities.every)
        except (UnderstudyError, ReplicationError, sqlite3.Error, OSError):
            return False  # no copy yet, or one of before there were such rows
        wanted, self._crosses = "".join(row.certificate for row in trusted(rows)).encode(), crosses(rows)
        if not rows or (wanted == site.authority_pem and self._crosses == self._shown_along):
            return False
        assert self._leaf is not None
        files.write_private(self._data / files.AUTHORITY_FILE, wanted)
        self._write_leaf(self._leaf)
        self.load(site)
        log.info("this node trusts these authorities now", authorities=tls.trust_in(wanted))
        return True

    async def renew_when_due(self, site: Site) -> bool:
        """Sign a new certificate with the authority's key from the replicated database, which both nodes can open.

        At two thirds of its life, when it does not name this node's address, or when another authority signs now.
        """
        assert self._leaf is not None
        now = datetime.fromtimestamp(site.clock.utc_us() / 1e6, UTC)
        current = tls.authorities_in(site.authority_pem)[0]
        is_fresh = now < self._leaf.not_valid_after_utc - timedelta(days=tls.LEAF_DAYS / 3)
        is_at_home = site.config.address in tls.addresses_of(self._leaf)
        if is_fresh and is_at_home and site.leaf.issuer == tls.key_id(current):
            return False
        assert site.identity is not None
        authority = await load_authority(site)
        key = tls.load_key((self._data / files.KEY_FILE).read_bytes())
        peer = tls.Peer("node", site.identity.id)
        fresh = authority.issue(tls.certificate_request(key), peer, (site.config.address,), now)
        self._write_leaf(x509.load_pem_x509_certificate(fresh))
        self.load(site)
        log.info("renewed this node's certificate", address=site.config.address)
        return True


def authority_row(authority: x509.Certificate, state: str, by: str, now_us: int, cross: str = "") -> AuthorityRow:
    """An authority as a row."""
    return AuthorityRow(
        fingerprint=tls.fingerprint_of(authority),
        certificate=tls.certificate_pem(authority),
        key_id=tls.key_id(authority),
        state=state,
        created_at_us=now_us,
        created_by=by,
        state_since_us=now_us,
        cross_certificate=cross,
    )
