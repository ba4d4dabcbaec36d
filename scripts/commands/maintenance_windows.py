"""`understudy maintenance window`: maintenance that is planned ahead, once or again and again."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.announcements import instant_us
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table

_W = "/api/v1/maintenance/windows"
_UNITS = {"": 60, "m": 60, "h": 3600, "d": 86400}


@click.group()
def window() -> None:
    """Planned maintenance: announced ahead, switched on and off by itself."""


@window.command("list")
@asks_node
def list_windows(asker: Asker) -> None:
    """What is planned, the next first, and what is over."""
    found = asker.client.get(_W)
    rows = [
        (w["id"], w["state"], instant(w["start_us"]), instant(w["end_us"]), _scope(w), w["expression"], _said(w))
        for w in found
    ]
    head = ("WINDOW", "STATE", "FROM", "UNTIL", "OF", "AGAIN BY", "WHAT")
    asker.show(found, table(rows, head) if rows else "No maintenance is planned.")


@window.command()
@click.option("--start", metavar="TIME", help="When it starts, as 2026-11-22T22:00Z (without a zone: UTC).")
@click.option("--every", metavar="EXPRESSION", default="", help="Or by which expression it comes again: '0 22 * * 7'.")
@click.option("--zone", default="UTC", show_default=True, help="The zone of --every.")
@click.option("--duration", metavar="TIME", default="1h", show_default=True, help="How long: 90m, 2h, 1d.")
@click.option("--lead", metavar="TIME", default="1h", show_default=True, help="From how long before a banner says so.")
@click.option("--title", default="", help="What for; shown in the banner.")
@click.option("--agent", default="", help="Of this agent alone.")
@click.option("--tenant", default="", help="Of this tenant alone.")
@reason_option
@asks_node
def add(asker: Asker, start: str | None, every: str, agent: str, tenant: str, reason: str, **given: str) -> None:
    """Plan a window. When it begins, what runs goes on and what comes waits; at its end it is over by itself."""
    if agent and tenant:
        raise CommandError(USAGE, "give --tenant or --agent, not both")
    body = {
        "title": given["title"],
        "scope": f"agent:{agent}" if agent else f"tenant:{tenant}" if tenant else "",
        "start_us": instant_us(start, "--start") if start else None,
        "expression": every,
        "zone": given["zone"],
        "duration_s": _seconds(given["duration"], "--duration"),
        "lead_s": _seconds(given["lead"], "--lead"),
        "reason": reason,
    }
    made: dict[str, Any] = asker.client.post(_W, body)
    text = f"Window {made['id']} is planned from {instant(made['start_us'])} until {instant(made['end_us'])}."
    asker.show(made, text)


@window.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def remove(asker: Asker, number: int, reason: str) -> None:
    """Plan window NUMBER no longer. A maintenance that it has begun goes on until its end."""
    gone = asker.client.ask("DELETE", f"{_W}/{number}?reason={quote(reason)}").value
    more = " Its maintenance goes on: understudy maintenance off" if gone["state"] == "open" else ""
    asker.show(gone, f"Window {number} is removed.{more}")


def _scope(found: dict[str, Any]) -> str:
    return found["scope"].partition(":")[2] or "everything"


def _said(found: dict[str, Any]) -> str:
    return "; ".join(part for part in (found["title"], found["said"]) if part)


def _seconds(text: str, flag: str) -> int:
    match = re.fullmatch(r"(\d+)([mhd]?)", text)
    if match is None:
        raise CommandError(USAGE, f"{flag} {text}: write 90m, 2h or 1d")
    return int(match[1]) * _UNITS[match[2]]
