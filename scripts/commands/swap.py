"""`understudy swap` and `go-alone`."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, NOT_NOW, OK, TIMED_OUT, UNREACHABLE, CommandError
from scripts.commands.options import Asker, asks_node, confirm

POLL_S = 0.2
WIDTH = 110
GO_ALONE_S = 45.0
GRACE_S = 90.0
"""How long after the hand-off the new master's steps are waited for."""


@click.command()
@click.option("--check", "only_check", is_flag=True, help="Say whether it would be safe now; change nothing.")
@click.option("--abort", is_flag=True, help="Ask the running swap to go back; until the hand-off.")
@click.option("--to", default="", help="Name or id of the node that becomes master (default: the standby).")
@click.option("--timeout", "timeout_s", type=float, default=60.0, help="Seconds until the hand-off, else it is undone.")
@click.option("--yes", is_flag=True, help="Accept what the check lists as acceptable, and do not ask.")
@asks_node
def swap(asker: Asker, only_check: bool, abort: bool, to: str, timeout_s: float, yes: bool) -> int:
    """Exchange the roles of master and standby, each step with its proof.

    Exit code 0 done, 1 not safe or aborted.
    """
    if abort:
        done = asker.client.post("/api/v1/swap/abort", {})
        asker.show(done, f"Swap {done['id']} is asked to go back.")
        return OK
    verdict = asker.client.get(f"/api/v1/swap/check?to={quote(to)}")
    if only_check:
        asker.show(verdict, _verdict_lines(verdict))
        return OK if verdict["safe"] else FAILED
    if not asker.as_json:
        for line in _verdict_lines(verdict):
            click.echo(line)
    confirm(f"Make {verdict['target'] or 'the standby'} master now?", yes)
    started = asker.client.post("/api/v1/swap", {"to": to, "timeout_s": timeout_s, "yes": yes})
    row = _follow(asker, int(started["id"]), timeout_s + GRACE_S)
    if asker.as_json:
        asker.show(row, "")
    else:
        click.echo(row["report"])
    return OK if row["state"] == "done" else FAILED


def _verdict_lines(verdict: dict[str, Any]) -> Iterator[str]:
    yield "Safe." if verdict["safe"] else "Not safe now."
    for reason in verdict["reasons"]:
        mark = "ok  " if reason["ok"] else "yes?" if reason["acceptable"] else "no  "
        yield f"  {mark}  {reason['text']}"
    if verdict["would_lose"]:
        yield f"  Would be lost: {verdict['would_lose']}"


def _follow(asker: Asker, number: int, timeout_s: float) -> dict[str, Any]:
    """Print each step as it is done, on whichever node is asked, until the row is closed.

    This node stands down in the middle: its copy shows the row until the new master's part has come back.
    """
    shown = 0
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        row = _find(asker, number)
        if row is not None:
            shown = _show_steps(asker, row, shown)
            if row["state"] != "running":
                return row
        time.sleep(POLL_S)
    raise CommandError(TIMED_OUT, f"swap {number} has not ended after {timeout_s:.0f} s; look at it on Role Swap")


def _find(asker: Asker, number: int) -> dict[str, Any] | None:
    try:
        history = asker.client.get("/api/v1/swap?limit=10")["history"]
    except CommandError as error:
        if error.exit_code in (NOT_NOW, UNREACHABLE, TIMED_OUT):
            return None
        raise
    return next((row for row in history if row["id"] == number), None)


def _show_steps(asker: Asker, row: dict[str, Any], shown: int) -> int:
    ended = [step for step in row["steps"] if step["state"] in ("done", "failed", "undone")]
    if not asker.as_json:
        for step in ended[shown:]:
            line = f"  {step['state']:<6}  {step['name']}: {step['proof']}"
            click.echo(textwrap.fill(line, WIDTH, subsequent_indent=" " * 12))
    return len(ended)


@click.command("go-alone")
@click.option("--allow-data-loss", is_flag=True, help="Also when witnesses are silent or know a later master.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def go_alone(asker: Asker, allow_data_loss: bool, yes: bool) -> None:
    """Let the master write without its standby: what it answers from now on is on one machine only."""
    confirm("Let this node write without its standby?", yes)
    asker.client.timeout_s = GO_ALONE_S
    done = asker.client.post("/api/v1/go-alone" + ("?allow_data_loss=1" if allow_data_loss else ""))
    alone = "This node is master and writes alone: what it answers from now on is on this machine only."
    asker.show(done, alone if done.get("state") == "ALONE" else done["text"])
