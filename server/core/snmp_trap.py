"""An SNMP trap, version 2c, as the bytes of one datagram (RFC 3416, RFC 1901; BER of X.690). Pure.

Integers, object identifiers, octet strings and sequences are all that a trap is made of; docs/decisions/0115.
"""

from __future__ import annotations

from collections.abc import Sequence

ROOT = "1.3.6.1.4.1.8072.9999.9999"
"""Below the arc that Net-SNMP keeps for experiments, until the project has a number of its own."""
NOTIFICATION = f"{ROOT}.8008.0.1"
OBJECTS = {name: f"{ROOT}.8008.1.{number}" for number, name in enumerate(("id", "what", "about", "subject", "text"), 1)}
_UP_TIME, _TRAP_OID = "1.3.6.1.2.1.1.3.0", "1.3.6.1.6.3.1.1.4.1.0"
_INTEGER, _STRING, _OID, _SEQUENCE, _TIME_TICKS, _TRAP = 0x02, 0x04, 0x06, 0x30, 0x43, 0xA7
VERSION_2C = 1
TEXT_BYTES_MAX = 900
"""A datagram is not to be cut into pieces on its way."""


def trap(community: str, request_id: int, up_ticks: int, values: Sequence[tuple[str, str]]) -> bytes:
    """One message: `values` are (name of OBJECTS, text); `up_ticks` are hundredths of a second since a start."""
    bindings = [
        _block(_SEQUENCE, _oid(_UP_TIME) + _number(_TIME_TICKS, up_ticks % 2**32)),
        _block(_SEQUENCE, _oid(_TRAP_OID) + _oid(NOTIFICATION)),
        *(_block(_SEQUENCE, _oid(f"{OBJECTS[name]}.0") + _text(text)) for name, text in values),
    ]
    head = _number(_INTEGER, request_id % 2**31) + _number(_INTEGER, 0) + _number(_INTEGER, 0)
    pdu = _block(_TRAP, head + _block(_SEQUENCE, b"".join(bindings)))
    return _block(_SEQUENCE, _number(_INTEGER, VERSION_2C) + _block(_STRING, community.encode()) + pdu)


def _text(text: str) -> bytes:
    return _block(_STRING, text.encode()[:TEXT_BYTES_MAX].decode(errors="ignore").encode())


def _number(tag: int, value: int) -> bytes:
    return _block(tag, value.to_bytes(value.bit_length() // 8 + 1, "big"))


def _oid(text: str) -> bytes:
    first, second, *rest = map(int, text.split("."))
    return _block(_OID, b"".join(_base_128(number) for number in (first * 40 + second, *rest)))


def _base_128(number: int) -> bytes:
    groups = [number & 0x7F]
    while number := number >> 7:
        groups.append(0x80 | (number & 0x7F))
    return bytes(reversed(groups))


def _block(tag: int, content: bytes) -> bytes:
    size = len(content)
    if size < 128:
        return bytes((tag, size)) + content
    length = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + content
