"""Passkeys as the library `webauthn` checks them (W3C Web Authentication, level 2). It is imported where it is used."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from server.core.people import Passkey
from server.errors import Unauthenticated, Unavailable

NO_LIBRARY = "Passkeys need the library webauthn on this node: install understudy[sign-in], then restart it."
WRONG = "The passkey was not accepted. Try again, or sign in another way."
PRODUCT = "Understudy"
TIMEOUT_MS = 120_000


@dataclass(frozen=True, slots=True)
class Place:
    """Where a browser is: the name that the passkey is for, and the origin that the browser says."""

    rp_id: str
    origin: str


@dataclass(frozen=True, slots=True)
class Registered:
    """What a device made. `credential` is base64url."""

    credential: str
    public_key: bytes
    sign_count: int


def text_of(raw: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def bytes_of(text: str) -> bytes:
    """What `text_of` made; raises ValueError."""
    try:
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as error:
        raise ValueError(str(error)) from error


def creation_options(
    place: Place, challenge: bytes, user: tuple[int, str], known: Sequence[Passkey], alone: bool
) -> dict[str, Any]:
    """What a browser is asked to make. `user` is (id, name). Raises `Unavailable` without the library."""
    library = _library()
    words = library.helpers.structs
    needed = words.UserVerificationRequirement.REQUIRED if alone else words.UserVerificationRequirement.PREFERRED
    resident = words.ResidentKeyRequirement.REQUIRED if alone else words.ResidentKeyRequirement.DISCOURAGED
    options = library.generate_registration_options(
        rp_id=place.rp_id,
        rp_name=PRODUCT,
        user_id=str(user[0]).encode(),
        user_name=user[1],
        challenge=challenge,
        timeout=TIMEOUT_MS,
        authenticator_selection=words.AuthenticatorSelectionCriteria(resident_key=resident, user_verification=needed),
        exclude_credentials=[words.PublicKeyCredentialDescriptor(bytes_of(one.credential)) for one in known],
    )
    return dict(json.loads(library.options_to_json(options)))


def request_options(place: Place, challenge: bytes, known: Sequence[Passkey], alone: bool) -> dict[str, Any]:
    """What a browser is asked to sign, with one of `known`, or with whichever the device has."""
    library = _library()
    words = library.helpers.structs
    needed = words.UserVerificationRequirement.REQUIRED if alone else words.UserVerificationRequirement.PREFERRED
    options = library.generate_authentication_options(
        rp_id=place.rp_id,
        challenge=challenge,
        timeout=TIMEOUT_MS,
        allow_credentials=[words.PublicKeyCredentialDescriptor(bytes_of(one.credential)) for one in known],
        user_verification=needed,
    )
    return dict(json.loads(library.options_to_json(options)))


def registered(place: Place, challenge: bytes, credential: dict[str, Any], alone: bool) -> Registered:
    """Check what a device made. Raises `Unauthenticated` for a challenge, origin, name or proof that is not right."""
    library = _library()
    try:
        found = library.verify_registration_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=place.rp_id,
            expected_origin=place.origin,
            require_user_verification=alone,
        )
    except _wrong(library) as error:
        raise Unauthenticated(WRONG) from error
    return Registered(text_of(found.credential_id), found.credential_public_key, found.sign_count)


def asserted(place: Place, challenge: bytes, credential: dict[str, Any], known: Passkey, alone: bool) -> int:
    """Check what a device signed; its sign count. Whether that went up, the change checks that signs in."""
    library = _library()
    try:
        found = library.verify_authentication_response(
            credential=credential,
            expected_challenge=challenge,
            expected_rp_id=place.rp_id,
            expected_origin=place.origin,
            credential_public_key=known.public_key,
            credential_current_sign_count=0,
            require_user_verification=alone,
        )
    except _wrong(library) as error:
        raise Unauthenticated(WRONG) from error
    return int(found.new_sign_count)


def _library() -> ModuleType:
    try:
        import webauthn
        import webauthn.helpers.exceptions
        import webauthn.helpers.structs
    except ImportError as error:
        raise Unavailable(NO_LIBRARY, retry_after_s=3600) from error
    return webauthn


def _wrong(library: ModuleType) -> tuple[type[Exception], ...]:
    """What a hostile browser makes the library raise: its own, and what comes of bytes that are none of it."""
    from cryptography.exceptions import InvalidSignature

    named: type[Exception] = library.helpers.exceptions.WebAuthnException
    return named, InvalidSignature, ValueError, KeyError, TypeError, AttributeError, IndexError
