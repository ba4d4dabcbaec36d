"""The row of a role swap: whichever node is master goes on from it.

Permissions: swap.run; swap.abort to abort.

`server/office/swap.py` drives it. `begin` keeps the gates that were in force; `finish` restores them exactly.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from server.actions import gates as gate_actions
from server.actions.change import Change, Transaction, record, require
from server.core.gates import QUEUE_LOCKED, SCHEDULER_STOPPED
from server.core.model import Gate, Principal, Step, Swap
from server.errors import Conflict, Invalid, NotFound
from server.storage import gates, nodes, swaps

ENDS = ("done", "aborted", "failed")
TAKEOVER = swaps.TAKEOVER


def begin(
    kind: str,
    from_node: str,
    to_node: str,
    steps: Sequence[str],
    accepted: Sequence[str],
    by: Principal,
    now_us: int,
) -> Change[Swap]:
    """Open a swap. kind: planned | drill. `accepted` names what `--yes` accepts. Conflict while one is open."""
    require(by, "swap.run")

    def change(transaction: Transaction) -> Swap:
        connection = transaction.connection
        other = swaps.open_swap(connection)
        if other is not None:
            raise Conflict(
                f"A swap by {other.requested_by} has been running for a while (number {other.id}). "
                "Wait until it has ended, or abort it first."
            )
        prior = gates.every(connection)
        plan = [Step(name=name) for name in steps]
        swap_id = swaps.insert(connection, by.name, now_us, kind, from_node, to_node, prior, plan, accepted)
        record(connection, by, now_us, "swap.begin", f"swap {swap_id}", from_node, to_node)
        return find(connection, swap_id)

    return change


def update_step(swap_id: int, name: str, state: str, now_us: int, proof: str = "") -> Change[Swap]:
    """Set a step's state and proof: its start when it runs, its end when it is done, failed or undone."""

    def change(transaction: Transaction) -> Swap:
        connection = transaction.connection
        swap = _open(connection, swap_id)
        if name not in [step.name for step in swap.steps]:
            raise NotFound(f"Swap {swap_id} has no step {name}.")
        steps = [_changed(step, state, now_us, proof) if step.name == name else step for step in swap.steps]
        swaps.update(connection, swap_id, steps=steps)
        return find(connection, swap_id)

    return change


def put_steps(swap_id: int, steps: Sequence[Step], now_us: int) -> Change[Swap]:
    """Replace the steps by those that HANDOFF carried from the old side, with their proofs.

    For the new master.
    """

    def change(transaction: Transaction) -> Swap:
        connection = transaction.connection
        _open(connection, swap_id)
        swaps.update(connection, swap_id, steps=list(steps))
        return find(connection, swap_id)

    return change


def request_abort(by: Principal, now_us: int, reason: str = "") -> Change[Swap]:
    """Ask the running swap to go back. The guide obeys before the point of no return. Again is the same."""
    require(by, "swap.abort")

    def change(transaction: Transaction) -> Swap:
        connection = transaction.connection
        swap = swaps.open_swap(connection)
        if swap is None:
            raise Conflict("No swap is running. There is nothing to abort.")
        if not swap.abort_requested_by:
            swaps.update(connection, swap.id, abort_requested_by=by.name)
            record(connection, by, now_us, "swap.request_abort", f"swap {swap.id}", "", "", reason)
        return find(connection, swap.id)

    return change


def finish(swap_id: int, state: str, report: str, by: Principal, now_us: int) -> Change[Swap]:
    """Close a swap as done, aborted or failed, and restore the gates as they were, in one change.

    Again is the same.

    A step that is still running is failed when the swap is not done.
    """
    if state not in ENDS:
        raise Invalid(f"A swap ends as {', '.join(ENDS)}.", field="state")

    def change(transaction: Transaction) -> Swap:
        connection = transaction.connection
        swap = find(connection, swap_id)
        if swap.state != "running":
            return swap
        restore_gates(connection, swap.prior_gates, by.name, now_us)
        steps = [
            _changed(step, "failed", now_us, step.proof) if step.state == "running" and state != "done" else step
            for step in swap.steps
        ]
        swaps.update(connection, swap_id, state=state, ended_at_us=now_us, report=report, steps=steps)
        record(connection, by, now_us, f"swap.{state}", f"swap {swap_id}")
        return find(connection, swap_id)

    return change


def record_takeover(to_node: str, report: str, accepted: Sequence[str], by: Principal, now_us: int) -> Change[None]:
    """A promotion in the history of swaps, with what it was told of loss (BEY-6). Again is the same."""

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        last = swaps.page(connection, None, 1)
        if last and (last[0].kind, last[0].to_node, last[0].report) == (TAKEOVER, to_node, report):
            return
        others = [node.id for node in nodes.page(connection) if node.id != to_node]
        from_node = others[0] if others else ""
        row = swaps.insert(connection, by.name, now_us, TAKEOVER, from_node, to_node, [], [], accepted)
        swaps.update(connection, row, state="done", ended_at_us=now_us, report=report)

    return change


def restore_gates(connection: sqlite3.Connection, prior: Sequence[Gate], by: str, now_us: int) -> bool:
    """Locks and stop as `prior` has them, with who set them, when and why; True when something changed."""
    kinds = (QUEUE_LOCKED, SCHEDULER_STOPPED)
    wanted = {(gate.kind, gate.agent_id): gate for gate in prior if gate.kind in kinds}
    present = {(g.kind, g.agent_id): g for g in gates.every(connection) if g.kind in kinds}
    for place in present.keys() - wanted.keys():
        gate_actions.lift(connection, present[place], by, now_us)
    for place in wanted.keys() - present.keys():
        gate_actions.restore(connection, wanted[place], by, now_us)
    return present.keys() != wanted.keys()


def find(connection: sqlite3.Connection, swap_id: int) -> Swap:
    """The swap with that number; raises NotFound."""
    swap = swaps.get(connection, swap_id)
    if swap is None:
        raise NotFound(f"There is no swap {swap_id}. Role Swap lists them.")
    return swap


def _open(connection: sqlite3.Connection, swap_id: int) -> Swap:
    swap = find(connection, swap_id)
    if swap.state != "running":
        raise Conflict(f"Swap {swap_id} is {swap.state} already.")
    return swap


def _changed(step: Step, state: str, now_us: int, proof: str) -> Step:
    started = step.started_at_us if step.started_at_us is not None or state == "waiting" else now_us
    ended = now_us if state in ("done", "failed", "undone") else None
    return Step(name=step.name, state=state, started_at_us=started, ended_at_us=ended, proof=proof or step.proof)
