"""Secrets of variables: sealed with the cluster's key when they are set, opened when an agent is told them."""

from __future__ import annotations

import base64
from collections.abc import Callable

import msgspec

from server.core import confidential
from server.core.model import Specification
from server.trust import tls

NONCE_BYTES = 12


class Seal:
    """`key` gives the 32 bytes of `seal.key`, the same on both nodes and in no row."""

    def __init__(self, key: Callable[[], bytes]) -> None:
        self._key = key

    def seal(self, name: str, value: str) -> tuple[bytes, bytes]:
        """(nonce, ciphertext) for the row `name` of the table `sealed`."""
        return tls.seal(self._key(), name, value.encode())

    def opened(self, name: str, nonce: bytes, ciphertext: bytes) -> str:
        """The value in the row `name`. Raises `Invalid` when the key is not the one that it was sealed with."""
        return tls.unseal(self._key(), name, nonce, ciphertext).decode()

    def told(self, specification: Specification) -> Specification:
        """What the agent is told, on its own link: never written down, never logged.

        Raises `Invalid` when the key is not the one that it was sealed with.
        """
        hidden = specification.confidential
        if hidden is None:
            return specification
        values = {name: self._value(place, text) for name, (place, text) in hidden.secrets.items()}
        text = msgspec.json.encode(confidential.opened(hidden, values)).decode()
        return msgspec.structs.replace(specification, confidential=None, sealed=text)

    def _value(self, place: str, text: str) -> str:
        whole = base64.b64decode(text)
        return tls.unseal(self._key(), place, whole[:NONCE_BYTES], whole[NONCE_BYTES:]).decode()
