"""`understudy missed`: the ledger of what did not start."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table


@click.group()
def missed() -> None:
    """Occurrences that did not start, each with its cause: run them now, or dismiss them."""


def _filter(function: Any) -> Any:
    cause = click.option("--cause", default="", help="Only these, as the list says it: 'scheduler stopped'.")
    return click.option("--job", default="", help="Only those of a job.")(cause(function))


@missed.command("list")
@_filter
@click.option("--all", "everything", is_flag=True, help="Also what is run, dismissed or closed by a policy.")
@asks_node
def list_missed(asker: Asker, job: str, cause: str, everything: bool) -> None:
    """What waits for a decision, newest first."""
    path = f"/api/v1/missed?job={quote(job)}&cause={quote(cause)}" + ("&all=1" if everything else "")
    found = list(asker.client.pages(path, "id"))
    rows = [
        (str(m["id"]), m["job"], instant(m["scheduled_for_us"]), m["cause"], _resolution(m) if everything else "")
        for m in found
    ]
    asker.show(found, table(rows, ("ID", "JOB", "WAS DUE", "CAUSE", "")) if rows else "Nothing is missed.")


@missed.command()
@click.argument("id", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All that wait, or all that the filter names.")
@_filter
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def run(asker: Asker, id: int | None, everything: bool, job: str, cause: str, yes: bool) -> None:
    """Run one now, by its ID, or with --all the oldest first."""
    if _one(id, everything, job, cause):
        made = asker.client.post(f"/api/v1/missed/{id}/run")
        why = f" ({made['reason']})" if made["reason"] else ""
        asker.show(made, f"Run {made['run']} is {made['state']}{why}.")
        return
    confirm("Run all that was missed" + _words(job, cause) + "?", yes)
    done = _all(asker, "run", {"job": job, "cause": cause})
    left = f" {done['remaining']} are left: run these by their ID." if done["remaining"] else ""
    asker.show(done, f"{done['resolved']} are run.{left}")


@missed.command()
@click.argument("id", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All that wait, or all that the filter names.")
@_filter
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def dismiss(asker: Asker, id: int | None, everything: bool, job: str, cause: str, reason: str, yes: bool) -> None:
    """Let one be, by its ID, or all: nothing is run, the ledger keeps them."""
    if _one(id, everything, job, cause):
        done = asker.client.post(f"/api/v1/missed/{id}/dismiss", {"reason": reason})
        asker.show(done, f"{id} is dismissed.")
        return
    confirm("Dismiss all that was missed" + _words(job, cause) + "?", yes)
    done = _all(asker, "dismiss", {"job": job, "cause": cause, "reason": reason})
    asker.show(done, f"{done['resolved']} are dismissed.")


def _one(number: int | None, everything: bool, job: str, cause: str) -> bool:
    """Whether one is meant. Refuses what says both or nothing."""
    if (number is None) != everything or (number is not None and (job or cause)):
        raise CommandError(USAGE, "give the ID of one (understudy missed list), or --all, with --job or --cause")
    return number is not None


def _all(asker: Asker, what: str, chosen: dict[str, str]) -> dict[str, int]:
    resolved = after = 0
    while True:
        done = asker.client.post(f"/api/v1/missed/{what}", {**chosen, "after": after})
        resolved, after = resolved + done["resolved"], done["after"]
        if not after:
            return {"resolved": resolved, "remaining": done["remaining"]}


def _words(job: str, cause: str) -> str:
    return (f" of {job}" if job else "") + (f" with the cause {cause}" if cause else "")


def _resolution(line: dict[str, Any]) -> str:
    return f"{line['resolution']} by {line['resolved_by']}" if line["resolution"] else "open"
