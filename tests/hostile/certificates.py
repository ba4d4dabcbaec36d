"""Certificates of every kind, and every path of the cluster port asked with each over real TLS.

A server that refuses a certificate in its handshake just ends the connection (TLS 1.3); one that knows the certificate
and not its bearer answers 403. Both are refusals; anything else means that somebody was let in.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from server.trust import tls
from server.trust.tls import Authority, Kind, Peer

KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
UPGRADE = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n"
ANSWER_S = 10.0
REFUSED = ("ended", "403")


@dataclass(frozen=True, slots=True)
class ClusterPath:
    """One path of the cluster port, and whose certificate it is for."""

    name: str
    head: str
    kind: Kind


PATHS = (
    ClusterPath("control link", f"GET /replication/control HTTP/1.1\r\n{UPGRADE}", "node"),
    ClusterPath("bulk link", f"GET /replication/bulk HTTP/1.1\r\n{UPGRADE}", "node"),
    ClusterPath("forks", "GET /forks HTTP/1.1\r\n", "node"),
    ClusterPath("a fork's contents", "GET /forks/5-9-abc/contents HTTP/1.1\r\n", "node"),
    ClusterPath("a fork's output", "GET /forks/5-9-abc/outputs/1 HTTP/1.1\r\n", "node"),
    ClusterPath("a fork's export", "GET /forks/5-9-abc/export HTTP/1.1\r\n", "node"),
    ClusterPath("deletion of a fork", "DELETE /forks/5-9-abc?node=x HTTP/1.1\r\n", "node"),
    ClusterPath("journal", "GET /journal/1?last=9 HTTP/1.1\r\n", "node"),
    ClusterPath("proof", "POST /proof HTTP/1.1\r\n", "node"),
    ClusterPath("keys", "POST /proof/keys HTTP/1.1\r\n", "node"),
    ClusterPath("distrust", "POST /proof/distrust HTTP/1.1\r\n", "node"),
    ClusterPath("agent session", f"GET /agents/link HTTP/1.1\r\n{UPGRADE}", "agent"),
)


@dataclass(frozen=True, slots=True)
class Bearer:
    """Somebody with a key and a certificate, as one file; `chain` is what they trust."""

    file: Path | None
    trusts: Path

    def context(self) -> ssl.SSLContext:
        """For dialling the cluster port as this bearer."""
        if self.file is None:
            return tls.client_context(self.trusts)
        context = tls.client_context(self.trusts)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(self.file)
        return context


def bearer(
    folder: Path, name: str, authority: Authority, peer: Peer, trusts: Path, at: datetime | None = None
) -> Bearer:
    """A certificate of that authority, made at `at`."""
    key = tls.new_key()
    leaf = authority.issue(tls.certificate_request(key), peer, ("127.0.0.1",), at or datetime.now(UTC))
    file = folder / f"{name}.pem"
    file.write_bytes(leaf + tls.private_pem(key))
    return Bearer(file, trusts)


def bearer_of(data: Path) -> Bearer:
    """Whoever has this data directory."""
    file = data / "both.pem"
    file.write_bytes((data / "node.crt").read_bytes() + (data / "node.key").read_bytes())
    return Bearer(file, data / "ca.crt")


def forgeries(folder: Path, peer: Peer, cluster: str, trusts: Path, authority: Authority | None) -> dict[str, Bearer]:
    """Certificates in the name of `peer` that are not to be believed. Without the cluster's `authority` none that have
    ended, or not begun.
    """
    now = datetime.now(UTC)
    false = Authority.create(cluster, now)  # the same name as the cluster's own
    other = Authority.create("d" * 32, now)
    found = {
        "none": Bearer(None, trusts),
        "forged, with the names of the authority": bearer(folder, "forged", false, peer, trusts),
        "another authority": bearer(folder, "other", other, peer, trusts),
        "self-signed": Bearer(_self_signed(folder, false), trusts),
    }
    if authority is not None:
        ended, early = now - timedelta(days=31), now + timedelta(days=1)
        found["expired"] = bearer(folder, "expired", authority, peer, trusts, ended)
        found["not yet valid"] = bearer(folder, "early", authority, peer, trusts, early)
    return found


def _self_signed(folder: Path, authority: Authority) -> Path:
    file = folder / "self.pem"
    file.write_bytes(authority.certificate_pem() + authority.key_pem())
    return file


async def ask(host: str, port: int, who: Bearer, head: str, body: bytes = b"") -> str:
    """The status that is answered, or "ended" when the connection just ends."""
    try:
        async with asyncio.timeout(ANSWER_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=who.context())
            try:
                more = f"Host: x\r\nContent-Length: {len(body)}\r\nContent-Type: application/json\r\n\r\n"
                writer.write(head.encode() + more.encode() + body)
                line = await reader.readline()
            finally:
                writer.close()
                with contextlib.suppress(OSError, ssl.SSLError):
                    await writer.wait_closed()
    except (OSError, ssl.SSLError):
        return "ended"
    return line.split(b" ")[1].decode() if line.startswith(b"HTTP/1.1 ") else "ended"


async def ask_all(host: str, port: int, who: Bearer, kind: Kind | None = None) -> dict[str, str]:
    """What every path answers to this bearer; with `kind` only those for that kind."""
    wanted = [path for path in PATHS if kind in (None, path.kind)]
    return {path.name: await ask(host, port, who, path.head) for path in wanted}
