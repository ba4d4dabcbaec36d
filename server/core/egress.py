"""Where a message may be sent to: never to addresses that reach what people cannot see from outside of this machine.

Who makes a notification list names its receivers, so a receiver must not become a way into what trusts this machine:
the services of a cloud's hypervisor answer on link-local addresses, and a tenant has no business with this node's own.
"""

from __future__ import annotations

from ipaddress import IPv6Address, ip_address


def why_not(address: str, tenant: str) -> str:
    """Why nothing is sent to this IP address, "" when it may be. `tenant` owns the list; "" is the host."""
    try:
        found = ip_address(address.partition("%")[0])
    except ValueError:
        return f"{address} is no IP address"
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        found = found.ipv4_mapped
    if found.is_link_local or found.is_multicast or found.is_unspecified:
        return f"nothing is sent to {address}: link-local, multicast and unspecified addresses are refused"
    if found.is_loopback and tenant:
        return f"nothing is sent to {address}: a list of a tenant does not reach this machine itself"
    return ""
