"""`understudy monitor`, `understudy events` and `understudy fire-event` (SKY-16)."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from scripts.client import CONFIGURATION, UNREACHABLE, USAGE, Client, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table

AGENT_SOCKET = "agent.sock"
SETTINGS = ("path", "steady_s", "at_least", "pattern", "pid_file", "interval_s", "existing")


def _properties(function: Any) -> Any:
    """Flags of a monitor's properties; one that is not given stays as it is, or at its default."""
    for option in (
        click.option("--agent", help="The agent that watches."),
        click.option("--kind", type=click.Choice(["file", "directory", "process", "manual"]), help="What it watches."),
        click.option("--path", help="Absolute; for files a pattern with * ? [] in each level."),
        click.option("--on", multiple=True, help="created, changed, deleted, steady; count; started, ended."),
        click.option("--steady", "steady_s", type=int, help="Seconds without a change of size and time."),
        click.option("--at-least", type=int, help="With --on count: so many entries in the directory."),
        click.option("--pattern", help="Of a process's name or whole command line, with * and ?."),
        click.option("--pid-file", help="A file with the process's id."),
        click.option("--interval", "interval_s", type=int, help="Seconds between two looks."),
        click.option("--existing/--only-new", default=None, help="Does what is there at the first look count as new?"),
        click.option("--job", "jobs", multiple=True, help="A job that reacts. Several are possible."),
        click.option("--description"),
    ):
        function = option(function)
    return function


def _given(properties: dict[str, Any], spec: dict[str, Any]) -> dict[str, Any]:
    """The specification with the flags that were given."""
    settings = dict(spec.get("settings") or {})
    settings |= {name: properties[name] for name in SETTINGS if properties[name] is not None}
    if properties["on"]:
        settings["on"] = list(properties["on"])
    more = {name: properties[name] for name in ("agent", "kind", "description") if properties[name] is not None}
    if properties["jobs"]:
        more["jobs"] = list(properties["jobs"])
    return spec | more | {"settings": settings}


@click.group()
def monitor() -> None:
    """Event monitors: what agents watch, and which jobs react."""


@monitor.command()
@click.argument("name")
@_properties
@asks_node
def create(asker: Asker, name: str, **properties: Any) -> None:
    """Add a monitor."""
    for flag in ("agent", "kind"):
        if not properties[flag]:
            raise CommandError(USAGE, f"give --{flag} (see --help)")
    made = asker.client.post("/api/v1/monitors", _given(properties, {"name": name}))
    asker.show(made, f"The monitor {name} is made. It watches once its agent has it: understudy monitor show {name}")


@monitor.command()
@click.argument("name")
@_properties
@asks_node
def update(asker: Asker, name: str, **properties: Any) -> None:
    """Change a monitor; what is not given stays. --job replaces all jobs; another agent or kind begins anew."""
    found = asker.client.get(f"/api/v1/monitors/{quote(name)}")
    body = {"spec": _given(properties, found["spec"]), "version": found["version"]}
    made = asker.client.ask("PUT", f"/api/v1/monitors/{quote(name)}", body).value
    asker.show(made, f"The monitor {name} is changed.")


@monitor.command("list")
@click.option("--match", default="", help="A part of the name.")
@asks_node
def list_monitors(asker: Asker, match: str) -> None:
    """All monitors with agent, what they watch, and their last event."""
    found = list(asker.client.pages(f"/api/v1/monitors?match={quote(match)}", "name"))
    lines = [
        (m["name"], m["agent"], m["kind"], _standing(m), m["jobs"] or "-", instant(m["last_at_us"])) for m in found
    ]
    asker.show(found, table(lines, ("MONITOR", "AGENT", "KIND", "", "JOBS", "LAST EVENT")))


def _standing(line: dict[str, Any]) -> str:
    if not line["enabled"]:
        return "disabled"
    return "watching" if line["acknowledged_version"] == line["version"] else "not at its agent yet"


@monitor.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One monitor: what it watches, and what its agent holds of it."""
    found = asker.client.get(f"/api/v1/monitors/{quote(name)}")
    lines = [f"{key}: {json.dumps(value)}" for key, value in found["spec"].items()]
    held, version = found["held_version"], found["version"]
    lines.append(f"its agent holds version {held} of {version}" + ("" if held == version else ": not told yet"))
    if found["agent_knows"] is False:
        lines.append("its agent is of a release that knows no monitors: upgrade it")
    if found["problem"]:
        lines.append(f"problem: {found['problem']}")
    asker.show(found, lines)


@monitor.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a monitor; its events stay."""
    confirm(f"Delete the monitor {name}?", yes)
    done = asker.client.ask("DELETE", f"/api/v1/monitors/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The monitor {name} is deleted.")


@monitor.command()
@click.argument("name")
@reason_option
@asks_node
def enable(asker: Asker, name: str, reason: str) -> None:
    """Watch again; what happened meanwhile is not told."""
    _enable(asker, name, True, reason)


@monitor.command()
@click.argument("name")
@reason_option
@asks_node
def disable(asker: Asker, name: str, reason: str) -> None:
    """Watch no more until it is enabled."""
    _enable(asker, name, False, reason)


def _enable(asker: Asker, name: str, enabled: bool, reason: str) -> None:
    body = {"enabled": enabled, "reason": reason}
    done = asker.client.ask("PUT", f"/api/v1/monitors/{quote(name)}/enabled", body).value
    asker.show(done, f"The monitor {name} is {'enabled' if enabled else 'disabled'}.")


@click.group()
def events() -> None:
    """Events that fired."""


@events.command("list")
@click.option("--monitor", "name", default="", help="Of one monitor.")
@click.option("--limit", default=100, help="The newest so many.")
@asks_node
def list_events(asker: Asker, name: str, limit: int) -> None:
    """The newest events, with their variables and what they started."""
    asked = f"/api/v1/events/history?limit={limit}" + (f"&monitor={quote(name)}" if name else "")
    found = asker.client.get(asked)
    lines = [(e["id"], instant(e["at_us"]), e["monitor"], e["what"], _subject(e), _runs(e)) for e in found]
    asker.show(found, table(lines, ("EVENT", "WHEN", "MONITOR", "WHAT", "", "RUNS")))


def _subject(event: dict[str, Any]) -> str:
    own = ("MONITOR", "KIND", "WHAT", "NUMBER", "TIME", "SIZE")
    return " ".join(f"{name}={value}" for name, value in event["variables"].items() if name not in own)[:80]


def _runs(event: dict[str, Any]) -> str:
    return ", ".join(f"#{number} {job} {state}" for number, job, state, _ in event["runs"]) or "-"


@click.command("fire-event")
@click.argument("name")
@click.argument("pairs", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--key", default="", help="Makes it one event however often it is typed; a random one when left out.")
@asks_node
def fire_event(asker: Asker, name: str, pairs: tuple[str, ...], key: str) -> None:
    """Fire the manual event NAME. Inside a job, or with the --data of an agent, the agent keeps it by itself.

    The jobs that react get UNDERSTUDY_EVENT_KEY=VALUE. It is answered once the event is durable: in the agent's spool,
    or, asked at a node, wherever the mode promises.
    """
    variables, key = _pairs(pairs), key or secrets.token_hex(16)
    place = _agent_socket(asker)
    if place is None:
        body = {"variables": variables}
        fired = asker.client.post(f"/api/v1/monitors/{quote(name)}/fire", body, key)
        runs = ", ".join(f"#{run['run']} {run['state']}" for run in fired["runs"]) or "no job reacts to it"
        asker.show(fired, f"Event {fired['event']} of {name} is recorded: {runs}.")
        return
    try:
        fired = Client([f"unix:{_short(place)}"]).post("/events", {"monitor": name, "variables": variables}, key)
    except CommandError as error:
        if error.exit_code != UNREACHABLE:
            raise
        raise CommandError(
            UNREACHABLE,
            f"the agent does not answer at {place}; it may have kept the event or not. Start it with "
            f"`understudy agent --data {place.parent}` and fire again with --key {key}: it is one event then",
        ) from error
    asker.show(fired, _said(name, fired))


def _said(name: str, fired: dict[str, Any]) -> str:
    parts = [f"began or queued {', '.join(fired['runs'])}"] if fired["runs"] else []
    if fired["elsewhere"]:
        parts.append(f"{fired['elsewhere']} for other agents, waiting for master")
    parts += [f"{one['job']} not run: {one['cause']}" for one in fired["suppressed"]]
    return f"Event {fired['number']} of {name} is kept by the agent: {'; '.join(parts) or 'no job reacts here'}."


def _pairs(pairs: tuple[str, ...]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise CommandError(USAGE, f"{pair}: write KEY=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def _agent_socket(asker: Asker) -> Path | None:
    """The agent to ask: the one that runs this job, or that of --data; None for a node."""
    if asker.servers or (asker.given_data and not (asker.data / "spool.db").exists()):
        return None
    inside = os.environ.get("UNDERSTUDY_AGENT_SOCKET")
    if inside and not asker.given_data:
        return Path(inside)
    return asker.data / AGENT_SOCKET if (asker.data / "spool.db").exists() else None


def _short(path: Path) -> str:
    """A name of the socket that fits a socket address."""
    if len(os.fsencode(path)) < 100:
        return str(path)
    try:
        return f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)}/{path.name}"
    except OSError as error:
        raise CommandError(CONFIGURATION, f"{path.parent} cannot be opened: {error.strerror}") from error
