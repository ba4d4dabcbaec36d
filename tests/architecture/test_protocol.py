"""docs/protocol.md says what the code sends: its tables are compared with the code, its sections with who cites them.

Protocol: docs/protocol.md, sections 1, 6 and 9.
"""

from __future__ import annotations

import importlib
import re

from replication.core import codec, compression, request
from replication.core.messages import PROTOCOL_MAX
from replication.segments import HEADER_BYTES, MARKER
from server.core import agent_wire
from tests.architecture.source import ROOT

PAGE = ROOT / "docs" / "protocol.md"
CONTROL_BELOW = 16
CITATION = re.compile(r"docs/protocol\.md, sections? (\d[\d.]*(?:(?:, | and )\d[\d.]*)*)")
UNITS = {"s": 1, "MiB": 2**20, "KiB": 2**10}


def frame_rows() -> list[str]:
    """A line of the table for each frame: number, name, channel, fields."""
    rows = []
    for number, kind in codec.TYPES.items():
        channel = "control" if number < CONTROL_BELOW else "bulk"
        fields = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        rows.append(f"| {number} | {kind.__name__} | {channel} | {fields} |")
    return rows


def cited(*folders: str) -> dict[str, list[str]]:
    """Which files of these folders cite which section."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            for match in CITATION.finditer(" ".join(path.read_text(encoding="utf-8").split())):
                for number in re.findall(r"\d+(?:\.\d+)?", match[1]):
                    found.setdefault(number, []).append(str(path.relative_to(ROOT)))
    return found


def sections() -> set[str]:
    """The numbers of the page's headings."""
    return set(re.findall(r"^##+ (\d+(?:\.\d+)?)\.? ", PAGE.read_text(encoding="utf-8"), re.M))


def test_each_frame_is_documented_with_its_fields_in_order() -> None:
    """The page has exactly the frames of the code, field by field: their order is the format."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index("| type | name | channel | fields |") + 2
    end = lines.index("", start)
    assert lines[start:end] == frame_rows()


def test_sizes_and_kinds_are_those_of_the_code() -> None:
    """Header sizes, the frame limit, the kinds of requests and the number of Requests stand in the page."""
    text = PAGE.read_text(encoding="utf-8")
    kinds = ", ".join(f"{kind.value} {kind.name}" for kind in request.Kind)
    assert f"| 33 | 1 | kind: {kinds} |" in text
    assert f"| {codec.HEADER.size} | length | body |" in text
    assert f"| {request.HEADER_BYTES} | length | head, msgpack" in text
    assert f"at most {codec.FRAME_BYTES_MAX // 2**20} MiB" in text
    assert f"above {codec.PART_BYTES // 2**20} MiB travels in parts" in text
    assert f"Requests ({codec.REQUESTS}) has no msgpack" in text
    assert f"flags: {codec.MORE} MORE" in text
    assert f"{codec.COMPRESSED} COMPRESSED" in text
    assert f"larger than {compression.SMALL_BYTES} bytes" in text
    assert 2**compression.WINDOW_LOG_MAX == codec.FRAME_BYTES_MAX
    assert f"a header of {HEADER_BYTES} bytes" in text
    assert f"marker `{MARKER.hex(' ').upper()}`" in text
    assert PROTOCOL_MAX == 2, "a new protocol version: say in the page what it changed"


def test_limits_and_times_are_those_of_the_code() -> None:
    """Each row of section 9 names a constant and says its value."""
    rows = re.findall(r"^\| [^|]+ \| `([\w.]+)\.(\w+)` \| ([\d.]+)(?: to ([\d.]+))? (\w+) \|$", PAGE.read_text(), re.M)
    assert len(rows) > 10
    for module, name, low, high, unit in rows:
        value = getattr(importlib.import_module(f"replication.{module}"), name)
        said = tuple(float(part) * UNITS[unit] for part in (low, high) if part)
        assert said == (value if isinstance(value, tuple) else (value,)), f"{module}.{name} is {value}"


def test_questions_to_a_witness_are_those_of_the_code() -> None:
    """Section 6 names their fields in order."""
    text = PAGE.read_text(encoding="utf-8")
    for kind in (agent_wire.AskGrant, agent_wire.AskAlone):
        fields = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        assert f"| {kind.__name__} | {fields} |" in text
    said = text[text.index("WitnessSays: ") :].split("A decision needs")[0]
    assert re.findall(r"`(\w+)`", said) == list(agent_wire.WitnessSays.__struct_fields__)


def test_every_cited_section_exists_and_every_section_is_cited() -> None:
    """Code cites all of them, and each part of the page is cited by a test that proves it."""
    code, proofs = cited("replication", "server", "scripts"), cited("tests")
    unknown = {number: files for number, files in {**code, **proofs}.items() if number not in sections()}
    assert not unknown, f"cited, and not in docs/protocol.md: {unknown}"
    assert sections() - set(code) == set(), "no code cites these sections of docs/protocol.md"
    parts = {number.split(".")[0] for number in proofs}
    assert {number for number in sections() if "." not in number} - parts == set(), "no test cites these sections"
