"""`understudy agent drain`, `undrain`: take a machine out of work, and what became of its runs."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, TIMED_OUT, CommandError
from scripts.commands.agents import agent
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table

POLL_S = 0.5
OVER = ("drained", "withdrawn")
MARGIN_S = 60.0
"""What an agent may need beyond the limit: the grace of each run, and its way to the master."""


@agent.command()
@click.argument("name")
@click.option("--time", "time_s", type=int, help="Seconds that runs may go on; at most, and by default, its setting.")
@click.option("--wait", is_flag=True, help="Wait until it is drained; exit code 1 when a run was cut.")
@reason_option
@asks_node
def drain(asker: Asker, name: str, time_s: int | None, wait: bool, reason: str) -> int:
    """Let NAME take no new runs; what runs ends by itself or is cut at the limit."""
    found = asker.client.post(f"/api/v1/agents/{quote(name)}/drain", {"time_s": time_s, "reason": reason})
    if wait:
        found = _await(asker, name, found)
    asker.show(found, lines(found))
    is_clean = not found["counts"].get("cut") and not found["counts"].get("interrupted")
    return OK if is_clean and (not wait or found["state"] == "drained") else FAILED


@agent.command()
@click.argument("name")
@reason_option
@asks_node
def undrain(asker: Asker, name: str, reason: str) -> None:
    """Let NAME work again; what waits starts in order."""
    found = asker.client.post(f"/api/v1/agents/{quote(name)}/undrain", {"reason": reason})
    asker.show(found, f"{name} takes runs again, once it has heard of it.")


def lines(found: dict[str, Any]) -> list[str]:
    """What people read of one drain."""
    name, until = found["agent"], f"what runs may go on for {found['limit_s']} s"
    said = {
        "asked": f"{name} is to be drained: {until}. The agent has not said yet that it heard of it.",
        "draining": f"{name} takes no new runs: {until}, since {instant(found['began_at_us'])}.",
        "drained": f"{name} is drained since {instant(found['ended_at_us'])}: {_counted(found)}.",
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


def _await(asker: Asker, name: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The drain once it is over; `CommandError` 124 well after its limit, e.g. while the agent is unreachable."""
    deadline = time.monotonic() + asked["limit_s"] + MARGIN_S
    while True:
        every: list[dict[str, Any]] = asker.client.get(f"/api/v1/agents/{quote(name)}/drains")
        for found in every:
            if (found["asked_at_us"], found["origin"]) == (asked["asked_at_us"], "request") and found["state"] in OVER:
                return found
        if time.monotonic() > deadline:
            hint = f"it stays asked for; see understudy agent requests {name}"
            raise CommandError(TIMED_OUT, f"{name} is not drained after {asked['limit_s']} s and a minute: {hint}")
        time.sleep(POLL_S)
