"""What a browser carries between two steps and nobody may change: JSON under the cluster's key, on either node.

HMAC-SHA-256 with a key for each purpose, so that a text for one is worth nothing for another. It is signed, not hidden:
never put a secret in.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from typing import TypeVar

import msgspec

T = TypeVar("T")
LENGTH_MAX = 4096


def sign(key: bytes, purpose: str, value: msgspec.Struct) -> str:
    """The text, safe in an address."""
    body = msgspec.json.encode(value)
    return f"{_text(body)}.{_text(_sum(key, purpose, body))}"


def opened(key: bytes, purpose: str, text: str, kind: type[T]) -> T | None:
    """What was signed, or None for a text that this cluster did not sign for this purpose."""
    if len(text) > LENGTH_MAX or not text.isascii():
        return None
    first, _, second = text.partition(".")
    try:
        body = _bytes(first)
        if not hmac.compare_digest(_bytes(second), _sum(key, purpose, body)):
            return None
        return msgspec.json.decode(body, type=kind)
    except (binascii.Error, msgspec.MsgspecError):
        return None


def _sum(key: bytes, purpose: str, body: bytes) -> bytes:
    return hmac.digest(hmac.digest(key, f"signed text: {purpose}".encode(), "sha256"), body, "sha256")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
