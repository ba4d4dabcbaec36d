"""What a step tells those after it: lines KEY=value in the file that UNDERSTUDY_OUTPUTS names. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

OUTPUTS_VARIABLE = "UNDERSTUDY_OUTPUTS"
OUTPUTS_FILE = "outputs"
OUTPUTS_BYTES_MAX = 64 * 1024
"""Of one run: what is behind this is not kept."""
GIVEN_BYTES_MAX = 256 * 1024
"""Of the outputs that one step is given: a program's environment is bounded by the system."""
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}\Z")
RESERVED = "UNDERSTUDY_"


def parse(data: bytes) -> dict[str, str]:
    """The outputs of a file; the last line of a name counts.

    Lines without `=`, with a name that no variable can have, with one of the product's own, or that are not UTF-8, are
    left out; so is a line that the bound cuts.
    """
    kept = data[:OUTPUTS_BYTES_MAX]
    if len(data) > OUTPUTS_BYTES_MAX:
        kept = kept[: kept.rfind(b"\n") + 1]
    found: dict[str, str] = {}
    for line in kept.split(b"\n"):
        try:
            name, is_there, value = line.decode("utf-8").partition("=")
        except UnicodeDecodeError:
            continue
        if is_there and _NAME.match(name) and not name.startswith(RESERVED) and "\0" not in value:
            found[name] = value
    return found


def of_item(outputs: Mapping[str, str], item: int, is_fanned_out: bool) -> dict[str, str]:
    """As later steps get it: of a step with `for_each` each name ends with the number of its item, from 0."""
    return {f"{name}_{item}": value for name, value in outputs.items()} if is_fanned_out else dict(outputs)


def size(outputs: Iterable[tuple[str, str]]) -> int:
    """Bytes that they take in an environment."""
    return sum(len(name.encode()) + len(value.encode()) + 2 for name, value in outputs)
