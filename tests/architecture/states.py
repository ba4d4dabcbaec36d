"""docs/states.md, made from the tables of roles and runs: `python -m tests.architecture.states` writes it again."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from replication.core import roles
from replication.core.types import State
from server.core import run_states

PAGE = Path(__file__).resolve().parents[2] / "docs" / "states.md"
HEAD = """# States

Made from `replication/core/roles.py` and `server/core/run_states.py` by `python -m tests.architecture.states`; a test
compares. The numbers of the roles' rows stand in the log: look a number up here.
"""


def table(header: str, rows: Iterable[tuple[str, ...]]) -> str:
    """A Markdown table; `header` has its columns separated by |."""
    columns = header.count("|") + 1
    lines = [f"| {header} |", "|" + "---|" * columns, *("| " + " | ".join(row) + " |" for row in rows)]
    return "\n".join(lines) + "\n"


def diagram(arrows: Iterable[tuple[str, str]]) -> str:
    """A state diagram; each arrow once, arrows to the same state left out."""
    kept = dict.fromkeys(arrow for arrow in arrows if arrow[0] != arrow[1])
    lines = ["```mermaid", "stateDiagram-v2", *(f"    {a} --> {b}" for a, b in kept), "```"]
    return "\n".join(lines) + "\n"


def states_of(row: roles.Row) -> str:
    """The states in which a row is tried; "any" for all of them."""
    return "any" if set(row.states) == set(State) else " ".join(row.states)


def node_page() -> str:
    """The states of a node: what leads where, and each row of the table."""
    arrows = [(a, b) for row in roles.TABLE if (b := row.next) and len(row.states) < len(State) for a in row.states]
    rows = [
        (str(row.number), states_of(row), row.event.__name__, row.guard.__name__, row.next or "", row.sentence)
        for row in roles.TABLE
    ]
    words = f"A node is in one of {len(State)} states: {', '.join(State)}.\n"
    header = "row | in | when | if | becomes | what people read"
    return "\n".join(["## Nodes\n", words, diagram(arrows), table(header, rows)])


def run_page() -> str:
    """The states of a run."""
    rules = run_states.TABLE
    rows = [(rule.state, rule.event, rule.next, rule.sentence) for rule in rules]
    ended = ", ".join(state for state in run_states.RunState if state in run_states.ENDED)
    words = f"A run that is one of {ended} has ended and never changes again.\n"
    arrows = diagram((rule.state, rule.next) for rule in rules)
    return "\n".join(["## Runs\n", words, arrows, table("in | when | becomes | what people read", rows)])


def page() -> str:
    """The whole page as it must be."""
    return "\n".join([HEAD, node_page(), run_page()])


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
