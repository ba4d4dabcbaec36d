"""`understudy scheduler` and `understudy queue`: stop, start, lock, unlock."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, USAGE, CommandError
from scripts.commands.options import Asker, asks_node

reason_option = click.option("--reason", default="", help="Why, for the audit history.")


@click.group()
def scheduler() -> None:
    """The scheduler: whether due times submit runs."""


@scheduler.command()
@reason_option
@asks_node
def start(asker: Asker, reason: str) -> None:
    """Start the scheduler; what was missed follows each job's policy."""
    done = asker.client.post("/api/v1/scheduler/start", {"reason": reason})
    asker.show(done, "The scheduler runs." if done["changed"] else "The scheduler ran already.")


@scheduler.command()
@reason_option
@asks_node
def stop(asker: Asker, reason: str) -> None:
    """Stop the scheduler; due times are recorded as missed."""
    done = asker.client.post("/api/v1/scheduler/stop", {"reason": reason})
    asker.show(done, "The scheduler is stopped." if done["changed"] else "The scheduler was stopped already.")


@scheduler.command()
@asks_node
def status(asker: Asker) -> int:
    """Exit code 0 while it runs, 1 while it is stopped."""
    found = asker.client.get("/api/v1/status")
    running = found.get("scheduler")
    if running is None:
        raise CommandError(FAILED, "this node does not know: ask the master")
    gates = [gate for gate in found.get("gates", ()) if gate["kind"] == "scheduler_stopped"]
    text = "The scheduler runs." if running["running"] else f"The scheduler is stopped by {gates[0]['set_by']}."
    asker.show(running, text)
    return OK if running["running"] else FAILED


@click.group()
def queue() -> None:
    """The agents' job queues: whether new runs begin."""


@queue.command()
@click.argument("agent", required=False)
@click.option("--all", "everything", is_flag=True, help="All queues (also without AGENT).")
@reason_option
@asks_node
def lock(asker: Asker, agent: str | None, everything: bool, reason: str) -> None:
    """Lock all queues, or AGENT's. Running runs go on; new ones wait."""
    _queue(asker, "lock", agent, everything, reason)


@queue.command()
@click.argument("agent", required=False)
@click.option("--all", "everything", is_flag=True, help="All queues (also without AGENT).")
@reason_option
@asks_node
def unlock(asker: Asker, agent: str | None, everything: bool, reason: str) -> None:
    """Unlock all queues, or AGENT's. What waits starts in order."""
    _queue(asker, "unlock", agent, everything, reason)


def _queue(asker: Asker, verb: str, agent: str | None, everything: bool, reason: str) -> None:
    if agent and everything:
        raise CommandError(USAGE, "give AGENT or --all, not both")
    place = f"/api/v1/agents/{quote(agent)}/{verb}" if agent else f"/api/v1/agents/{verb}"
    done: dict[str, Any] = asker.client.post(place, {"reason": reason})
    subject = f"The queue of {agent} is" if agent else "All agent job queues are"
    text = f"{subject} {verb}ed" + ("." if done["changed"] else " already.")
    if done["unacknowledged"]:
        text += f" {done['unacknowledged']} of {done['total']} agents have not acknowledged it yet."
    asker.show(done, text)
