"""Where a message may be sent to: never to addresses that reach what people cannot see from outside of this machine,
and to allowed hosts alone where an administrator names them. Pure.

Who makes a notification list names its receivers, so a receiver must not become a way into what trusts this machine:
the services of a cloud's hypervisor answer on link-local addresses, and a tenant has no business with this node's own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

import msgspec

HOSTS_MAX = 100
ASK = "is not among the allowed hosts. An administrator sets them: understudy notification hosts"
_NAME = re.compile(r"(?=.{1,253}\Z)(\*\.)?([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z]([a-z0-9-]{0,61}[a-z0-9])?\Z")


class AllowedHosts(msgspec.Struct, frozen=True, kw_only=True):
    """Whom this server may talk to for notifications, mail and OpenID; nobody in the list: whomever these name.

    Each is a name (`hooks.example.net`, `*.example.net` for what is below it), an address or a network
    (`192.0.2.0/28`) for what is written as an address, or a name with where it must lead
    (`hooks.example.net=192.0.2.0/28`).
    """

    hosts: tuple[str, ...] = ()

    def wrong(self) -> dict[str, str]:
        """What is not right, by field; empty when all is."""
        bad = [text for text in self.hosts if _read(text) is None]
        if bad:
            said = "no name, address or network, such as hooks.example.net, *.example.net or 192.0.2.0/28"
            return {"hosts": f"{', '.join(bad)}: {said}"}
        if len(self.hosts) > HOSTS_MAX:
            return {"hosts": f"at most {HOSTS_MAX}; name networks"}
        return {}

    def why_not_named(self, host: str) -> str:
        """Why a receiver written as `host` is refused when it is set, "" when it may be.

        What a name leads to is known when something is sent: `why_not` decides that then.
        """
        address = _address(host)
        if address is not None:
            return self.why_not(host, host)
        rules = [_read(text) for text in self.hosts]
        if not rules or any(rule and rule.is_for(host) for rule in rules):
            return ""
        return f"{host} {ASK}"

    def why_not(self, host: str, address: str) -> str:
        """Why nothing is sent to `host` at this IP address, "" when something may be.

        A name in the list does not open this machine itself, wherever its owner lets it lead: its address does.
        """
        found = _address(address)
        rules = [rule for text in self.hosts if (rule := _read(text))]
        if not self.hosts or any(rule.allows(host, found) for rule in rules if found is not None):
            return ""
        there = "" if host.strip("[]") == address else f" at {address}"
        return f"{host}{there} {ASK}"


@dataclass(frozen=True, slots=True)
class _Rule:
    """One allowed host: a name, a network, or both."""

    name: str
    network: IPv4Network | IPv6Network | None

    def is_for(self, host: str) -> bool:
        """Whether `host` is written as the name."""
        text = host.lower().rstrip(".")
        return text.endswith(self.name[1:]) if self.name.startswith("*.") else bool(self.name) and text == self.name

    def allows(self, host: str, address: IPv4Address | IPv6Address) -> bool:
        """Whether something may be sent there."""
        is_meant = self.is_for(host) if self.name else _address(host) is not None
        if not is_meant:
            return False
        if self.network is None:
            return not address.is_loopback
        return address.version == self.network.version and address in self.network


EVERY = AllowedHosts()
"""Nobody bounded them."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What holds for one receiver: `tenant` owns its list, "" is the host."""

    tenant: str = ""
    allowed: AllowedHosts = EVERY

    def why_not(self, host: str, address: str) -> str:
        """Why nothing is sent to `host`, which leads to this IP address; "" when something may be."""
        return why_not(address, self.tenant) or self.allowed.why_not(host, address)


def _read(text: str) -> _Rule | None:
    """An entry of the list, None for what is none."""
    name, equals, where = text.strip().lower().rpartition("=")
    try:
        return _Rule(name, ip_network(where)) if not equals or _NAME.match(name) else None
    except ValueError:
        return _Rule(where, None) if not equals and _NAME.match(where) else None


def _address(text: str) -> IPv4Address | IPv6Address | None:
    """An IP address without its zone, one of version 4 as such; None for what is none."""
    try:
        found = ip_address(text.strip("[]").partition("%")[0])
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found


def why_not(address: str, tenant: str) -> str:
    """Why nothing is sent to this IP address, "" when it may be. `tenant` owns the list; "" is the host."""
    found = _address(address)
    if found is None:
        return f"{address} is no IP address"
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        return f"nothing is sent to {address}: link-local, multicast and unspecified addresses are refused"
    if found.is_loopback and tenant:
        return f"nothing is sent to {address}: a list of a tenant does not reach this machine itself"
    return ""
