"""How often somebody may try to sign in: delays that double, then a lock, by account and by address. Pure.

It lives in the memory of one node and is bounded; the lock of an account is a row besides, so that it survives a
failover. The local socket never asks here.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from dataclasses import dataclass

RECORDS_MAX = 10_000
"""Of accounts, and of addresses; the one that failed longest ago is forgotten first."""
FREE_FAILURES = 3
"""So many failures cost nothing: people mistype."""
DELAY_S_MAX = 60.0
FORGOTTEN_AFTER_S = 3600.0
ADDRESS_FACTOR = 5
"""An address may fail so many times as often as an account: several people may share one."""
UNDER_WAY_MAX = 32
KEPT_FREE = 8
"""So many of them are for addresses that have not failed lately: a storm from others does not keep people out."""
UNDER_WAY_OF_ACCOUNT = 2
UNDER_WAY_OF_ADDRESS = 8


@dataclass(frozen=True, slots=True)
class Limits:
    """After `failures_max` failures in a row an account is locked for `lock_s`."""

    failures_max: int = 10
    lock_s: float = 900.0


@dataclass(slots=True)
class _Record:
    failures: int = 0
    last_s: float = 0.0
    until_s: float = 0.0


class Guard:
    """Times are seconds of one clock that never goes back."""

    def __init__(self) -> None:
        self._records: dict[str, OrderedDict[str, _Record]] = {"account": OrderedDict(), "address": OrderedDict()}
        self._under_way: dict[tuple[str, str], int] = {}
        self._total = 0

    def wait_s(self, account: str, address: str, now_s: float) -> float:
        """How long nobody may try this account, or from this address; 0 when now is right."""
        found = (self._known("account", account, now_s), self._known("address", _net(address), now_s))
        return max((record.until_s - now_s for record in found if record is not None), default=0.0)

    def begin(self, account: str, address: str) -> bool:
        """Count an attempt that is under way; False, and nothing is counted, when there are too many."""
        keys = (("account", account), ("address", _net(address)))
        has_failed = _net(address) in self._records["address"]
        if self._total >= UNDER_WAY_MAX - (KEPT_FREE if has_failed else 0):
            return False
        if any(self._under_way.get(key, 0) >= most for key, most in zip(keys, _MOST, strict=True)):
            return False
        self._total += 1
        for key in keys:
            self._under_way[key] = self._under_way.get(key, 0) + 1
        return True

    def end(self, account: str, address: str) -> None:
        """An attempt that `begin` counted is over."""
        self._total -= 1
        for key in (("account", account), ("address", _net(address))):
            left = self._under_way.pop(key) - 1
            if left:
                self._under_way[key] = left

    def failed(self, account: str, address: str, now_s: float, limits: Limits) -> bool:
        """Count a failure. True when it locks the account: the caller keeps that in its row."""
        self._count("address", _net(address), now_s, limits.failures_max * ADDRESS_FACTOR, limits.lock_s)
        return self._count("account", account, now_s, limits.failures_max, limits.lock_s)

    def forget(self, account: str) -> None:
        """The account signed in, or somebody unlocked it."""
        self._records["account"].pop(account, None)

    def sizes(self) -> tuple[int, int]:
        """How many accounts and addresses are remembered."""
        return len(self._records["account"]), len(self._records["address"])

    def _known(self, kind: str, key: str, now_s: float) -> _Record | None:
        record = self._records[kind].get(key)
        if record is not None and now_s - max(record.last_s, record.until_s) > FORGOTTEN_AFTER_S:
            del self._records[kind][key]
            return None
        return record

    def _count(self, kind: str, key: str, now_s: float, most: int, lock_s: float) -> bool:
        record = self._known(kind, key, now_s) or _Record()
        record.failures += 1
        record.last_s = now_s
        is_locked = record.failures % most == 0
        record.until_s = now_s + (lock_s if is_locked else delay_s(record.failures, kind))
        records = self._records[kind]
        records[key] = record
        records.move_to_end(key)
        if len(records) > RECORDS_MAX:
            records.popitem(last=False)
        return is_locked


_MOST = (UNDER_WAY_OF_ACCOUNT, UNDER_WAY_OF_ADDRESS)


def delay_s(failures: int, kind: str = "account") -> float:
    """How long the next attempt must wait after so many failures in a row."""
    beyond = failures - FREE_FAILURES * (1 if kind == "account" else ADDRESS_FACTOR)
    return min(2.0 ** min(beyond, 10), DELAY_S_MAX) if beyond >= 0 else 0.0


def _net(address: str) -> str:
    """What counts as one address: of IPv6 the network of 64 bits that one household has."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(ipaddress.IPv6Network((int(parsed) >> 64 << 64, 64)))
    return str(parsed)


@dataclass(slots=True)
class Failures:
    """Failed attempts at one account since they were written down last."""

    count: int
    first_us: int
    last_us: int
    addresses: list[str]


NAMES_MAX = 50
ADDRESSES_MAX = 3
NO_ACCOUNT = "(no such account)"
OTHERS = "(other accounts)"


class Tally:
    """Sums up failures for the audit history: a storm writes a line an account and minute, and a bounded number.

    A name that there is not is never kept: people type passwords into the wrong field.
    """

    def __init__(self) -> None:
        self._found: dict[str, Failures] = {}

    def add(self, account: str | None, address: str, now_us: int) -> None:
        """One failure; `account` None: there is no such account."""
        key = account if account is not None else NO_ACCOUNT
        if key not in self._found and len(self._found) >= NAMES_MAX:
            key = OTHERS
        found = self._found.setdefault(key, Failures(0, now_us, now_us, []))
        found.count += 1
        found.last_us = now_us
        if address not in found.addresses and len(found.addresses) < ADDRESSES_MAX:
            found.addresses.append(address)

    def take(self) -> dict[str, Failures]:
        """All that was added since the last time."""
        found, self._found = self._found, {}
        return found
