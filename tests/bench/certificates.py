"""A cluster's authority and certificates below a directory, for benchmarks: for both nodes and for the peers' TLS."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from server.trust import tls

CLUSTER = "c" * 32
A, B = "a" * 32, "b" * 32


def make_authority(directory: Path) -> None:
    """Write `ca.crt` and, for each of the two nodes, NODE.crt and NODE.key."""
    now = datetime.now(UTC)
    authority = tls.Authority.create(CLUSTER, now)
    (directory / "ca.crt").write_bytes(authority.certificate_pem())
    for node in (A, B):
        key = tls.new_key()
        request = tls.certificate_request(key)
        certificate = authority.issue(request, tls.Peer("node", node), ("127.0.0.1",), now)
        (directory / f"{node}.crt").write_bytes(certificate)
        (directory / f"{node}.key").write_bytes(tls.private_pem(key))
