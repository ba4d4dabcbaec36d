"""What people read of a drain, and of the gate that keeps an agent from new runs."""

from __future__ import annotations

from typing import Any

from scripts.commands.options import instant, table

WORDS = {
    "draining": "it is drained",
    "queue_locked": "its queue is locked",
    "scheduler_stopped": "the scheduler is stopped",
    "maintenance": "maintenance",
    "maintenance_suspended": "maintenance, suspended",
    "swap": "a role swap runs",
}


def gate_line(gate: dict[str, Any]) -> str:
    """Why it takes no new runs, since when, by whom."""
    why = f": {gate['reason']}" if gate["reason"] else ""
    what = WORDS.get(gate["kind"], gate["kind"])
    return f"takes no new runs: {what}, since {instant(gate['set_at_us'])}, by {gate['set_by']}{why}"


def lines(found: dict[str, Any], stands: bool = True) -> list[str]:
    """What people read of one drain. `stands`: it keeps the agent from new runs, also when it is over."""
    name, until = found["agent"], f"what runs may go on for {found['limit_s']} s"
    said = {
        "asked": f"{name} is to be drained: {until}. The agent has not said yet that it heard of it.",
        "draining": f"{name} takes no new runs: {until}, since {instant(found['began_at_us'])}.",
        "drained": f"{name} is drained since {instant(found['ended_at_us'])}: {_counted(found)}."
        if stands
        else f"Its last drain was over at {instant(found['ended_at_us'])}: {_counted(found)}.",
        "withdrawn": f"The drain of {name} was called off at {instant(found['ended_at_us'])}.",
    }
    asked = f"Asked for by {found['asked_by']} at {instant(found['asked_at_us'])}"
    why = f": {found['reason']}" if found["reason"] else "."
    rows = [(one["outcome"], one["job"], one["key"]) for one in found["outcomes"]]
    more = [f"and {found['outcomes_left']} more"] if found["outcomes_left"] else []
    listed = [*table(rows, ("OUTCOME", "JOB", "RUN")), *more] if rows else []
    return [said[found["state"]], asked + why, *listed]


def _counted(found: dict[str, Any]) -> str:
    return ", ".join(f"{number} {word}" for word, number in found["counts"].items()) or "nothing was running"
