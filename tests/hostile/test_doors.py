"""The doors of both ports: half-open, slow and too many connections give way, and others come in meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web

from server.ports import acceptor, turnstile
from server.ports.acceptor import Acceptor
from server.ports.turnstile import Limits, Turnstile, body_s, counting
from server.trust import tls

SHORT_S = 0.3
BODY_MAX = 4096


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """Of a node, and of somebody who dials it and shows nothing."""
    now = datetime.now(UTC)
    authority = tls.Authority.create("c" * 32, now)
    (tmp_path / "ca").write_bytes(authority.certificate_pem())
    key = tls.new_key()
    leaf = authority.issue(tls.certificate_request(key), tls.Peer("node", "a" * 32), ("127.0.0.1",), now)
    (tmp_path / "node").write_bytes(leaf + tls.private_pem(key))
    node = tmp_path / "node"
    return tls.cluster_context(node, node, tmp_path / "ca"), tls.client_context(tmp_path / "ca")


@contextlib.asynccontextmanager
async def port(gates: Turnstile, context: ssl.SSLContext | None = None, idle_s: float = SHORT_S) -> AsyncIterator[int]:
    """An application behind a turnstile: it says how long a body was, or waits."""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(text=str(len(await request.read())))

    async def wait(request: web.Request) -> web.Response:
        await asyncio.sleep(30)
        return web.Response()

    app = web.Application(middlewares=[counting], client_max_size=BODY_MAX)
    app.router.add_get("/wait", wait)
    app.router.add_route("*", "/", answer)
    runner = web.AppRunner(app, access_log=None, keepalive_timeout=idle_s, shutdown_timeout=0.1)
    await runner.setup()
    assert runner.server is not None
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listener:
        listener.setblocking(False)
        given = (lambda: context) if context is not None else None
        task = asyncio.create_task(Acceptor(gates.gate(runner.server), listener, given).run())
        try:
            yield listener.getsockname()[1]
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await runner.cleanup()


async def say(number: int, data: bytes, context: ssl.SSLContext | None = None) -> tuple[bytes, asyncio.StreamWriter]:
    """What is answered to these bytes until the connection rests or ends."""
    reader, writer = await asyncio.open_connection("127.0.0.1", number, ssl=context)
    writer.write(data)
    with contextlib.suppress(ConnectionError):
        return await reader.read(65536), writer
    return b"", writer


async def test_who_says_no_hello_keeps_nobody_out(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More half-open connections than may be: the oldest give way, and a request is answered at once."""
    monkeypatch.setattr(acceptor, "SILENT_MAX", 40)
    async with port(Turnstile(), contexts[0]) as number:
        silent = [await asyncio.open_connection("127.0.0.1", number) for _ in range(120)]
        answered, _ = await say(number, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", contexts[1])
        assert answered.startswith(b"HTTP/1.1 200")
        ends = [asyncio.create_task(reader.read()) for reader, _ in silent]
        done, open_still = await asyncio.wait(ends, timeout=SHORT_S)
        assert len(done) >= 80, "the first ones gave way"
        for task in open_still:
            task.cancel()
        for _, writer in silent:
            writer.close()


async def test_half_a_hello_is_given_up_and_no_tls_is_refused(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither takes part in a handshake: there is no turn for them to hold."""
    monkeypatch.setattr(acceptor, "HELLO_S", SHORT_S)
    monkeypatch.setattr(acceptor, "HANDSHAKES_MAX", 1)
    async with port(Turnstile(), contexts[0]) as number:
        for said in (b"\x16\x03\x01\x02\x00\x01", b"GET / HTTP/1.1\r\n\r\n", b"\x16"):
            answered, _ = await say(number, said)
            assert answered == b""


async def test_a_handshake_that_does_not_go_on_holds_its_turn_only_briefly(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one turn, and somebody who sent a hello and then nothing, the next one comes in."""
    monkeypatch.setattr(acceptor, "HANDSHAKES_MAX", 1)
    monkeypatch.setattr(acceptor, "TURN_S", 0.05)
    hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    with contextlib.suppress(ssl.SSLWantReadError):
        contexts[1].wrap_bio(hello, out).do_handshake()
    async with port(Turnstile(), contexts[0]) as number:
        _, stuck = await asyncio.open_connection("127.0.0.1", number)
        stuck.write(out.read())
        await stuck.drain()
        answered, _ = await say(number, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", contexts[1])
        assert answered.startswith(b"HTTP/1.1 200")
        stuck.close()


async def test_idle_connections_give_way_and_working_ones_do_not() -> None:
    """At the limit of all, and at that of one address, the longest idle one is closed for who comes."""
    for limits in (Limits(3, 0), Limits(100, 3)):
        gates = Turnstile(limits)
        async with port(gates, idle_s=30) as number:
            working = asyncio.create_task(say(number, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n"))
            while not gates._busy:
                await asyncio.sleep(0.01)
            idle = [await asyncio.open_connection("127.0.0.1", number) for _ in range(6)]
            for reader, _ in idle[:4]:
                with contextlib.suppress(ConnectionError):
                    assert await reader.read() == b""
            assert not working.done()
            assert (len(gates), gates.counts.gave_way, gates.counts.refused) == (3, 4, 0)
            working.cancel()


async def test_when_all_work_the_next_one_is_refused() -> None:
    """Nothing that is at work gives way: who comes is closed, and counted."""
    gates = Turnstile(Limits(2, 0))
    async with port(gates) as number:
        working = [asyncio.create_task(say(number, b"GET /wait HTTP/1.1\r\nHost: x\r\n\r\n")) for _ in range(2)]
        while len(gates._busy) < 2:
            await asyncio.sleep(0.01)
        answered, _ = await say(number, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert (answered, gates.counts.refused) == (b"", 1)
        for task in working:
            task.cancel()


async def test_a_slow_head_is_given_up() -> None:
    """Slowloris: a head that comes letter by letter ends with the idle time, however often something comes."""
    async with port(Turnstile()) as number:
        reader, writer = await asyncio.open_connection("127.0.0.1", number)
        ended = asyncio.create_task(reader.read())
        writer.write(b"GET / HTTP/1.1\r\nSlow: ")
        while not ended.done():
            with contextlib.suppress(ConnectionError):
                writer.write(b"X")
                await writer.drain()
            await asyncio.sleep(0.02)
        assert ended.exception() is not None or ended.result() == b""


@pytest.mark.parametrize("head", [b"Content-Length: 4000", b"Transfer-Encoding: chunked"])
async def test_a_slow_body_is_given_up(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that does not come is answered 408, and the connection ends."""
    monkeypatch.setattr(turnstile, "BODY_S", SHORT_S)
    gates = Turnstile()
    async with port(gates) as number:
        answered, _ = await say(number, b"POST / HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n")
        assert answered.startswith(b"HTTP/1.1 408")
        assert gates.counts.slow_bodies == 1
        answered, _ = await say(number, b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nok")
        assert answered.startswith(b"HTTP/1.1 200")


def test_a_long_body_has_longer() -> None:
    """By what it says it has, and by what is allowed when it says nothing or too much."""
    assert body_s(0, 4 << 20) == turnstile.BODY_S
    assert body_s(1 << 20, 4 << 20) == turnstile.BODY_S + 64
    assert body_s(None, 4 << 20) == body_s(1 << 40, 4 << 20) == turnstile.BODY_S + 256


def test_each_port_has_its_limits() -> None:
    """Few descriptors mean few connections; behind a proxy no address is limited; members are not counted."""
    assert turnstile.web_turnstile(False, 1024).limits == Limits(256, 128)
    assert turnstile.web_turnstile(False, 1 << 20).limits == Limits(4096, 512)
    assert turnstile.web_turnstile(True, 1 << 20).limits == Limits(4096, 0)
    names = {"subjectAltName": (("URI", "understudy://agent/" + "a" * 32),)}

    class Shown(asyncio.Transport):
        def get_extra_info(self, name: str, default: object = None) -> object:
            return names if name == "peercert" else None

    gates = turnstile.cluster_turnstile()
    assert not gates.is_counted(Shown())
    assert gates.is_counted(asyncio.Transport())
