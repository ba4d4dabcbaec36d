"""The cluster port's door: few at once, patient with none that is slow, small buffers, and it closes clean."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import structlog

from server.core import failed_handshakes
from server.core.failed_handshakes import ADDRESSES_MAX, OTHERS, FailedHandshakes
from server.ports import acceptor
from server.ports.acceptor import TLS_BUFFER_BYTES, Acceptor, allow_descriptors, shrink_tls_buffer
from server.trust import tls


class Echo(asyncio.Protocol):
    """Says what it hears; `accepted` are the transports of all."""

    accepted: list[asyncio.Transport]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        type(self).accepted.append(transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


@contextlib.asynccontextmanager
async def door(context: ssl.SSLContext | None) -> AsyncIterator[int]:
    """An acceptor that runs; gives its port."""
    Echo.accepted = []
    with socket.create_server(("127.0.0.1", 0), backlog=200) as listener:
        listener.setblocking(False)
        task = asyncio.create_task(Acceptor(Echo, listener, (lambda: context) if context is not None else None).run())
        try:
            yield listener.getsockname()[1]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            for transport in Echo.accepted:
                transport.abort()


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a node, and of an agent that dials it."""
    now = datetime.now(UTC)
    authority = tls.Authority.create("c" * 32, now)
    (tmp_path / "ca").write_bytes(authority.certificate_pem())
    for kind in ("node", "agent"):
        key = tls.new_key()
        leaf = authority.issue(tls.certificate_request(key), tls.Peer(kind, kind[0] * 32), ("127.0.0.1",), now)  # type: ignore[arg-type]  # one of its kinds
        (tmp_path / kind).write_bytes(leaf + tls.private_pem(key))
    node, agent = tmp_path / "node", tmp_path / "agent"
    return tls.cluster_context(node, node, tmp_path / "ca"), tls.client_context(tmp_path / "ca", agent, agent)


async def echo(port: int, context: ssl.SSLContext | None, data: bytes = b"hello") -> bytes:
    """Connect, say something, hear it again."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(data)
    heard = await reader.readexactly(len(data))
    writer.close()
    return heard


async def test_many_come_in(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """More than may shake hands at once: each gets its turn, with its certificate seen."""
    async with door(contexts[0]) as port:
        heard = await asyncio.gather(*(echo(port, contexts[1]) for _ in range(3 * acceptor.HANDSHAKES_MAX)))
        assert set(heard) == {b"hello"}
        assert {tls.peer_of(transport) for transport in Echo.accepted} == {tls.Peer("agent", "a" * 32)}


async def test_those_who_never_shake_hands_keep_nobody_out(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many silent connections as there is room for are given up after a while; then the next one comes in."""
    monkeypatch.setattr(acceptor, "HANDSHAKE_S", 0.3)
    async with door(contexts[0]) as port:
        silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(acceptor.HANDSHAKES_MAX)]
        assert await echo(port, contexts[1]) == b"hello"
        for _, writer in silent:
            writer.close()


async def test_a_stranger_is_not_let_in(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Somebody who speaks no TLS is closed, and the door stays open for others."""
    async with door(contexts[0]) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()
        assert await echo(port, contexts[1]) == b"hello"
        assert len(Echo.accepted) == 1


async def test_a_small_buffer_carries_large_messages(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """After the buffer was made small, a message of many records comes whole, both ways."""
    data = bytes(range(256)) * 4096
    async with door(contexts[0]) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=contexts[1])
        writer.write(b"first")
        assert await reader.readexactly(5) == b"first"
        (transport,) = Echo.accepted
        shrink_tls_buffer(transport)
        assert len(transport._ssl_protocol._ssl_buffer) == TLS_BUFFER_BYTES  # type: ignore[attr-defined]  # the point
        writer.write(data)
        assert await reader.readexactly(len(data)) == data
        writer.close()


async def test_without_tls_nothing_is_shrunk() -> None:
    """A plain connection, as tests use it, is left as it is."""
    async with door(None) as port:
        assert await echo(port, None) == b"hello"
        shrink_tls_buffer(Echo.accepted[0])
        shrink_tls_buffer(None)


def test_all_descriptors_are_allowed() -> None:
    """The soft limit of open files becomes the hard one."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (512, before[1]))
        assert allow_descriptors() == before[1]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


async def test_handshakes_that_fail_are_listed(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With port, address and reason, one line for the first and one with the number of the others; no look is one."""
    monkeypatch.setattr(acceptor, "LOOK_S", 0.02)
    monkeypatch.setattr(failed_handshakes, "EVERY_S", 0.2)
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    with contextlib.suppress(ssl.SSLError, Warning):
        old.maximum_version = ssl.TLSVersion.TLSv1_2
    with structlog.testing.capture_logs() as lines:
        async with door(contexts[0]) as port:
            _, looked = await asyncio.open_connection("127.0.0.1", port)
            looked.close()
            for _ in range(3):
                with pytest.raises(OSError):  # noqa: PT011  # which of its kinds is the library's
                    await echo(port, old)
            async with asyncio.timeout(20):
                while sum(line["count"] for line in lines) < 3:
                    await asyncio.sleep(0.01)
            assert await echo(port, contexts[1]) == b"hello"
    assert [(line["address"], line["why"], line["count"]) for line in lines] == [
        ("127.0.0.1", "unsupported protocol", 1),
        ("127.0.0.1", "unsupported protocol", 2),
    ]


def test_lines_of_failed_handshakes_are_bounded() -> None:
    """One a minute for an address, whatever comes; beyond so many addresses one for all others; none is forgotten."""
    failed = FailedHandshakes()
    said = [line for i in range(5000) if (line := failed.add(f"10.0.{i // 256 % 4}.{i % 256}", "no\nTLS " * 99, 0.0))]
    assert len(said) == ADDRESSES_MAX + 1
    assert {("\n" in line.why, len(line.why)) for line in said} == {(False, 120)}
    assert failed.take(59.9) == []
    counted = failed.take(60.0)
    assert sum(line.times for line in [*said, *counted]) == 5000
    assert max(counted, key=lambda line: line.times).address == OTHERS
    assert failed.take(119.9) == failed.take(120.0) == []
    assert failed.is_empty
