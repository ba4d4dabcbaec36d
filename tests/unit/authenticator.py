"""A device with passkeys, as small as the standard allows: P-256, no attestation. For forging what browsers send."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

import cbor2
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from server.people.passkeys import text_of

PRESENT, VERIFIED, ATTESTED = 1, 4, 64


@dataclass
class Device:
    """One key. `count` is what it says it has counted; `flags` say whether somebody touched it, and who."""

    origin: str
    count: int = 0
    flags: int = PRESENT | VERIFIED
    key: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    credential: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def make(self, options: dict[str, Any], **changes: str) -> dict[str, Any]:
        """What `navigator.credentials.create` gives. `changes`: of what the browser says (challenge, origin, type)."""
        numbers = self.key.public_key().public_numbers()
        point = {-2: numbers.x.to_bytes(32, "big"), -3: numbers.y.to_bytes(32, "big")}
        public = cbor2.dumps({1: 2, 3: -7, -1: 1} | point)
        attested = bytes(16) + len(self.credential).to_bytes(2, "big") + self.credential + public
        data = self._data(options["rp"]["id"], self.flags | ATTESTED) + attested
        made = cbor2.dumps({"fmt": "none", "attStmt": {}, "authData": data})
        said = self._said("webauthn.create", options["challenge"], changes)
        return self._credential({"clientDataJSON": text_of(said), "attestationObject": text_of(made)})

    def sign(self, options: dict[str, Any], rp_id: str = "", **changes: str) -> dict[str, Any]:
        """What `navigator.credentials.get` gives."""
        data = self._data(rp_id or options["rpId"], self.flags)
        said = self._said("webauthn.get", options["challenge"], changes)
        signed = self.key.sign(data + hashlib.sha256(said).digest(), ec.ECDSA(hashes.SHA256()))
        parts = {"clientDataJSON": said, "authenticatorData": data, "signature": signed}
        return self._credential({name: text_of(value) for name, value in parts.items()})

    def _data(self, rp_id: str, flags: int) -> bytes:
        return hashlib.sha256(rp_id.encode()).digest() + bytes([flags]) + self.count.to_bytes(4, "big")

    def _said(self, kind: str, challenge: str, changes: dict[str, str]) -> bytes:
        said = {"type": kind, "challenge": challenge, "origin": self.origin, "crossOrigin": False}
        return json.dumps(said | changes).encode()

    def _credential(self, response: dict[str, str]) -> dict[str, Any]:
        number = text_of(self.credential)
        return {"id": number, "rawId": number, "type": "public-key", "response": response, "clientExtensionResults": {}}
