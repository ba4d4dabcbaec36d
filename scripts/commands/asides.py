"""`understudy scheduler aside`: what a defect kept the scheduler from doing."""

from __future__ import annotations

import click

from scripts.commands.gates import reason_option, scheduler
from scripts.commands.options import Asker, asks_node, instant, table


@scheduler.group()
def aside() -> None:
    """What a defect kept it from doing: everything else goes on."""


@aside.command("list")
@asks_node
def list_asides(asker: Asker) -> None:
    """What was put aside, the oldest first, with the error."""
    found = list(asker.client.pages("/api/v1/scheduler/aside", "id"))
    rows = [(str(a["id"]), instant(a["aside_at_us"]), a["job"], a["text"], a["error"]) for a in found]
    empty = "Nothing is put aside."
    asker.show(found, table(rows, ("ID", "SINCE", "JOB", "WHAT DOES NOT HAPPEN", "ERROR")) if rows else empty)


@aside.command()
@click.argument("id", type=int)
@asks_node
def retry(asker: Asker, id: int) -> None:
    """Have one done again, by its ID. What fails again is listed again."""
    done = asker.client.post(f"/api/v1/scheduler/aside/{id}/retry")
    asker.show(done, f"It is tried again: {done['text']}. If it fails, it is listed again.")


@aside.command()
@click.argument("id", type=int)
@reason_option
@asks_node
def dismiss(asker: Asker, id: int, reason: str) -> None:
    """Do not do it; only where the next one of its kind is done all the same."""
    done = asker.client.post(f"/api/v1/scheduler/aside/{id}/dismiss", {"reason": reason})
    asker.show(done, f"It is dismissed: {done['dismissed']}.")
