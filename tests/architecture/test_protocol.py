"""docs/protocol.md says what the code sends: its tables are compared with the types of the frames."""

from __future__ import annotations

from replication.core import codec, request
from replication.core.messages import PROTOCOL_MAX
from tests.architecture.source import ROOT

PAGE = ROOT / "docs" / "protocol.md"
CONTROL_BELOW = 16


def frame_rows() -> list[str]:
    """A line of the table for each frame: number, name, channel, fields."""
    rows = []
    for number, kind in codec.TYPES.items():
        channel = "control" if number < CONTROL_BELOW else "bulk"
        fields = ", ".join(f"`{name}`" for name in kind.__struct_fields__)
        rows.append(f"| {number} | {kind.__name__} | {channel} | {fields} |")
    return rows


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
    assert PROTOCOL_MAX == 2, "a new protocol version: say in the page what it changed"
