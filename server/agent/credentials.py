"""The agent's certificate and the authorities that it trusts: files that are renewed while it runs."""

from __future__ import annotations

import asyncio
import contextlib
import random
import ssl
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import structlog

from server.errors import Invalid
from server.trust.enrolment import EnrolmentError
from server.trust.identity import AUTHORITY_FILE, CERTIFICATE_FILE, KEY_FILE
from server.trust.renewal import renew_agent
from server.trust.tls import client_context, trust_in

CHECK_S = 3600.0
RETRY_S = 30.0
REFUSED = "refused"
REFUSALS_MAX = 6
REFUSED_SPREAD_S = 10.0
log = structlog.get_logger(__name__)


class Credentials:
    """Of one agent's data directory. A new connection reads the files anew; `keep` renews them."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._told = ""
        self._refusals = 0
        self._wait_s = 0.0
        self._wake = asyncio.Event()

    def context(self) -> ssl.SSLContext:
        """For dialling a node now."""
        certificate, key = self._data / CERTIFICATE_FILE, self._data / KEY_FILE
        return client_context(self._data / AUTHORITY_FILE, certificate, key)

    def trusts(self) -> str:
        """The authorities of the file (`core.authorities.trust_of`); "" while it cannot be read."""
        try:
            return trust_in((self._data / AUTHORITY_FILE).read_bytes())
        except (OSError, Invalid):
            return ""

    def told(self, trust: str, beat_s: float) -> None:
        """A master says what is to be trusted. Of many agents, which beat more slowly, each takes its time."""
        self._refusals = 0
        if trust and trust != self._told:
            self._told, self._wait_s = trust, random.uniform(0.0, 4 * (beat_s - 1.0))
            self._wake.set()

    def refused(self) -> None:
        """A dial ended as if one side did not trust the other: maybe the authority was exchanged meanwhile.

        A node that is ended does the same to all its agents, so it has to happen again and again, with no link between.
        """
        self._refusals += 1
        if self._refusals >= REFUSALS_MAX and self._told != REFUSED:
            self._told, self._wait_s = REFUSED, random.uniform(0.0, REFUSED_SPREAD_S)
            self._wake.set()

    async def keep(self, changed: Callable[[], None]) -> None:
        """Renew when it is due or when a master said so; then `changed`. For ever; never ends the agent."""
        while True:
            delay_s, wanted = CHECK_S, self._told
            try:
                if await asyncio.to_thread(renew_agent, self._data, datetime.now(UTC), wanted):
                    log.info("renewed this agent's certificate", trusts=self.trusts())
                    changed()
                if self._told == wanted:
                    self._told = ""
            except (EnrolmentError, Invalid, OSError) as error:
                log.warning("the certificate was not renewed; it is tried again", why=str(error))
                delay_s = RETRY_S
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay_s):
                    await self._wake.wait()
                    self._wake.clear()
                    await asyncio.sleep(self._wait_s)
