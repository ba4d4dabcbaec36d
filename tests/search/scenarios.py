"""The searches that CI runs, and deeper ones for `./scripts/soak search`. Together they take every row of the table.

Each has another part of the world in its finest grain; `everything` has all of it at once, up to a bound of states.
"""

from __future__ import annotations

from dataclasses import replace

from replication.core.types import Mode
from tests.search.bounds import ALL_WORDS, Bounds

WITHOUT_FORCE = ALL_WORDS - {"force", "insist"}

TWO_MASTERS = (
    ("say", 1, "force"), ("ask", 0, 0), ("ask", 0, 0), ("crash", 0, 1), ("start", 0), ("hello", 0), ("say", 0, "alone"),
    ("ask", 0, 1), ("ask", 0, 1), ("obey", 0),
)  # fmt: skip
"""B was promoted by force while the witness was silent; A came back and went alone in its number; the agent obeys A."""

SCENARIOS: tuple[Bounds, ...] = (
    Bounds(
        "everything",
        left={"writes": 3, "crashes": 2, "operations": 2, "again": 1, "cuts": 1, "losses": 1, "repeats": 1,
              "reorders": 1, "delays": 1, "silences": 1},
        mode=Mode.AVAILABLE, dying=True, states_max=60_000,
    ),
    Bounds(
        "three witnesses", 3,
        {"writes": 3, "crashes": 2, "operations": 2, "again": 1, "cuts": 1, "losses": 1, "repeats": 1, "reorders": 1,
         "silences": 2},
        states_max=40_000,
    ),
    Bounds("an operator's words", left={"writes": 2, "operations": 3, "again": 1, "cuts": 1}, states_max=40_000),
    Bounds(
        "a lost standby", left={"writes": 2, "operations": 1, "again": 1, "cuts": 3, "crashes": 1}, mode=Mode.AVAILABLE,
        states_max=30_000,
    ),
    Bounds(
        "every step alone",
        left={"writes": 2, "operations": 1, "cuts": 1, "crashes": 1, "again": 1},
        eager=False, solid=False, prompt=False, late=True, states_max=40_000,
    ),
    Bounds(
        "a hand-off over a bad wire",
        left={"writes": 1, "operations": 2, "crashes": 1, "losses": 2, "repeats": 2, "reorders": 2, "again": 1},
        words=frozenset({"swap", "abort"}), dying=True, states_max=30_000,
    ),
    Bounds("a fence", left={"writes": 1, "operations": 2, "cuts": 1, "crashes": 1}, fence=True, agent=False,
           words=frozenset({"promote", "force"}), states_max=15_000),
    Bounds("a number that agents refuse", left={"operations": 2, "crashes": 1, "silences": 2, "again": 1},
           words=frozenset({"force@1", "alone@0"}), crashing=(0,), states_max=30_000),
    Bounds("two masters in one number", left={"writes": 1, "again": 2, "silences": 1, "cuts": 1}, story=TWO_MASTERS,
           words=frozenset(), crashing=(), states_max=30_000),
    Bounds("founding", left={"writes": 1, "operations": 1, "crashes": 2}, founding=True, words=WITHOUT_FORCE,
           states_max=20_000),
)  # fmt: skip


def deep(bounds: Bounds, states: int) -> Bounds:
    """The same with one more of what may go wrong, up to so many states."""
    more = {name: count + (name in ("operations", "crashes", "cuts")) for name, count in bounds.left.items()}
    return replace(bounds, left=more, states_max=states)
