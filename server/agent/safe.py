"""The agent's own key: secrets lie in its spool sealed with it, and are opened when a process begins.

Who has the whole directory has both. Who has the spool alone, a backup of it, a log or a report, has nothing.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from server.core import agent_wire as wire
from server.core.confidential import Opened
from server.core.model import Specification
from server.core.monitors import Reaction
from server.errors import Invalid
from server.trust.identity import write_private

KEY_FILE = "spool.key"
NONCE_BYTES = 12


class Safe:
    """`closed` a message before anything of it is kept; `secrets` opens what a run needs."""

    def __init__(self, key: bytes) -> None:
        self._cipher = AESGCM(key)

    @classmethod
    def open(cls, data: Path) -> Safe:
        """Read `spool.key` of the agent's directory, or make it (0600, fsynced before it is used)."""
        path = data / KEY_FILE
        try:
            return cls(path.read_bytes())
        except FileNotFoundError:
            key = AESGCM.generate_key(256)
            write_private(path, key)
            return cls(key)

    def closed(self, message: Any) -> Any:
        """The message as it may be kept: its secrets sealed. Others are the same."""
        match message:
            case wire.GiveOrder(order) if order.specification.sealed:
                return wire.GiveOrder(msgspec.structs.replace(order, specification=self._close(order.specification)))
            case wire.Dispatch() if message.specification.sealed:
                return msgspec.structs.replace(message, specification=self._close(message.specification))
            case wire.GiveMonitor(monitor):
                reactions = tuple(Reaction(self._close(one.specification), one.held) for one in monitor.reactions)
                return msgspec.structs.replace(message, monitor=msgspec.structs.replace(monitor, reactions=reactions))
        return message

    def secrets(self, specification: Specification) -> Opened:
        """What of it was sealed. Raises `Invalid` when the key is not the one that it was sealed with."""
        if not specification.sealed:
            return Opened({}, ())
        whole = base64.b64decode(specification.sealed)
        try:
            text = self._cipher.decrypt(whole[:NONCE_BYTES], whole[NONCE_BYTES:], _purpose(specification))
        except InvalidTag as error:
            raise Invalid(f"{KEY_FILE} does not open the secrets of {specification.job_name}") from error
        return msgspec.json.decode(text, type=Opened)

    def _close(self, specification: Specification) -> Specification:
        if not specification.sealed:
            return specification
        nonce = os.urandom(NONCE_BYTES)
        sealed = self._cipher.encrypt(nonce, specification.sealed.encode(), _purpose(specification))
        return msgspec.structs.replace(specification, sealed=base64.b64encode(nonce + sealed).decode())


def _purpose(specification: Specification) -> bytes:
    return f"job {specification.job_id}".encode()
