"""Whose database a release can open (docs/protocol.md, section 7). Pure.

Migrations only add, so a release opens what the release after it wrote, and no newer one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SchemaRange:
    """Of one release: it brings a database to schema `latest`, and opens one of schema `highest` or lower."""

    latest: int = 1
    highest: int = 1


UNKNOWN = SchemaRange()
"""What a release is taken for that says nothing of it."""


def cannot_open(release: str, highest: int, schema: int, who: str = "that node") -> str:
    """Why `who`, whose release opens schema `highest`, cannot take over a database of `schema`, or "". 0 is unknown."""
    if schema <= highest:
        return ""
    return (
        f"Release {release} opens databases up to schema {highest}, and this one has schema {schema}: {who} cannot "
        "take over. Install the master's release on it and start it again."
    )
