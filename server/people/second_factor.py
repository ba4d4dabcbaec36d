"""Six digits that change every 30 seconds (RFC 6238), and codes to write down for the day the phone is lost.

Pure; `server/actions/second_factor.py` keeps what was used.
"""

from __future__ import annotations

import base64
import hmac
from urllib.parse import quote

from cryptography.hazmat.primitives.hashes import SHA1
from cryptography.hazmat.primitives.twofactor.totp import TOTP

STEP_S = 30
DIGITS = 6
SECRET_BYTES = 20
DRIFT_STEPS = 1
"""A clock may be one step off: a code is good for up to 90 s, and once."""
RECOVERY_CODES = 10
_RECOVERY_BYTES = 15


def matching_step(secret: bytes, code: str, now_us: int) -> int | None:
    """The step of time whose code this is, the newest first, or None."""
    digits = code.replace(" ", "")
    if len(digits) != DIGITS or not digits.isascii() or not digits.isdigit():
        return None
    now = now_us // 1_000_000 // STEP_S
    totp = TOTP(secret, DIGITS, SHA1(), STEP_S)
    steps = range(now + DRIFT_STEPS, max(now - DRIFT_STEPS, 0) - 1, -1)
    found = [step for step in steps if hmac.compare_digest(totp.generate(step * STEP_S), digits.encode())]
    return found[0] if found else None


def address_of(secret: bytes, user: str, cluster: str) -> str:
    """What an authenticator program takes in: an `otpauth` address."""
    issuer = quote(f"Understudy {cluster}".strip())
    return f"otpauth://totp/{issuer}:{quote(user)}?secret={text_of(secret)}&issuer={issuer}"


def text_of(secret: bytes) -> str:
    """The secret as people type it."""
    return base64.b32encode(secret).decode()


def recovery_codes(seed: str) -> list[str]:
    """Ten codes of 120 bits, each good once: a plain hash of one is enough.

    The same for the same seed, which is secret and used for nothing else.
    """
    sums = [hmac.digest(seed.encode(), str(number).encode(), "sha256") for number in range(RECOVERY_CODES)]
    return [_grouped(base64.b32encode(one[:_RECOVERY_BYTES]).decode()) for one in sums]


def normal_recovery_code(text: str) -> str:
    """The code without what people type around it; "" for what is none."""
    plain = "".join(text.upper().split()).replace("-", "")
    return plain if len(plain) == _RECOVERY_BYTES * 8 // 5 and plain.isascii() and plain.isalnum() else ""


def _grouped(text: str) -> str:
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))
