"""A text as a QR code (ISO/IEC 18004): bytes, error correction M, versions 1 to 20, up to 666 bytes.

Made for the address of a second factor, which a phone takes in by its camera. What is drawn is compared with what
another program draws in tests/unit/test_qr_code.py. A module is a small square; True is dark; the first index is y.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

VERSIONS = 20
CHECKS = (10, 16, 26, 18, 24, 16, 18, 22, 22, 26, 30, 22, 22, 24, 24, 28, 28, 26, 26, 26)
"""Bytes of error correction for each block, by version."""
BLOCKS = (1, 1, 1, 2, 2, 4, 4, 4, 5, 5, 5, 8, 9, 9, 10, 10, 11, 13, 14, 16)
QUIET = 4
"""So many modules around it stay light."""
Squares = list[list[bool]]

MASKS: tuple[Callable[[int, int], bool], ...] = (
    lambda x, y: (x + y) % 2 == 0,
    lambda x, y: y % 2 == 0,
    lambda x, y: x % 3 == 0,
    lambda x, y: (x + y) % 3 == 0,
    lambda x, y: (x // 3 + y // 2) % 2 == 0,
    lambda x, y: x * y % 2 + x * y % 3 == 0,
    lambda x, y: (x * y % 2 + x * y % 3) % 2 == 0,
    lambda x, y: ((x + y) % 2 + x * y % 3) % 2 == 0,
)


def squares(text: str, mask: int | None = None) -> Squares:
    """The code without what is around it; of all masks the one that is read best. ValueError for a text too long."""
    content = text.encode()
    version = next((v for v in range(1, VERSIONS + 1) if len(content) <= _room(v)), 0)
    if not version:
        raise ValueError(f"a code holds {_room(VERSIONS)} bytes, not {len(content)}")
    drawn = [_draw(version, _codewords(content, version), one) for one in range(8) if mask in (None, one)]
    return min(drawn, key=_unrest)


def path(code: Squares) -> str:
    """What `d` of an SVG path is: a bar for each row of dark modules, inside of the quiet zone."""
    return "".join(
        f"M{x + QUIET} {y + QUIET}h{length}v1h-{length}z" for y, row in enumerate(code) for x, length in _bars(row)
    )


def _bars(row: list[bool]) -> Iterator[tuple[int, int]]:
    start = 0
    for x, dark in enumerate([*row, False]):
        if not dark:
            if x > start:
                yield start, x - start
            start = x + 1


def _capacity(version: int) -> int:
    """All codewords of a version, data and error correction."""
    modules = (16 * version + 128) * version + 64
    if version >= 2:
        aligned = version // 7 + 2
        modules -= (25 * aligned - 10) * aligned - 55 + (36 if version >= 7 else 0)
    return modules // 8


def _data_bytes(version: int) -> int:
    return _capacity(version) - CHECKS[version - 1] * BLOCKS[version - 1]


def _room(version: int) -> int:
    """Bytes of text that fit: the mode takes 4 bits, the length 8 or 16."""
    return _data_bytes(version) - (2 if version < 10 else 3)


def _codewords(content: bytes, version: int) -> list[int]:
    """Data with its error correction, in the order in which it is drawn."""
    length_bits = 8 if version < 10 else 16
    bits = f"0100{len(content):0{length_bits}b}" + "".join(f"{byte:08b}" for byte in content) + "0000"
    data = [int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8)]
    data += [(0xEC, 0x11)[number % 2] for number in range(_data_bytes(version) - len(data))]
    many, check = BLOCKS[version - 1], CHECKS[version - 1]
    short = len(data) // many
    blocks, at = [], 0
    for number in range(many):
        size = short + (number >= many - len(data) % many)
        blocks.append(data[at : at + size])
        at += size
    checks = [_remainder(block, check) for block in blocks]
    mixed = [block[place] for place in range(short + 1) for block in blocks if place < len(block)]
    return mixed + [one[place] for place in range(check) for one in checks]


def _times(left: int, right: int) -> int:
    """The product in the field of 256 elements, modulo x^8 + x^4 + x^3 + x^2 + 1."""
    product = 0
    for place in reversed(range(8)):
        product = product << 1 ^ (product >> 7) * 0x11D
        product ^= (right >> place & 1) * left
    return product


def _remainder(block: list[int], degree: int) -> list[int]:
    """Reed-Solomon: the block, times x^degree, modulo the polynomial with the roots 2^0 to 2^(degree - 1)."""
    divisor, root = [0] * (degree - 1) + [1], 1
    for _ in range(degree):
        for place in range(degree):
            divisor[place] = _times(divisor[place], root) ^ (divisor[place + 1] if place + 1 < degree else 0)
        root = _times(root, 2)
    rest = [0] * degree
    for byte in block:
        factor = byte ^ rest.pop(0)
        rest.append(0)
        rest = [old ^ _times(part, factor) for old, part in zip(rest, divisor, strict=True)]
    return rest


def _draw(version: int, codewords: list[int], mask: int) -> Squares:
    size = version * 4 + 17
    fixed: dict[tuple[int, int], bool] = dict(_patterns(version, size))
    fixed |= dict(_format(size, mask))
    if version >= 7:
        fixed |= dict(_version_bits(version, size))
    code = [[fixed.get((x, y), False) for x in range(size)] for y in range(size)]
    bits = (byte >> place & 1 for byte in codewords for place in reversed(range(8)))
    for x, y in _way(size):
        if (x, y) not in fixed:
            code[y][x] = bool(next(bits, 0)) ^ MASKS[mask](x, y)
    return code


def _way(size: int) -> Iterator[tuple[int, int]]:
    """Two columns at a time from the right, up and down in turn, past the column of the timing pattern."""
    is_up = True
    for right in (*range(size - 1, 6, -2), *range(5, 0, -2)):
        for step in range(size):
            y = size - 1 - step if is_up else step
            yield right, y
            yield right - 1, y
        is_up = not is_up


def _patterns(version: int, size: int) -> Iterator[tuple[tuple[int, int], bool]]:
    """The three corners with their borders, the lines between them, and the small squares."""
    for place in range(size):
        yield (6, place), place % 2 == 0
        yield (place, 6), place % 2 == 0
    if version > 1:
        places = _places(version, size)
        last = len(places) - 1
        for row, y in enumerate(places):
            for column, x in enumerate(places):
                if (row, column) not in ((0, 0), (0, last), (last, 0)):
                    yield from (
                        ((x + dx, y + dy), max(abs(dx), abs(dy)) != 1) for dx in range(-2, 3) for dy in range(-2, 3)
                    )
    for x, y in ((3, 3), (size - 4, 3), (3, size - 4)):
        for dx in range(-4, 5):
            for dy in range(-4, 5):
                if 0 <= x + dx < size and 0 <= y + dy < size:
                    yield (x + dx, y + dy), max(abs(dx), abs(dy)) not in (2, 4)


def _places(version: int, size: int) -> list[int]:
    many = version // 7 + 2
    step = (version * 8 + many * 3 + 5) // (many * 4 - 4) * 2
    return [6, *sorted(size - 7 - number * step for number in range(many - 1))]


def _format(size: int, mask: int) -> Iterator[tuple[tuple[int, int], bool]]:
    """Error correction M and the mask, twice, with a BCH code; and the one module that is always dark."""
    rest = mask
    for _ in range(10):
        rest = rest << 1 ^ (rest >> 9) * 0x537
    whole = (mask << 10 | rest) ^ 0x5412  # M is 00, so that the mask is all that is said
    bits = [bool(whole >> number & 1) for number in range(15)]
    first = [*((8, y) for y in (0, 1, 2, 3, 4, 5, 7, 8)), (7, 8), *((x, 8) for x in (5, 4, 3, 2, 1, 0))]
    second = [*((size - 1 - n, 8) for n in range(8)), *((8, size - 15 + n) for n in range(8, 15))]
    for places in (first, second):
        yield from zip(places, bits, strict=True)
    yield (8, size - 8), True


def _version_bits(version: int, size: int) -> Iterator[tuple[tuple[int, int], bool]]:
    rest = version
    for _ in range(12):
        rest = rest << 1 ^ (rest >> 11) * 0x1F25
    bits = version << 12 | rest
    for number in range(18):
        long, short = size - 11 + number % 3, number // 3
        yield (long, short), bool(bits >> number & 1)
        yield (short, long), bool(bits >> number & 1)


def _unrest(code: Squares) -> int:
    """How hard it is to read: long runs, squares of one kind, and far from half dark."""
    size, found = len(code), 0
    for line in (*code, *map(list, zip(*code, strict=True))):
        for dark in (True, False):
            found += sum(length - 2 for _, length in _bars([one is dark for one in line]) if length >= 5)
    pairs = ((code[y][x : x + 2], code[y + 1][x : x + 2]) for y in range(size - 1) for x in range(size - 1))
    found += sum(3 for upper, lower in pairs if len({*upper, *lower}) == 1)
    many = sum(map(sum, code))
    return found + abs(many * 20 - size * size * 10) // (size * size) * 10
