"""`understudy run`: start, watch, read, end."""

from __future__ import annotations

import sys
import time
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, TIMED_OUT, USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table

ENDED = frozenset({"succeeded", "failed", "cancelled", "killed", "interrupted", "missed", "skipped"})
POLL_S = 0.3
APPLIED_S = 5.0


@click.group()
def run() -> None:
    """Runs: one execution of a job each."""


@run.command()
@click.argument("job")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit code 1 unless it succeeded.")
@click.option("--follow", is_flag=True, help="Show its output meanwhile; implies --wait.")
@click.option("--timeout", "timeout_s", type=float, default=0.0, help="Wait at most so many seconds.")
@click.option("--instance", default="", help="As this special instance of the job.")
@click.option("--after-window", is_flag=True, help="If it would reach into a planned maintenance, begin at its end.")
@asks_node
def now(asker: Asker, job: str, wait: bool, follow: bool, timeout_s: float, instance: str, after_window: bool) -> int:
    """Run JOB now."""
    body: dict[str, Any] = {"instance": instance} if instance else {}
    body |= {"after_window": True} if after_window else {}
    started = asker.client.post(f"/api/v1/jobs/{quote(job)}/run", body or None)
    for warning in started.get("warnings", []):
        click.echo(f"Warning: {warning} Or let it wait: --after-window", err=True)
    if not (wait or follow):
        why = f" ({started['reason']})" if started["reason"] else ""
        asker.show(started | {"exit_code": None}, f"Run {started['run']} is {started['state']}{why}.")
        return OK
    found = await_end(asker, int(started["run"]), follow, timeout_s)
    answer = {
        "run": found["number"],
        "key": found["key"],
        "state": found["state"],
        "exit_code": found["exit_code"],
        "agent": found["agent"],
        "started": found["started_at_us"],
        "ended": found["ended_at_us"],
    }
    ended = f", exit code {found['exit_code']}, on {found['agent']}" if found["exit_code"] is not None else ""
    why = f": {found['reason']}" if found["reason"] else ""
    asker.show(answer, f"Run {found['number']} {found['state']}{ended}{why}.")
    return OK if found["state"] == "succeeded" else FAILED


def await_end(asker: Asker, number: int, follow: bool, timeout_s: float) -> dict[str, Any]:
    """The run once it has ended; raises `CommandError` 124 after `timeout_s` (0: never)."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    shown = 0
    while True:
        found = _applied(asker, number)
        if follow:
            shown = _show_more(asker, number, shown)
        if found["state"] in ENDED:
            return found
        if deadline is not None and time.monotonic() > deadline:
            raise CommandError(TIMED_OUT, f"run {number} is {found['state']} {found['reason']} after {timeout_s:g} s")
        time.sleep(POLL_S)


def _applied(asker: Asker, number: int) -> dict[str, Any]:
    """A run that was submitted before. The node that answers may be the standby by now, and apply it soon."""
    end = time.monotonic() + APPLIED_S
    while True:
        try:
            found: dict[str, Any] = asker.client.get(f"/api/v1/runs/{number}")
            return found
        except CommandError as error:
            if error.problem.get("code") != "not_found" or time.monotonic() > end:
                raise
        time.sleep(POLL_S)


def _show_more(asker: Asker, number: int, shown: int) -> int:
    """Print what is new of the output, on standard error with --json; how much was shown."""
    output = _output(asker, number)
    stream = sys.stderr if asker.as_json else sys.stdout
    stream.write(output[shown:].decode(errors="replace"))
    stream.flush()
    return len(output)


def _output(asker: Asker, number: int, attempt: int = 0) -> bytes:
    query = f"?attempt={attempt}" if attempt else ""
    value = asker.client.ask("GET", f"/api/v1/runs/{number}/output{query}").value
    return value if isinstance(value, bytes) else str(value).encode()


@run.command("list")
@click.option("--job", default="", help="Of this job.")
@click.option("--state", default="", help="In this state.")
@click.option("--limit", default=30, help="How many.")
@asks_node
def list_runs(asker: Asker, job: str, state: str, limit: int) -> None:
    """Runs, newest first. With --state unknown also the occurrences that a silent agent may have started."""
    found = asker.client.get(f"/api/v1/runs?job={quote(job)}&state={quote(state)}&limit={limit}")
    unknown = asker.client.get(f"/api/v1/unknown?job={quote(job)}")["occurrences"] if state == "unknown" else []
    rows = [
        (r["number"], r["job"], r["agent"], r["state"], r["reason"], instant(r["started_at_us"]), r["exit_code"])
        for r in found
    ]
    shown = table(rows, ("RUN", "JOB", "AGENT", "STATE", "WHY", "STARTED", "EXIT"))
    asker.show([*found, *_occurrences(unknown)], [*shown, *_unknown(unknown)])


def _occurrences(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Unknown occurrences for programs: like runs that have a key and no number."""
    return [
        {"number": None, "key": key, "job": line["job"], "agent": line["agent"], "state": "unknown"}
        for line in found
        for key in line["keys"]
    ]


def _unknown(found: list[dict[str, Any]]) -> list[str]:
    """Occurrences that have no run: as many lines as there are schedules, and keys that `run rerun` takes."""
    lines = []
    for line in found:
        way = "nobody can answer any more" if line["dead"] else f"silent since {instant(line['silent_since_us'])}"
        span = f"due {instant(line['first_us'])} to {instant(line['last_us'])}"
        lines.append(f"{line['count']} occurrences of {line['job']} at {line['agent']} are unknown, {span}; {way}")
        lines += [f"  {key}" for key in line["keys"]] if line["dead"] else [f"  first: {line['keys'][0]}"]
    return lines


@run.command()
@click.argument("number", type=int)
@asks_node
def show(asker: Asker, number: int) -> None:
    """One run."""
    found = asker.client.get(f"/api/v1/runs/{number}")
    asker.show(found, lines_of(found))


def lines_of(found: dict[str, Any]) -> list[str]:
    """What is known of a run, a line each; `-` for what there is not."""
    return [f"{key}: {'-' if value is None or value == '' else value}" for key, value in found.items()]


@run.command()
@click.argument("number", type=int)
@click.option("--follow", is_flag=True, help="Go on until it has ended.")
@click.option("--attempt", type=click.IntRange(1), help="What attempt N of the same run printed: 1 is the first.")
@asks_node
def output(asker: Asker, number: int, follow: bool, attempt: int | None) -> None:
    """What a run printed: the attempt that has this number, or another one of it."""
    if follow and attempt:
        raise CommandError(USAGE, "--follow goes on with this run: leave --attempt out, or name the attempt's own run")
    if follow:
        await_end(asker, number, True, 0.0)
    else:
        sys.stdout.buffer.write(_output(asker, number, attempt or 0))


@run.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def cancel(asker: Asker, number: int, reason: str) -> None:
    """End a run: SIGTERM first."""
    _end(asker, number, "cancel", reason)


@run.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def kill(asker: Asker, number: int, reason: str) -> None:
    """Kill a run's processes."""
    _end(asker, number, "kill", reason)


@run.command()
@click.argument("run")
@reason_option
@asks_node
def rerun(asker: Asker, run: str, reason: str) -> None:
    """Submit the next attempt of an ended RUN, by number or key; also of an unknown one whose machine is dead."""
    path = f"/api/v1/runs/{run}/rerun" if run.isdigit() else f"/api/v1/unknown/{quote(run)}/rerun"
    again = asker.client.post(path, {"reason": reason})
    asker.show(again, f"Run {again['run']} is {again['state']}.")


@run.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def suspend(asker: Asker, number: int, reason: str) -> None:
    """Stop a run at its next checkpoint; one that saves none any more comes to its end."""
    found = asker.client.post(f"/api/v1/runs/{number}/suspend", {"reason": reason})
    asker.show(found, f"Run {number} is {found['state']}.")


@run.command()
@click.argument("number", type=int)
@click.option("--checkpoint", type=int, help="From this number instead of the latest.")
@click.option("--back", type=int, default=0, help="So many before the latest.")
@reason_option
@asks_node
def resume(asker: Asker, number: int, checkpoint: int | None, back: int, reason: str) -> None:
    """Go on with a suspended, interrupted or failed run from a checkpoint, on whichever agent may have it."""
    body = {"checkpoint": checkpoint, "back": back, "reason": reason}
    again = asker.client.post(f"/api/v1/runs/{number}/resume", body)
    why = f" ({again['reason']})" if again["reason"] else ""
    asker.show(again, f"It goes on as run {again['run']}, which is {again['state']}{why}.")


@run.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def dismiss(asker: Asker, number: int, reason: str) -> None:
    """Let an interrupted run be: nobody goes on with it, and it asks for no decision."""
    found = asker.client.post(f"/api/v1/runs/{number}/dismiss", {"reason": reason})
    asker.show(found, f"Run {number} is let be.")


@run.command()
@click.argument("number", type=int)
@asks_node
def checkpoints(asker: Asker, number: int) -> None:
    """What a run saved, also in the attempts before it, the latest first."""
    found = asker.client.get(f"/api/v1/runs/{number}/checkpoints")
    rows = [
        (c["number"], c["run"], instant(c["at_us"]), c["bytes"], c["sha256"][:12], "" if c["held"] else "not kept")
        for c in found["checkpoints"]
    ]
    asker.show(found, table(rows, ("CHECKPOINT", "RUN", "SAVED", "BYTES", "SHA-256", "")))


@run.command("dismiss-unknown")
@click.argument("job")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def dismiss_unknown(asker: Asker, job: str, reason: str, yes: bool) -> None:
    """Let be what dead machines may have run of JOB: nobody runs it again."""
    confirm(f"Let all be that is unknown of {job} at dead machines, run or not?", yes)
    done = asker.client.post(f"/api/v1/jobs/{quote(job)}/dismiss-unknown", {"reason": reason})
    asker.show(done, f"{done['dismissed']} occurrences of {job} are let be.")


def _end(asker: Asker, number: int, verb: str, reason: str) -> None:
    found = asker.client.post(f"/api/v1/runs/{number}/{verb}", {"reason": reason})
    asker.show(found, f"Run {number} is {found['state']}; the request is recorded.")
