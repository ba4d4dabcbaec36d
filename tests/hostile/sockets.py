"""WebSockets that do not behave: another origin, messages that are too long, no answer to pings, broken frames."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl

from tests.hostile.web import Target

PING_S = 45.0
"""A ping each 20 s, and half of that for its answer."""
OPENING = (
    "GET /api/v1/events HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer {token}\r\n{more}\r\n"
)


def _frame(code: int, data: bytes, final: bool = True) -> bytes:
    head = bytes((code | (0x80 if final else 0),))
    size = len(data)
    head += bytes((0x80 | size,)) if size < 126 else bytes((0xFE,)) + size.to_bytes(2, "big")
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[at % 4] for at, byte in enumerate(data))


ABUSES: dict[str, bytes] = {
    "a message that is too long": _frame(1, b"x" * 5000),
    "fragments that are too long": _frame(1, b"x" * 3000, final=False) + _frame(0, b"x" * 3000),
    "an unknown opcode": _frame(11, b"x"),
    "reserved bits": bytes((0xF1, 0x80, 0, 0, 0, 0)),
    "text that is no UTF-8": _frame(1, b"\xff\xfe"),
    "a length of 2^63": bytes((0x81, 0xFF)) + b"\xff" * 8 + b"\0" * 4,
    "a long ping": _frame(9, b"x" * 200),
    "random bytes": bytes(range(200, 256)),
}


async def abuse(target: Target) -> dict[str, str]:
    """Each abuse on a socket of its own; what the server did. One that it lets live is a fault."""
    found = {"another origin": await _open(target, "Origin: https://evil\r\n", b"", 5.0)}
    for name, sent in ABUSES.items():
        found[name] = await _open(target, "", sent, 5.0)
    found["no answer to pings"] = await _open(target, "", b"", PING_S)
    for name, what in found.items():
        if what == "still open":
            target.faults.append(f"WebSocket: {name}: {what}")
    if found["another origin"] != "403":
        target.faults.append(f"WebSocket of another origin: {found['another origin']}")
    return found


async def _open(target: Target, more: str, sent: bytes, within_s: float) -> str:
    reader, writer = await target.connect()
    try:
        async with asyncio.timeout(within_s):
            opening = OPENING.format(host=f"{target.host}:{target.port}", token=target.token, more=more)
            writer.write(opening.encode())
            head = await reader.readuntil(b"\r\n\r\n")
            status = head.split(b" ")[1].decode()
            if status != "101":
                return status
            writer.write(sent)
            while await reader.read(65536):
                pass
            return "closed"
    except TimeoutError:
        return "still open"
    except (OSError, ssl.SSLError, asyncio.IncompleteReadError):
        return "closed"
    finally:
        writer.close()
        with contextlib.suppress(OSError, ssl.SSLError):
            await writer.wait_closed()
