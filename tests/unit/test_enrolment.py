"""What joiners read and refuse before they speak to anybody."""

from __future__ import annotations

import pytest

from server.errors import Invalid
from server.people.passwords import hash_password, verify_password
from server.trust.enrolment import JoinTokenText, split_address

TOKEN = JoinTokenText(["127.0.0.1:8009", "127.0.0.2:8009"], "f" * 64, "id.secret", 1_800_000_000)


def test_a_join_token_is_one_string() -> None:
    """It comes back whole, also with the line breaks that a mail program put in."""
    text = TOKEN.encode()
    assert "=" not in text
    assert JoinTokenText.decode(text) == TOKEN
    assert JoinTokenText.decode(f" {text[:40]}\n{text[40:]} ") == TOKEN


@pytest.mark.parametrize("text", ["", "zzz", TOKEN.encode()[:-3], "e30"])
def test_half_a_token_says_how_to_make_another(text: str) -> None:
    """A cut or foreign string names the command on the master."""
    with pytest.raises(Invalid, match="understudy agent invite"):
        JoinTokenText.decode(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("north", ("north", 8008)),
        ("north:1", ("north", 1)),
        ("[::1]:9", ("::1", 9)),
        ("::1", ("::1", 8008)),
        ("127.0.0.1:8009", ("127.0.0.1", 8009)),
    ],
)
def test_addresses_are_split(text: str, found: tuple[str, int]) -> None:
    """Host alone, with a port, and IPv6 in both forms."""
    assert split_address(text, 8008) == found


@pytest.mark.parametrize("text", ["", ":1", "north:0", "north:70000", "north:x"])
def test_bad_addresses_are_refused(text: str) -> None:
    """No host or no port is an error, not a connection to somewhere."""
    with pytest.raises(Invalid):
        split_address(text, 8008)


def test_passwords_are_argon2id() -> None:
    """Only the password verifies; the string names its algorithm and differs each time."""
    phc = hash_password("correct horse")
    assert phc.startswith("$argon2id$")
    assert phc != hash_password("correct horse")
    assert verify_password("correct horse", phc)
    assert not verify_password("correct hors", phc)
    assert not verify_password("correct horse", "not a hash")
