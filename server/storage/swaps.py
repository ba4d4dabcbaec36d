"""Role swaps: one row each; at most one is open."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.core.model import Gate, Step, Swap
from server.storage import rows

TAKEOVER = "takeover"
"""The kind of a row that `standby-to-master` left: it has no steps, and a report of what may be lost."""


def get(connection: sqlite3.Connection, swap_id: int) -> Swap | None:
    """The swap with that id."""
    return rows.first(connection, Swap, "FROM swaps WHERE id = ?", (swap_id,))


def open_swap(connection: sqlite3.Connection) -> Swap | None:
    """The swap that is running, if any: whichever node is master finishes it."""
    return rows.first(connection, Swap, "FROM swaps WHERE state = 'running' ORDER BY id DESC LIMIT 1")


def newest(connection: sqlite3.Connection, state: str = "done") -> Swap | None:
    """The last swap in `state`; a takeover is none, since nobody practised it."""
    tail = "FROM swaps WHERE state = ? AND kind <> ? ORDER BY id DESC LIMIT 1"
    return rows.first(connection, Swap, tail, (state, TAKEOVER))


def page(connection: sqlite3.Connection, after: int | None = None, limit: int = 50) -> list[Swap]:
    """Swaps, newest first, going on below id `after`."""
    bound = after if after is not None else 2**62
    return rows.every(connection, Swap, "FROM swaps WHERE id < ? ORDER BY id DESC LIMIT ?", (bound, limit))


def insert(
    connection: sqlite3.Connection,
    requested_by: str,
    now_us: int,
    kind: str,
    from_node: str,
    to_node: str,
    prior_gates: Sequence[Gate],
    steps: Sequence[Step],
    accepted: Sequence[str],
) -> int:
    """Open a swap and return its id."""
    values: dict[str, object] = {
        "requested_by": requested_by,
        "requested_at_us": now_us,
        "kind": kind,
        "from_node": from_node,
        "to_node": to_node,
        "state": "running",
        "prior_gates": list(prior_gates),
        "steps": list(steps),
        "accepted": list(accepted),
    }
    return rows.insert(connection, "swaps", values)


def update(connection: sqlite3.Connection, swap_id: int, **values: object) -> None:
    """Set columns of one swap by name; steps and accepted are lists."""
    rows.update(connection, "swaps", values, {"id": swap_id})
