"""What a job shares with others by name: an agent environment, a command set, tags. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

import msgspec

TAGS_MAX = 20
_TAG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,49}\Z")


class Uses(msgspec.Struct, frozen=True, kw_only=True):
    """An agent environment and a command set by name; "" for none."""

    environment: str = ""
    command_set: str = ""


def wrong_tags(tags: Sequence[str]) -> dict[str, str]:
    """What is wrong, by field."""
    if len(tags) > TAGS_MAX or not all(_TAG.match(tag) for tag in tags):
        return {"tags": f"at most {TAGS_MAX}, each of up to 50 letters, digits, . _ : -"}
    return {}
