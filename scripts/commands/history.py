"""`understudy history`: completions that no known run explains: list, show, adopt."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.commands.forks import size
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table


@click.group()
def history() -> None:
    """Server History: runs that an agent completed and no run here explains, and runs adopted from forks."""


@history.command("list")
@click.option("--match", default="", help="A part of the job's name or of the key.")
@click.option("--open", "only_open", is_flag=True, help="Only what is not in Job History yet.")
@click.option("--limit", default=30, help="How many.")
@asks_node
def list_history(asker: Asker, match: str, only_open: bool, limit: int) -> None:
    """Entries, the newest first."""
    where = f"/api/v1/server-history?match={quote(match)}&open={int(only_open)}&limit={limit}"
    found = asker.client.get(where)
    rows = [
        (e["id"], e["job_name"] or "unknown", e["run_key"], _result(e), instant(e["ended_at_us"]), _adopted(e))
        for e in found
    ]
    head = ("ENTRY", "JOB", "KEY", "RESULT", "ENDED", "JOB HISTORY")
    empty = "Server History is empty, as it should be: every completion matched a run."
    asker.show(found, table(rows, head) if rows else empty)


@history.command()
@click.argument("entry", type=int)
@click.option("--output", "only_output", is_flag=True, help="Print only what the run printed.")
@asks_node
def show(asker: Asker, entry: int, only_output: bool) -> None:
    """One entry with its output, and what can be done with it."""
    found = asker.client.get(f"/api/v1/server-history/{entry}")
    asker.show(found, found["output"] if only_output else list(_facts(found)))


def _facts(entry: dict[str, Any]) -> list[str]:
    lines = [
        f"Entry {entry['id']}: {entry['job_name'] or 'a job that is not known'}, key {entry['run_key']}",
        f"why it is here: {entry['why']}",
        f"result: {_result(entry)}, started {instant(entry['started_at_us'])}, ended {instant(entry['ended_at_us'])}",
    ]
    if entry["adopted_run"]:
        lines.append(f"in Job History as {entry['adopted_run']}, adopted by {entry['adopted_by']}")
    else:
        lines.append(f"to have it in Job History: understudy history adopt {entry['id']} [--job NAME]")
    cut = ", more was printed than is kept" if entry["output_cut"] else ""
    printed = entry["output"]
    return [*lines, f"output ({size(len(printed.encode()))}{cut}):", printed] if printed else [*lines, "no output"]


def _result(entry: dict[str, Any]) -> str:
    if not entry["ended_at_us"]:
        return "not known yet"
    code, signal = entry["exit_code"], entry["signal"]
    said = f"exit code {code}" if code is not None else f"signal {signal}" if signal is not None else ""
    state = entry["state"] or ("interrupted" if not said else "")
    return ", ".join(part for part in (state, said) if part)


def _adopted(entry: dict[str, Any]) -> str:
    return f"as {entry['adopted_run']}" if entry["adopted_run"] else "no"


@history.command()
@click.argument("entry", type=int)
@click.option("--job", default="", help="The job that it shall belong to, when its name or key means none.")
@reason_option
@asks_node
def adopt(asker: Asker, entry: int, job: str, reason: str) -> None:
    """Put an entry into Job History, as a run of its job: with output and times, never run by that."""
    done = asker.client.post(f"/api/v1/server-history/{entry}/adopt", {"job": job, "reason": reason})
    made = "is now" if done["made"] else "was already"
    asker.show(done, f"Entry {entry} {made} run {done['run']} of {done['job']} in Job History.")
