"""`understudy agent drain`, `undrain`: take a machine out of work, and what became of its runs."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, TIMED_OUT, CommandError
from scripts.commands.agents import agent
from scripts.commands.drain_text import lines
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node

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


@agent.command()
@click.argument("name")
@click.argument("phase", type=click.Choice(["draining", "suspended", "off"]))
@click.option("--kill", is_flag=True, help="Kill what runs there; without it, it goes on to its end.")
@reason_option
@asks_node
def maintenance(asker: Asker, name: str, phase: str, kill: bool, reason: str) -> None:
    """Keep NAME from new runs: what falls due waits (draining) or is missed (suspended). What runs goes on."""
    body = {"phase": phase, "kill": kill, "reason": reason}
    done = asker.client.post(f"/api/v1/agents/{quote(name)}/maintenance", body)
    now = "ended" if phase == "off" else phase
    asker.show(done, f"The maintenance of {name} is {now}" + ("." if done["changed"] else " already."))


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
