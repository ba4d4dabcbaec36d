"""`understudy maintenance`: one switch for everything, a tenant or an agent; what it waits for, and what it did."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, TIMED_OUT, USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.maintenance_windows import window
from scripts.commands.options import Asker, asks_node

POLL_S = 0.5
LISTED = 20
_PATH = "/api/v1/maintenance"
scope_options = [
    click.option("--tenant", default="", help="Of this tenant alone."),
    click.option("--agent", default="", help="Of this agent alone."),
]


@click.group()
def maintenance() -> None:
    """Maintenance: nothing new starts until it ends. It survives restarts, swaps and takeovers."""


maintenance.add_command(window)


def scoped(function: Any) -> Any:
    """Add the options that say what is meant; without them it is everything."""
    for option in scope_options:
        function = option(function)
    return function


@maintenance.command()
@scoped
@click.option("--wait", is_flag=True, help="Return when the last running run has ended.")
@click.option("--timeout", "timeout_s", type=float, help="With --wait: give up after so many seconds, exit code 124.")
@reason_option
@asks_node
def on(asker: Asker, tenant: str, agent: str, wait: bool, timeout_s: float | None, reason: str) -> int:
    """Let what runs end, and let what is submitted wait. What is on already stays as it is."""
    scope = _scope(tenant, agent)
    done = asker.client.post(f"{_PATH}/on", {"reason": reason, "scope": scope})
    if not wait:
        asker.show(done, "Maintenance is on." if done["gates"]["changed"] else _already(done))
        return OK
    found = await_idle(asker, scope, timeout_s)
    asker.show(found, "Maintenance is on and nothing runs." + _silent(found))
    return OK


@maintenance.command()
@scoped
@reason_option
@asks_node
def off(asker: Asker, tenant: str, agent: str, reason: str) -> None:
    """End it, whoever began it: what waits starts in order."""
    done = asker.client.post(f"{_PATH}/off", {"reason": reason, "scope": _scope(tenant, agent)})
    asker.show(done, "Maintenance is off." if done["gates"]["changed"] else "Maintenance was off already.")


@maintenance.command()
@scoped
@asks_node
def status(asker: Asker, tenant: str, agent: str) -> int:
    """One line; exit code 0 while it is off, 1 while it is on."""
    found = asker.client.get(f"{_PATH}?scope={quote(_scope(tenant, agent))}")
    asker.show(found, _line(found))
    return OK if found["phase"] == "none" else FAILED


@maintenance.command()
@scoped
@click.option("--phase", required=True, type=click.Choice(["draining", "suspended"], case_sensitive=False))
@click.option("--force", is_flag=True, help="With suspended: although runs run; they go on.")
@click.option("--kill-jobs", is_flag=True, help="With suspended: kill what runs.")
@click.option("--then-suspend", is_flag=True, help="With draining: Suspended by itself once nothing runs.")
@click.option("--suspend-at", metavar="TIME", help="With draining: Suspended at TIME (2026-11-22T18:00, UTC, or +90m).")
@click.option("--kill-then", is_flag=True, help="With --suspend-at: kill what runs at that time.")
@click.option("--end-at", metavar="TIME", help="End by itself at TIME.")
@reason_option
@asks_node
def start(
    asker: Asker,
    tenant: str,
    agent: str,
    phase: str,
    force: bool,
    kill_jobs: bool,
    then_suspend: bool,
    suspend_at: str | None,
    kill_then: bool,
    end_at: str | None,
    reason: str,
) -> None:
    """Begin a phase as UiPath means it: runs are asked to stop, new work is refused, what falls due is missed."""
    body = {
        "phase": phase.lower(),
        "force": force,
        "kill_jobs": kill_jobs,
        "scope": _scope(tenant, agent),
        "suspend_when_idle": then_suspend,
        "suspend_at_us": moment_us(suspend_at),
        "suspend_kill": kill_then,
        "end_at_us": moment_us(end_at),
        "reason": reason,
    }
    done = asker.client.post(f"{_PATH}/start", body)
    session = done["session"]
    counts = f"{session['stops_attempted']} asked to stop, {session['kills_attempted']} killed."
    asker.show(done, f"Maintenance is {session['phase'].capitalize()}. Runs: {counts}")


@maintenance.command()
@scoped
@reason_option
@asks_node
def end(asker: Asker, tenant: str, agent: str, reason: str) -> None:
    """End it; exit code 1 when it is not on."""
    done = asker.client.post(f"{_PATH}/end", {"reason": reason, "scope": _scope(tenant, agent)})
    session = done["session"]
    asker.show(done, f"Maintenance is off. `understudy maintenance log` says what session {session['id']} did.")


@maintenance.command()
@scoped
@click.option("--limit", default=3, show_default=True, type=click.IntRange(1, 100), help="How many sessions.")
@asks_node
def log(asker: Asker, tenant: str, agent: str, limit: int) -> None:
    """What each maintenance did, the latest first: phases, runs that it ended, what it suppressed."""
    found = asker.client.get(f"{_PATH}/log?scope={quote(_scope(tenant, agent))}&limit={limit}")
    asker.show(found, [line for record in found for line in _record(record)] or ["There was none yet."])


def await_idle(asker: Asker, scope: str, timeout_s: float | None) -> dict[str, Any]:
    """The state once nothing runs and nothing can begin any more; `CommandError` 1 when it was ended meanwhile."""
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        found: dict[str, Any] = asker.client.get(f"{_PATH}?scope={quote(scope)}")
        if found["phase"] == "none":
            raise CommandError(FAILED, f"somebody ended it while {found['running_count']} runs ran")
        if not found["running_count"] and not found["late_agents"]:
            return found
        if deadline is not None and time.monotonic() > deadline:
            raise CommandError(TIMED_OUT, f"after {timeout_s:.0f} s it is on, and not idle yet: {_line(found)}")
        time.sleep(POLL_S)


def moment_us(text: str | None) -> int | None:
    """Microseconds UTC of `2026-11-22T18:00` or of `+90m` (s, m, h, d) from now; None for None."""
    if text is None:
        return None
    try:
        if text.startswith("+"):
            seconds = float(text[1:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1:]]
            moment = datetime.now(UTC) + timedelta(seconds=seconds)
        else:
            moment = datetime.fromisoformat(text)
            moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        return round(moment.timestamp() * 1_000_000)
    except (ValueError, KeyError, OverflowError):
        raise CommandError(USAGE, f"{text!r} is no time: write 2026-11-22T18:00 (UTC), or +90m from now") from None


def _scope(tenant: str, agent: str) -> str:
    if tenant and agent:
        raise CommandError(USAGE, "give --tenant or --agent, not both")
    return f"tenant:{tenant}" if tenant else f"agent:{agent}" if agent else ""


def _already(done: dict[str, Any]) -> str:
    session = done["session"]
    return f"Maintenance was on already ({session['phase'].capitalize()}, by {session['started_by']})."


def _line(found: dict[str, Any]) -> str:
    session = found["session"]
    if found["phase"] == "none":
        return "Maintenance is off."
    why = f": {session['reason']}" if session["reason"] else ""
    late = f" Not confirmed yet by {', '.join(found['late_agents'])}." if found["late_agents"] else ""
    return (
        f"Maintenance is on ({found['phase'].capitalize()}) since {_at(session['started_at_us'])} by "
        f"{session['started_by']}{why}. {_many(found['running_count'], 'run')} at work, "
        f"{found['waiting_count']} waiting.{late}{_silent(found)}"
    )


def _silent(found: dict[str, Any]) -> str:
    names, former = found["silent_agents"], found.get("unaware_agents", [])
    said = f" Not known of agents that do not answer: {', '.join(names)}." if names else ""
    upgrade = f" Upgrade {', '.join(former)}: a former release begins by its standing orders." if former else ""
    return said + upgrade


def _record(record: dict[str, Any]) -> list[str]:
    session = record["session"]
    lines = [f"Session {session['id']}"]
    lines += [
        f"  {_at(row['at_us'])}  {row['phase'].capitalize():<10} {row['changed_by']}"
        + (f": {row['reason']}" if row["reason"] else "")
        for row in record["log"]
    ]
    lines.append(
        f"  {session['stops_attempted']} asked to stop, {session['kills_attempted']} killed; suppressed: "
        f"{record['triggers_skipped']} by time, {record['system_triggers_skipped']} by events"
    )
    for run in record["ended_runs"][:LISTED]:
        lines.append(
            f"    run {run['run']} ({run['job']}) {'killed' if run['kill'] else 'asked to stop'}: {run['state']}"
        )
    for one in record["skipped"][:LISTED]:
        lines.append(f"    {one['job']} due {_at(one['at_us'])}{_decided(one)}")
    unseen = max(len(record["ended_runs"]) - LISTED, 0) + max(len(record["skipped"]) - LISTED, 0)
    return [*lines, f"    and {unseen} more, with --json"] if unseen else lines


def _decided(one: dict[str, Any]) -> str:
    if one["run"] is not None:
        return f": run {one['run']} did not begin"
    return f": {one['resolution']}" if one["resolution"] else ": open, `understudy missed list`"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _at(at_us: int) -> str:
    return datetime.fromtimestamp(at_us / 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
