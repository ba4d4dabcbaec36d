"""This node's certificate in use: the contexts of its ports, and its renewal while they serve."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from server import identity as files
from server import tls
from server.admission import load_authority
from server.site import Site

RENEW_CHECK_S = 3600.0
RETRY_S = 5.0
log = structlog.get_logger()


class Certificates:
    """Loads a renewed certificate into the live contexts:

    connections stay, new ones show the new certificate.
    """

    def __init__(self, data: Path) -> None:
        self._data = data
        self.web: ssl.SSLContext | None = None
        self.cluster: ssl.SSLContext | None = None
        self.client: ssl.SSLContext | None = None

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

    def load(self) -> None:
        """Make the contexts from the directory's files, or put its certificate into those that exist."""
        certificate, key = self._data / files.CERTIFICATE_FILE, self._data / files.KEY_FILE
        authority = self._data / files.AUTHORITY_FILE
        if self.web is None:
            self.web = tls.web_context(certificate, key)
        if self.cluster is None or self.client is None:
            self.cluster = tls.cluster_context(certificate, key, authority)
            self.client = tls.client_context(authority, certificate, key)
        for context in (self.web, self.cluster, self.client):
            context.load_cert_chain(certificate, key)

    async def keep_fresh(self, site: Site) -> None:
        """Renew at two thirds of the certificate's life, or when it does not name this node's address; for
        ever.
        """
        while True:
            try:
                await self.renew_when_due(site)
            except Exception as error:
                log.warning("the certificate was not renewed; it is tried again", why=str(error))
                await asyncio.sleep(RETRY_S)
                continue
            await asyncio.sleep(RENEW_CHECK_S)

    async def renew_when_due(self, site: Site) -> bool:
        """Sign a new certificate with the authority's key from the replicated database, which both nodes can
        open.
        """
        current = (self._data / files.CERTIFICATE_FILE).read_bytes()
        now = datetime.fromtimestamp(site.clock.utc_us() / 1e6, UTC)
        due = tls.valid_until(current) - timedelta(days=tls.LEAF_DAYS / 3)
        if now < due and site.config.address in tls.addresses_of(current):
            return False
        assert site.identity is not None
        authority = await load_authority(site)
        key = tls.load_key((self._data / files.KEY_FILE).read_bytes())
        peer = tls.Peer("node", site.identity.id)
        fresh = authority.issue(tls.certificate_request(key), peer, (site.config.address,), now)
        files.write_private(self._data / files.CERTIFICATE_FILE, fresh)
        self.load()
        log.info("renewed this node's certificate", address=site.config.address)
        return True
