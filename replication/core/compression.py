"""Bodies of frames made smaller for a slow line (docs/protocol.md, section 8). Pure; zstd at level 1.

What comes from a peer is bounded before it is believed: neither the window that a body asks for nor what comes out of
it can take more than its caller allows.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from types import ModuleType

OFF = "off"
ZSTD = "zstd"
KINDS = (OFF, ZSTD)
LEVEL = 1
SMALL_BYTES = 512
"""Bodies up to this are sent as they are."""
WINDOW_LOG_MAX = 23
"""8 MiB of history, the largest body of a frame: no body may ask for more memory than that."""


class CompressionError(Exception):
    """The bytes are not what `compress` made, or more comes out of them than is allowed."""


def agreed(asked: str) -> str:
    """What a bulk link uses when the dialling side asked for `asked`: what is not known here is off."""
    return asked if asked in KINDS else OFF


def compress(body: bytes, kind: str) -> bytes | None:
    """The body made smaller, or None when it is to be sent as it is."""
    if kind != ZSTD or len(body) <= SMALL_BYTES:
        return None
    smaller: bytes = _zstd().compress(body, LEVEL)
    return smaller if len(smaller) < len(body) else None


def decompress(body: bytes | memoryview, most: int) -> bytes:
    """What was compressed, at most `most` bytes. Raises CompressionError."""
    zstd = _zstd()
    options = {zstd.DecompressionParameter.window_log_max: WINDOW_LOG_MAX}
    try:
        decompressor = zstd.ZstdDecompressor(options=options)
        found: bytes = decompressor.decompress(body, max_length=most + 1)
    except zstd.ZstdError as error:
        raise CompressionError(f"a compressed body that does not decompress: {error}") from error
    if len(found) > most:
        raise CompressionError(f"a compressed body of more than {most} bytes")
    if not decompressor.eof or decompressor.unused_data:
        raise CompressionError("a compressed body with a wrong end")
    return found


@cache
def _zstd() -> ModuleType:
    """Imported when first needed: a pair on a LAN never loads it. It is a part of Python from 3.14 on."""
    try:
        return import_module("compression.zstd")
    except ImportError:
        return import_module("backports.zstd")
