"""Sends what rows say is to be told to whom, while in office. Committed before it is sent; sent at least once.

What was sent when this node died and not yet written down is sent again by the next office, under the same id. At most
`AT_ONCE` go out side by side; one that fails waits longer each time, and keeps no other waiting.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from functools import partial
from typing import Protocol, TypeVar

import structlog

from replication.errors import Closed, DiskFull, OutcomeUnknown, ReadTimeout, Unavailable
from server.actions import messages
from server.actions.change import Change
from server.actions.notifications import Result, settle
from server.core.egress import AllowedHosts
from server.core.notifications import DEFAULT_COMMUNITIES, MAIL, SMTP_PLACE, TRAP, WEBHOOK, Delivery, Smtp, place_of
from server.errors import UnderstudyError
from server.office import couriers
from server.storage import allowed_hosts, notifications, sealed

log = structlog.get_logger(__name__)

AT_ONCE = 20
SLEEP_S_MAX = 60.0
RETRY_S = 1.0
PACE_S = 0.05
TOLD_MAX = 10
TELL_DEFAULTS = (
    "Traps go out with the community that devices are delivered with, to {}. Anybody can send such traps. Give them"
    " one of their own: understudy notification set LIST --trap HOST:PORT --community-file FILE"
)
T = TypeVar("T")
Open = Callable[[str, bytes, bytes], str]
"""(name of the row, nonce, ciphertext) to the secret."""


class Rows(Protocol):
    """The part of replication's Store that the notifier uses."""

    async def write(self, change: Change[T]) -> tuple[T, int]:
        """Run a change; returns when committed."""

    async def read(self, query: Callable[[sqlite3.Connection], T]) -> tuple[T, int]:
        """Run a query on committed rows; returns the sequence it saw."""

    async def wait_past(self, sequence: int) -> int:
        """Return when the commit sequence is above `sequence`."""


class Notifier:
    """Of one office. `cluster` is its id; `utc_us` the node's clock."""

    def __init__(self, store: Rows, unseal: Open, cluster: Callable[[], str], utc_us: Callable[[], int]) -> None:
        self._store = store
        self._unseal = unseal
        self._cluster = cluster
        self._utc_us = utc_us

    async def run(self) -> None:
        """Until office ends. What cannot be written now is tried again; it may be sent twice by that."""
        has_told = False
        while True:
            try:
                if not has_told:
                    await self._tell_of_defaults()
                    has_told = True
                (due, allowed, next_us), sequence = await self._store.read(partial(self._look, now_us=self._utc_us()))
                if due:
                    results = await asyncio.gather(*(self._send(*one, allowed) for one in due))
                    await self._write(results)
                else:
                    await self._sleep(sequence, next_us)
                    await asyncio.sleep(PACE_S)
            except Closed:
                return
            except (Unavailable, ReadTimeout, DiskFull) as error:
                log.warning("notifications wait", why=str(error))
                await asyncio.sleep(RETRY_S)

    async def _tell_of_defaults(self) -> None:
        """Say which traps bear a community that devices are delivered with: of lists made when it was the default."""
        found, _ = await self._store.read(self._defaults)
        if found:
            await self._store.write(messages.add("warning", TELL_DEFAULTS.format(", ".join(found)), self._utc_us()))

    def _defaults(self, connection: sqlite3.Connection) -> list[str]:
        found = []
        for one in notifications.page(connection):
            for address in one.traps:
                place = place_of(one.name, TRAP, address)
                hidden = sealed.get(connection, place)
                try:
                    is_default = hidden is not None and self._unseal(place, *hidden).lower() in DEFAULT_COMMUNITIES
                except UnderstudyError:
                    continue  # the delivery says so
                if is_default:
                    found.append(f"{address} of the list {one.name}")
        return found[:TOLD_MAX] + ([f"and {len(found) - TOLD_MAX} more"] if len(found) > TOLD_MAX else [])

    def _look(
        self, connection: sqlite3.Connection, now_us: int
    ) -> tuple[list[tuple[Delivery, Smtp | None, tuple[bytes, bytes] | None]], AllowedHosts, int | None]:
        """What is due, each with what it takes to send it, where it may go, and when the next one is."""
        found: list[tuple[Delivery, Smtp | None, tuple[bytes, bytes] | None]] = []
        for delivery in notifications.due(connection, now_us, AT_ONCE):
            smtp = notifications.smtp(connection) if delivery.kind == MAIL else None
            found.append((delivery, smtp, sealed.get(connection, _place(delivery))))
        return found, allowed_hosts.get(connection), notifications.next_us(connection)

    async def _send(
        self, delivery: Delivery, smtp: Smtp | None, hidden: tuple[bytes, bytes] | None, allowed: AllowedHosts
    ) -> Result:
        try:
            secret = self._unseal(_place(delivery), *hidden) if hidden is not None else ""
        except UnderstudyError as error:
            return Result(delivery.id, str(error))
        cluster = self._cluster()
        if delivery.kind == MAIL:
            why = await couriers.attempt(partial(couriers.send_mail, delivery, cluster, smtp, secret, allowed))
        elif delivery.kind == WEBHOOK:
            why = await couriers.attempt(partial(couriers.send_webhook, delivery, cluster, secret, allowed))
        else:
            why = await couriers.attempt(partial(couriers.send_trap, delivery, cluster, secret, allowed))
        log.info("notification", id=delivery.id, kind=delivery.kind, list=delivery.list, why=why or "sent")
        return Result(delivery.id, why)

    async def _write(self, results: list[Result]) -> None:
        """Until it is written: what was sent is not to be sent again for a slow standby."""
        while True:
            try:
                await self._store.write(settle(results, self._utc_us()))
                return
            except (Unavailable, OutcomeUnknown, DiskFull) as error:
                log.warning("what became of notifications waits to be written", why=str(error))
                await asyncio.sleep(RETRY_S)

    async def _sleep(self, sequence: int, next_us: int | None) -> None:
        """Until rows change or the next one is due."""
        delay_s = SLEEP_S_MAX if next_us is None else (next_us - self._utc_us()) / 1e6
        try:
            async with asyncio.timeout(min(max(delay_s, 0.0), SLEEP_S_MAX)):
                await self._store.wait_past(sequence)
        except TimeoutError:
            return


def _place(delivery: Delivery) -> str:
    return SMTP_PLACE if delivery.kind == MAIL else place_of(delivery.list, delivery.kind, delivery.address)
