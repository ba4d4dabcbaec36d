"""Secrets in outputs, and in an agent's spool: what is found wherever the bytes are cut, and what opens what."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from server.agent.redaction import MARK, RedactedFile, Redactor
from server.agent.safe import KEY_FILE, Safe
from server.core import agent_wire as wire
from server.core.confidential import Opened
from server.core.model import Specification
from server.errors import Invalid

SECRETS = ["swordfish", "abab", "ababab-x", "line one\nline two"]


def cut(text: bytes, sizes: list[int]) -> list[bytes]:
    found, at = [], 0
    for size in sizes:
        found.append(text[at : at + size])
        at += size
    return [*found, text[at:]]


def redacted(pieces: list[bytes]) -> bytes:
    redactor = Redactor(SECRETS)
    return b"".join(redactor.feed(piece) for piece in pieces) + redactor.rest()


def test_a_secret_is_found_wherever_the_bytes_are_cut() -> None:
    """Every cut of a text into pieces, byte by byte or by chance, gives the same text without it."""
    text = b"-swordfish swordswordfish ababab-x abab ab line one\nline two, line two swordfis"
    want = redacted([text])
    assert want == b"-*** sword*** *** *** ab ***, *** swordfis"
    chance = random.Random(1)
    for _ in range(500):
        sizes = [chance.randint(0, 12) for _ in range(12)]
        assert redacted(cut(text, sizes)) == want, sizes
    assert redacted([bytes([byte]) for byte in text]) == want


def test_what_is_no_beginning_of_a_secret_is_not_held_back() -> None:
    """A prompt without a line end is there at once; what may be a secret comes with what follows."""
    redactor = Redactor(SECRETS)
    assert redactor.feed(b"password? ") == b"password? "
    assert redactor.feed(b"swordf") == b""
    assert redactor.feed(b"ight") == b"swordfight"
    assert Redactor([]).feed(b"all") == b"all"


def test_the_file_has_the_mark_and_the_bound_counts_what_is_kept(tmp_path: Path) -> None:
    """What is on the disk at any time has no secret, and the end that was held back is not lost."""
    output = RedactedFile(tmp_path, 100, hidden=SECRETS)
    output.write(b"a swor")
    assert (tmp_path / "output").read_bytes() == b"a "
    output.write(b"dfish b swor")
    assert (tmp_path / "output").read_bytes() == b"a " + MARK + b" b "
    assert output.finish() == (12, False)
    assert output.finish() == (12, False)
    assert (tmp_path / "output").read_bytes() == b"a *** b swor"


def test_a_spool_without_its_key_opens_nothing(tmp_path: Path) -> None:
    """What is kept of a message shows nothing; the key is the directory's own, made once, 0600, bound to the job."""
    told = Specification(job_id=1, job_name="a", command="true", sealed=text_of({"KEY": "swordfish"}, "swordfish"))
    safe = Safe.open(tmp_path)
    assert (tmp_path / KEY_FILE).stat().st_mode & 0o777 == 0o600
    kept = safe.closed(wire.Dispatch("j1.rx.a1", told)).specification
    assert b"swordfish" not in msgspec.msgpack.encode(kept)
    assert Safe.open(tmp_path).secrets(kept) == Opened({"KEY": "swordfish"}, ("swordfish",))
    for wrong in (Safe(b"k" * 32), safe):
        other = kept if wrong is not safe else msgspec.structs.replace(kept, job_id=2)
        with pytest.raises(Invalid, match=r"spool\.key does not open the secrets of a"):
            wrong.secrets(other)


def text_of(environment: dict[str, str], *hidden: str) -> str:
    return msgspec.json.encode(Opened(environment, hidden)).decode()
