"""The list of actions in `server.actions` is the code's own list."""

from __future__ import annotations

import importlib
import re

import pytest

import server.actions
from server.core.access import PERMISSIONS

LINE = re.compile(r"^    (?P<module>\w+)?\s{2,}(?P<verbs>[a-z_ ]+?)\s{2,}(?P<permissions>.+)$")


def listed() -> list[tuple[str, str, list[str]]]:
    """(module, verb, permissions) of every line of the docstring."""
    found, module = [], ""
    for line in (server.actions.__doc__ or "").splitlines():
        match = LINE.match(line)
        if match:
            module = match["module"] or module
            permissions = re.findall(r"[a-z]+\.[a-z]+", match["permissions"])
            found += [(module, verb, permissions) for verb in match["verbs"].split()]
    return found


def test_the_list_is_read() -> None:
    """The pattern finds the lines: some thirty actions."""
    assert len(listed()) > 30


@pytest.mark.parametrize(("module", "verb", "permissions"), listed())
def test_a_listed_action_exists_with_its_permission(module: str, verb: str, permissions: list[str]) -> None:
    """Each listed action is a function whose module asks for the permission that the list names."""
    actions = importlib.import_module(f"server.actions.{module}")
    assert callable(getattr(actions, verb))
    assert actions.__file__ is not None
    with open(actions.__file__, encoding="utf-8") as source:
        text = source.read()
    for permission in permissions:
        assert permission in PERMISSIONS
        if permission != "sessions.own":
            assert f'"{permission}"' in text
