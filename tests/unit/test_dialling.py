"""Why a link is not there: sentences for people, made of errors that really happen."""

from __future__ import annotations

import ssl

import aiohttp
import pytest
from aiohttp import web

from server.dialling import why_no_link
from tests.process.programs import free_port


async def failure(url: str, context: ssl.SSLContext | bool) -> BaseException:
    async with aiohttp.ClientSession() as session:
        with pytest.raises(Exception) as caught:  # noqa: PT011 - which one it is, is the question
            await session.ws_connect(url, ssl=context)
    return caught.value


async def test_nobody_listens() -> None:
    """No object of a library is printed, only what the machine says."""
    error = await failure(f"wss://127.0.0.1:{free_port('127.0.0.1')}/", True)
    assert "ssl" in str(error), "the library's own text is what must not be shown"
    assert why_no_link(error) == "connection refused"


async def test_a_port_that_speaks_no_tls_and_one_that_refuses() -> None:
    """The wrong protocol and a refusal are told apart."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    try:
        plain = await failure(f"wss://127.0.0.1:{port}/", True)
        refused = await failure(f"ws://127.0.0.1:{port}/", True)
    finally:
        await runner.cleanup()
    assert why_no_link(plain) == "it does not speak TLS, or refuses our certificate"
    assert why_no_link(refused) == "it refused the link (404)"


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (TimeoutError(), "timed out"),
        (ssl.SSLCertVerificationError(1, "unable to get local issuer certificate"), "its certificate is not of this"),
        (ConnectionResetError(104, "x"), "connection reset by peer"),
        (ConnectionError("at 127.0.0.1:1 another node answers"), "at 127.0.0.1:1 another node answers"),
        (aiohttp.ServerDisconnectedError(), "it closed the connection"),
        (aiohttp.ClientError(), "no connection"),
    ],
)
def test_other_reasons(error: BaseException, sentence: str) -> None:
    """Each reason is a few words; what is a sentence already stays one."""
    assert why_no_link(error).startswith(sentence)
