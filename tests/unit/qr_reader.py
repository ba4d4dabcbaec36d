"""Reads a QR code from the pixels of a picture, as a camera does; knows nothing of what drew it (ISO/IEC 18004).

Versions 6 to 9, error correction M, one text of bytes: what the address of a second factor needs. Nothing is corrected:
a picture with a single wrong module is refused, because its check bytes do not fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

ALIGNED = {6: (6, 34), 7: (6, 22, 38), 8: (6, 24, 42), 9: (6, 26, 46)}
"""Where the middles of the small squares are."""
BLOCKS = {6: (16, (27,) * 4), 7: (18, (31,) * 4), 8: (22, (38, 38, 39, 39)), 9: (22, (36, 36, 36, 37, 37))}
"""Check bytes of each block, and the bytes of data of each."""
FORMAT = [(8, y) for y in (0, 1, 2, 3, 4, 5, 7, 8)] + [(7, 8)] + [(x, 8) for x in (5, 4, 3, 2, 1, 0)]


def read_picture(rows: Sequence[str]) -> str:
    """The text of a code in a picture: one string for each row of pixels, `#` where it is dark."""
    top = next(number for number, row in enumerate(rows) if "#" in row)
    left = rows[top].index("#")
    module = (len(rows[top][left:]) - len(rows[top][left:].lstrip("#"))) / 7
    size = round((rows[top].rindex("#") + 1 - left) / module)
    assert left >= 4 * module, "the quiet zone is four modules wide"
    middle = [int((place + 0.5) * module) for place in range(size)]
    return read([[rows[top + y][left + x] == "#" for x in middle] for y in middle])


def read(code: Sequence[Sequence[bool]]) -> str:
    """The text of a code, by rows of modules."""
    version = (len(code) - 17) // 4
    checks, lengths = BLOCKS[version]
    data = b"".join(_blocks(list(_bytes(code, version)), checks, lengths))
    bits = int.from_bytes(data, "big")
    taken = f"{bits:0{len(data) * 8}b}"
    assert taken[:4] == "0100", "bytes are expected"
    count = int(taken[4:12], 2)
    return int(taken[12 : 12 + 8 * count], 2).to_bytes(count, "big").decode()


def _blocks(mixed: list[int], checks: int, lengths: tuple[int, ...]) -> Iterator[bytes]:
    """The data of each block, after its check bytes were compared."""
    parts: list[list[int]] = [[] for _ in lengths]
    rest = iter(mixed)
    for place in range(max(lengths)):
        for part, length in zip(parts, lengths, strict=True):
            if place < length:
                part.append(next(rest))
    for _ in range(checks):
        for part in parts:
            part.append(next(rest))
    powers = [1]
    for _ in range(254):
        powers.append(powers[-1] << 1 ^ (0x11D if powers[-1] & 0x80 else 0))
    for part, length in zip(parts, lengths, strict=True):
        for root in range(checks):
            value = 0
            for byte in part:
                value = (powers[(powers.index(value) + root) % 255] if value else 0) ^ byte
            assert value == 0, "a module is wrong"
        yield bytes(part[:length])


def _bytes(code: Sequence[Sequence[bool]], version: int) -> Iterator[int]:
    """What is drawn beside the patterns, unmasked, two columns at a time from the lower right."""
    size, said = len(code), 0
    for x, y in reversed(FORMAT):
        said = said << 1 | code[y][x]
    said ^= 0b101010000010010
    level, mask = said >> 13, said >> 10 & 7
    assert level == 0, "error correction M is expected"
    bits = ""
    columns = [right for right in range(size - 1, 0, -2) if right > 6] + [5, 3, 1]
    for number, right in enumerate(columns):
        rows = range(size) if number % 2 else range(size - 1, -1, -1)
        for y in rows:
            for x in (right, right - 1):
                if not _is_pattern(x, y, size, version):
                    bits += "01"[code[y][x] ^ _is_flipped(mask, y, x)]
    yield from (int(bits[at : at + 8], 2) for at in range(0, len(bits) - 7, 8))


def _is_pattern(x: int, y: int, size: int, version: int) -> bool:
    far = size - 8
    if 6 in (x, y) or (x < 9 and y < 9) or (x >= far and y < 9) or (x < 9 and y >= far):
        return True
    if version >= 7 and ((x >= size - 11 and y < 6) or (y >= size - 11 and x < 6)):
        return True
    near = [(a, b) for a in ALIGNED[version] for b in ALIGNED[version] if abs(a - x) <= 2 and abs(b - y) <= 2]
    corners = {(6, 6), (6, size - 7), (size - 7, 6)}
    return any(place not in corners for place in near)


def _is_flipped(mask: int, i: int, j: int) -> bool:
    """By row and column, in the order of the standard."""
    product = i * j
    return (
        (i + j) % 2,
        i % 2,
        j % 3,
        (i + j) % 3,
        (i // 2 + j // 3) % 2,
        product % 2 + product % 3,
        (product % 2 + product % 3) % 2,
        ((i + j) % 2 + product % 3) % 2,
    )[mask] == 0
