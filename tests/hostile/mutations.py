"""What a hostile program does to a message: to its bytes, and to the values inside, always from a seed."""

from __future__ import annotations

import random
from typing import Any

import msgspec

NUMBERS = (
    0, 1, -1, 2, 127, 128, 255, 256, 65535, 65536, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**53, 2**62, 2**63 - 1, 2**63,
    2**64 - 1, -(2**31), -(2**63),
)  # fmt: skip
TEXTS = (
    "", "a", "\0", "../../etc/passwd", "/etc/passwd", "a" * 33, "0" * 32, "f" * 32, "x" * 4096, "\u202e\u0000\uffff",
    "'; DROP TABLE runs; --", "<script>", "%00", "nan", "-1", "true", "master", "IN_SYNC", "office", "hello",
    "j1.rone.a1", "j99999999999999999999.s1.20260101T000000Z.a1", "j1.s1.99999999T999999Z.a1", "\u0661" * 8,
)  # fmt: skip
DEPTHS = (10, 600, 5000)


def mutated(choice: random.Random, body: bytes) -> bytes:
    """A body of MessagePack with one to three things done to it: now and then to its bytes, else to its values."""
    if choice.random() < 0.25:
        for _ in range(choice.randint(1, 3)):
            body = _bytes_changed(choice, body)
        return body
    try:
        value = msgspec.msgpack.decode(body)
    except msgspec.MsgspecError:
        return _bytes_changed(choice, body)
    for _ in range(choice.choice((1, 1, 1, 2, 3))):
        value = _value_changed(choice, value)
    try:
        return msgspec.msgpack.encode(value)
    except (OverflowError, RecursionError, msgspec.MsgspecError):
        return _nested(choice)


def random_body(choice: random.Random) -> bytes:
    """Nothing that anybody meant; now and then it begins as MessagePack does."""
    size = choice.choice((0, 1, 2, 5, 16, 64, 300))
    first = choice.choice((b"", bytes((0x90 | choice.randint(0, 15),)), b"\xdc\xff\xff", b"\xdd\xff\xff\xff\xff"))
    return first + choice.randbytes(size)


def _nested(choice: random.Random) -> bytes:
    depth = choice.choice(DEPTHS)
    return choice.choice((b"\x91", b"\x81\xa1a")) * depth + b"\x00"


def _bytes_changed(choice: random.Random, body: bytes) -> bytes:
    at = choice.randint(0, len(body))
    match choice.randrange(6):
        case 0:
            return body[:at]
        case 1:
            return body[:at] + choice.randbytes(choice.randint(1, 8)) + body[at:]
        case 2:
            return body[:at] + choice.randbytes(1) + body[at + 1 :]
        case 3:
            end = choice.randint(at, len(body))
            return body[:end] + body[at:end] + body[end:]
        case 4:
            return body + _nested(choice)
        case _:
            end = min(at + choice.randint(1, 8), len(body))
            return body[:at] + body[end:]


def _edge(choice: random.Random) -> Any:
    kind = choice.randrange(8)
    if kind < 3:
        return choice.choice(NUMBERS)
    if kind < 5:
        return choice.choice(TEXTS)
    return choice.choice(
        (None, True, False, [], {}, b"", b"\xff" * 40, 1.5, float("nan"), float("inf"), [[[]]], {"": 0})
    )


def _value_changed(choice: random.Random, value: Any) -> Any:
    """The same tree with one place changed; a list may lose, gain, double or exchange entries instead."""
    if isinstance(value, list) and value and choice.random() < 0.85:
        at = choice.randrange(len(value))
        match choice.randrange(8):
            case 0:
                return value[:at] + value[at + 1 :]
            case 1:
                return [*value[:at], value[at], *value[at:]]
            case 2:
                return [*value, _edge(choice)]
            case 3:
                other = choice.randrange(len(value))
                value = list(value)
                value[at], value[other] = value[other], value[at]
                return value
            case _:
                return [*value[:at], _value_changed(choice, value[at]), *value[at + 1 :]]
    if isinstance(value, dict) and value and choice.random() < 0.85:
        key = choice.choice(list(value))
        return {**value, key: _value_changed(choice, value[key])}
    if isinstance(value, int) and not isinstance(value, bool) and choice.random() < 0.7:
        return choice.choice(
            (value - 1, value + 1, value + 1000, -value, choice.choice(NUMBERS), choice.choice(NUMBERS))
        )
    if isinstance(value, str) and choice.random() < 0.7:
        at = choice.randrange(len(value) + 1)
        return choice.choice((value[:at] + choice.choice(TEXTS) + value[at + 1 :], choice.choice(TEXTS)))
    if isinstance(value, bytes) and choice.random() < 0.7:
        return choice.choice((b"", value[:-1], value + b"x", choice.randbytes(len(value)), bytes(32), bytes(70_000)))
    return _edge(choice)
