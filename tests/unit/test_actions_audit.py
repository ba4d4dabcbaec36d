"""No action changes something without an entry in the audit history, by the code itself (SKY-19, UIP-9)."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import server.actions
from tests.unit.test_actions_list import listed

FOLDER = Path(str(server.actions.__file__)).parent
RECORDS = ("change", "record")
UNRECORDED: dict[tuple[str, str], str] = {
    ("exports", "import_all"): "each thing is made by its noun's own action, from a table of them, and that records",
}
"""Actions of people that write no entry, each with the reason."""

Function = tuple[str, str]


@cache
def modules() -> dict[str, ast.Module]:
    """Every file of the actions."""
    return {path.stem: ast.parse(path.read_text(encoding="utf-8")) for path in FOLDER.glob("*.py")}


@cache
def graph() -> dict[Function, set[Function]]:
    """Which function of the actions calls, or hands on, which."""
    found = {}
    for name, tree in modules().items():
        known = dict(_imported(tree))
        own = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.name in own:
                found[name, node.name] = set(_used(node, name, own, known))
    return found


def _imported(tree: ast.Module) -> Iterator[tuple[str, Function]]:
    """(name here, (module, function or "")) of what a file takes from other actions."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("server.actions"):
            module = (node.module or "").removeprefix("server.actions").lstrip(".")
            for alias in node.names:
                yield alias.asname or alias.name, (module, alias.name) if module else (alias.name, "")


def _used(node: ast.FunctionDef, module: str, own: set[str], known: dict[str, Function]) -> Iterator[Function]:
    for part in ast.walk(node):
        if isinstance(part, ast.Attribute) and isinstance(part.value, ast.Name) and part.value.id in known:
            yield known[part.value.id][0], part.attr
        elif isinstance(part, ast.Name) and part.id in known:
            yield known[part.id]
        elif isinstance(part, ast.Name) and part.id in own and part.id != node.name:
            yield module, part.id


def records(start: Function) -> bool:
    """Whether a function, or one that it calls, writes an entry."""
    seen, left = {start}, [start]
    while left:
        for used in graph().get(left.pop(), ()):
            if used == RECORDS:
                return True
            if used not in seen:
                seen.add(used)
                left.append(used)
    return False


ACTIONS = sorted({(module, verb) for module, verb, _ in listed()})


@pytest.mark.parametrize("action", ACTIONS, ids=".".join)
def test_every_action_of_people_is_audited(action: Function) -> None:
    """An action leads to `change.record`, or is listed with the reason; none is listed that does."""
    assert action in graph(), "the list names an action that is no function"
    assert records(action) != (action in UNRECORDED)


def test_an_action_without_an_entry_would_be_found() -> None:
    """The graph does not find an entry everywhere: plain queries and the program's own pruning lead to none."""
    assert not records(("outcomes", "prune"))
    assert not records(("announcements", "role_names"))
    assert records(("announcements", "put"))


def test_the_reasons_are_of_actions_that_there_are() -> None:
    """An exception that no action needs any more is dead."""
    assert set(UNRECORDED) <= set(ACTIONS)
