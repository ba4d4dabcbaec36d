"""QR codes: what is drawn is what another program draws, and a phone takes in the address of a second factor."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest

from server.core.qr_code import QUIET, path, squares
from tests.unit.ledger import Ledger
from tests.unit.qr_reader import read
from tests.unit.web_door import PASSWORD, open_door

ADDRESS = "otpauth://totp/Understudy%20c0ffee:anna?secret=JBSWY3DPEHPK3PXP&n=" * 12
FULL = (
    (14, 1, "a79e034f57b427ab40fe3098"),
    (42, 3, "740aca4d383111fea7f09213"),
    (106, 6, "12c9ba7302fda378dc558db6"),
    (213, 10, "f06ad3fc3ba7eaec59c4b574"),
    (331, 13, "4ecb85d94aaf481e16030551"),
    (666, 20, "bf9f884e2b15f6fda89ae88a"),
)
"""Length, version, start of the SHA-256 of all eight masks as segno 1.6.6 draws them. These texts fill their version:
of others that program's filling differs by a byte that readers skip; zxing 3.1 read codes of 96 lengths of ours."""


@pytest.mark.parametrize(("length", "version", "expected"), FULL)
def test_it_is_drawn_as_by_another_program(length: int, version: int, expected: str) -> None:
    """Finder and alignment patterns, error correction of many blocks, versions with and without their own bits."""
    summed = hashlib.sha256()
    for mask in range(8):
        code = squares(ADDRESS[:length], mask)
        assert {len(code), *map(len, code)} == {version * 4 + 17}
        summed.update(b"".join(bytes(map(int, row)) for row in code))
    assert summed.hexdigest()[:24] == expected


def test_a_text_too_long_is_refused() -> None:
    """666 bytes are taken, one more is not."""
    assert len(squares("x" * 666, 0)) == 97
    with pytest.raises(ValueError, match="666"):
        squares("x" * 667)


def test_the_path_draws_each_dark_module() -> None:
    """Put back together from its bars it is the code, with a quiet zone around it."""
    code = squares("HELLO", 3)
    bars = re.findall(r"M(\d+) (\d+)h(\d+)v1h-\d+z", path(code))
    dark = {(int(x) + n - QUIET, int(y) - QUIET) for x, y, length in bars for n in range(int(length))}
    assert dark == {(x, y) for y, row in enumerate(code) for x, one in enumerate(row) if one}


def test_a_picture_is_read_and_a_wrong_module_is_noticed() -> None:
    """By a reader that does not know how it was drawn, whatever the mask; it is what the browser's walk reads with."""
    for length, mask in ((106, 0), (109, 1), (110, 2), (111, 3), (122, 4), (140, 5), (152, 6), (180, 7)):
        code = squares(ADDRESS[:length], mask)
        assert read(code) == ADDRESS[:length]
        code[14][12] = not code[14][12]
        with pytest.raises(AssertionError, match="wrong"):
            read(code)


async def test_the_page_shows_the_address_as_a_picture(tmp_path: Path) -> None:
    """What the camera takes in is the address beside it."""
    async with open_door(Ledger(), tmp_path, {"bob": "user"}) as door:
        _, _, cookie = await door.sign_in("bob")
        again = {"password": PASSWORD}
        answer = await door.ask("POST", "/users/second-factor/begin", again, cookie=cookie, html=True)
        text = await answer.text()
        found = re.search(r'href="(otpauth:[^"]+)"', text)
        assert found is not None
        assert path(squares(found[1].replace("&amp;", "&"))) in text
