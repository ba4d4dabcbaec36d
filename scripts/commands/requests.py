"""`understudy agent requests` and `withdraw`: what agents have not acknowledged, and taking it back."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import CommandError
from scripts.commands.agents import agent
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table

HEAD = ("AGENT", "IT SHALL", "SINCE", "BY", "WAITS BECAUSE", "TAKE BACK")


@agent.command()
@click.argument("name", required=False)
@asks_node
def requests(asker: Asker, name: str | None) -> None:
    """What was asked of NAME, or of all agents, and is not acknowledged."""
    found = _every(asker, name)
    rows = [(one["agent"], one["what"], instant(one["since_us"]), one["by"], _waits(one), _hint(one)) for one in found]
    subject = f"{name} has" if name else "All agents have"
    asker.show(found, table(rows, HEAD) if rows else f"{subject} acknowledged everything.")


def _every(asker: Asker, name: str | None) -> list[dict[str, Any]]:
    if name:
        listed: list[dict[str, Any]] = asker.client.get(f"/api/v1/agents/requests?agent={quote(name)}")["requests"]
        return listed
    found, after = [], ""
    while True:
        page = asker.client.get(f"/api/v1/agents/requests?limit=1000&after={quote(after)}")
        found += page["requests"]
        after = page["more_after"]
        if not after:
            return found


def _waits(one: dict[str, Any]) -> str:
    since = one["unreachable_since_us"]
    return f"{one['waits']} since {instant(since)}" if since else str(one["waits"])


def _hint(one: dict[str, Any]) -> str:
    """What to type to take it back."""
    if not one["can_withdraw"]:
        return "-"
    run = f" {one['run']}" if one["run"] else ""
    return f"agent withdraw {one['agent']} {one['kind']}{run}"


@agent.command()
@click.argument("name")
@click.argument("kind", type=click.Choice(["lock", "drain", "maintain", "cancel", "kill", "suspend"]))
@click.argument("run", type=int, required=False)
@reason_option
@asks_node
def withdraw(asker: Asker, name: str, kind: str, run: int | None, reason: str) -> None:
    """Take back what NAME has not acknowledged: its KIND and, for one that concerns a run, its number."""
    if kind in ("cancel", "kill", "suspend") and run is None:
        raise CommandError(2, f"which run? understudy agent withdraw {name} {kind} RUN")
    wanted = {"kind": kind, "run": run, "reason": reason}
    done = asker.client.post(f"/api/v1/agents/{quote(name)}/requests/withdraw", wanted)
    asker.show(done, f"The request to {name} is withdrawn.")
