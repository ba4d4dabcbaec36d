"""Ways to sign in beside the password, as an administrator sets them. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence

import msgspec

PROXIES_MAX = 20
NARROWEST = {4: 16, 6: 48}
"""A network that is wider than this is refused: who may say who signs in is a handful of machines."""
NO_PROXY = "(user header, not from a trusted proxy)"
BAD_HEADER = "(user header that names nobody)"
NO_PASSWORD = "!"
"""Kept in place of a password's hash: no password is right."""

_HEADER = re.compile(r"[A-Za-z][A-Za-z0-9-]{0,63}\Z")
_USER = re.compile(r"(?:[a-z][a-z0-9-]{0,30}:)?[A-Za-z0-9][A-Za-z0-9._@-]{0,63}\Z")
_NAME = re.compile(r"(?=.{1,253}\Z)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})+\Z")
_NOT_FOR_NAMES = frozenset({
    "authorization", "cookie", "host", "origin", "referer", "user-agent", "content-type", "content-length",
    "x-forwarded-for", "forwarded", "x-real-ip",
})  # fmt: skip


class ProxyTrust(msgspec.Struct, frozen=True, kw_only=True):
    """Proxies whose word is taken for who signs in. Without `proxies` nobody's is: then it is off.

    `proxies` are addresses or networks, as the connection comes from them. `user_header` says the user.
    `address_header` "" or the header whose last address is the browser's. `new_role` "" or the role that a user gets
    who is not there yet.
    """

    proxies: tuple[str, ...] = ()
    user_header: str = "X-Remote-User"
    address_header: str = ""
    new_role: str = ""

    def wrong(self) -> dict[str, str]:
        """What is wrong, by field. Whether there is the role says the action."""
        found: dict[str, str] = {}
        bad = [text for text in self.proxies if _network(text) is None]
        wide = [text for text in self.proxies if (net := _network(text)) and net.prefixlen < NARROWEST[net.version]]
        if bad:
            found["proxies"] = f"{', '.join(bad)}: not an address, nor a network such as 192.0.2.0/28"
        elif wide:
            found["proxies"] = f"{', '.join(wide)}: too wide; name the machines (at most a /16, of IPv6 a /48)"
        elif len(self.proxies) > PROXIES_MAX:
            found["proxies"] = f"at most {PROXIES_MAX}"
        if not _HEADER.match(self.user_header) or self.user_header.lower() in _NOT_FOR_NAMES:
            found["user_header"] = "must be the name of a header that the proxy alone sets, such as X-Remote-User"
        if self.address_header and not _HEADER.match(self.address_header):
            found["address_header"] = "must be the name of a header, such as X-Forwarded-For, or empty"
        if self.address_header and self.address_header.lower() == self.user_header.lower():
            found["address_header"] = "must be another header than the one with the user"
        return found


class PasskeyNames(msgspec.Struct, frozen=True, kw_only=True):
    """`rp_id`: the name that both nodes' names end in, or "": a passkey is good for the name that it was made at."""

    rp_id: str = ""

    def wrong(self) -> dict[str, str]:
        """What is wrong, by field."""
        if not self.rp_id or self.rp_id == "localhost" or (_NAME.match(self.rp_id) and not _is_address(self.rp_id)):
            return {}
        return {"rp_id": "must be a name of several parts, such as example.org, in small letters, or empty"}


def passkey_name(names: PasskeyNames, host: str) -> str:
    """The name that passkeys made at `host` are good for; "" for an address of numbers, where there are none."""
    if not host or _is_address(host):
        return ""
    return names.rp_id if names.rp_id and is_at(host, names.rp_id) else host


def is_at(host: str, name: str) -> bool:
    """Whether a passkey for `name` works at `host`."""
    return host == name or host.endswith("." + name)


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    return True


class Said(msgspec.Struct, frozen=True):
    """What a proxy says: `user`, or in `refusal` why its word is not taken. `proxy` and `address` are addresses."""

    user: str
    proxy: str
    address: str
    refusal: str = ""


def said(trust: ProxyTrust, peer: str, users: Sequence[str], addresses: Sequence[str]) -> Said | None:
    """Who signs in, by the word of `peer`, the address that the connection comes from; None: nobody says anything.

    `users` and `addresses` are all values of the two headers, one for each time that the header is there.
    """
    if not trust.proxies or not users:
        return None
    if not _is_trusted(trust, peer):
        return Said("", peer, peer, NO_PROXY)
    if len(users) != 1 or not _USER.match(users[0]):
        return Said("", peer, peer, BAD_HEADER)
    return Said(users[0], peer, _client(addresses) or peer)


def _client(addresses: Sequence[str]) -> str:
    """The address that the proxy itself added: the last. What stands before it anybody can have written."""
    last = addresses[-1].rpartition(",")[2].strip() if addresses else ""
    try:
        return str(ipaddress.ip_address(last))
    except ValueError:
        return ""


def _is_trusted(trust: ProxyTrust, peer: str) -> bool:
    try:
        address = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return any(net.version == address.version and address in net for net in map(_network, trust.proxies) if net)


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(text)
    except ValueError:
        return None
