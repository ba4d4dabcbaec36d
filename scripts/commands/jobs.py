"""`understudy job` and `understudy import`."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.exceptions import except_, list_exceptions
from scripts.commands.gates import reason_option
from scripts.commands.job_rules import rule_options, take_rules
from scripts.commands.options import Asker, asks_node, confirm, instant, table
from scripts.commands.resources import limit_options, take_limits

LINE = (
    "30 2 * * 1-5, @daily, 'every 90 minutes', '2nd Tuesday at 06:00; not on CALENDAR; else next day; jitter 5m'"
    " and more (docs/schedules.md)."
)


def _properties(function: Any) -> Any:
    """Flags of a job's properties; one that is not given stays as it is, or at its default."""
    for option in (
        click.option("--agent", help="The agent that runs it."),
        click.option("--group", help="The group of agents that runs it, instead of one agent."),
        click.option("--workflow", help="The workflow that it begins, instead of a command on an agent."),
        click.option("--cron", multiple=True, metavar="LINE", help=f"When: {LINE} Several are possible."),
        click.option("--zone", help="The zone of --cron; without it that of the schedules there are, else UTC."),
        click.option("--timeout", "timeout_s", type=int, help="Seconds after which a run is ended; 0 never."),
        click.option("--misfire", "misfire_policy", help="skip, once, all or ask."),
        click.option(
            "--misfire-grace", "misfire_grace_s", type=int, help="Seconds for which a missed run may be made up."
        ),
        click.option("--directory", "working_directory", help="Where it runs."),
        click.option("--user", "run_as", help="As whom it runs."),
        click.option("--environment", multiple=True, metavar="NAME=VALUE", help="A variable. Several are possible."),
        click.option("--may-run-twice/--must-not-run-twice", default=None),
        click.option(
            "--give-up-after-s",
            type=int,
            help="Kill a run when its agent had no answer from a master for so long; needs --may-run-twice. 0: never.",
        ),
        click.option(
            "--after",
            "prerequisites",
            metavar="TEXT",
            help="What must have happened before: 'backup completed and (load ended or event:door)'; '': nothing.",
        ),
        click.option("--skip-if-running/--queue-if-running", default=None),
        click.option(
            "--checkpoints-kept",
            type=int,
            help="Of a run the latest so many checkpoints are kept (understudy checkpoint).",
        ),
        click.option(
            "--restartable/--not-restartable",
            default=None,
            help="An interrupted run without a checkpoint begins anew by itself.",
        ),
        click.option("--description"),
        click.option(
            "--tag", "tags", multiple=True, help="A word to filter by. Several are possible; they replace all."
        ),
        click.option("--agent-environment", help="The environment that it shares; empty: none."),
        click.option("--command-set", help="The commands before and after it that it shares; empty: none."),
    ):
        function = option(function)
    return function


@click.group()
def job() -> None:
    """Jobs: a command, where it runs, and when."""


@job.command()
@click.argument("name")
@click.option("--command", help="What the agent's shell runs.")
@_properties
@rule_options
@limit_options
@asks_node
def create(asker: Asker, name: str, command: str | None, **properties: Any) -> None:
    """Add a job: a command on an agent or a group, or --workflow."""
    if not command and not properties["workflow"]:
        raise CommandError(USAGE, "what does it do? Give --command TEXT, or --workflow NAME (understudy workflow list)")
    if not properties["workflow"] and bool(properties["agent"]) == bool(properties["group"]):
        raise CommandError(
            USAGE,
            "where does it run? Give --agent AGENT (understudy agent list) or --group GROUP (understudy group list)",
        )
    spec = (
        {"name": name, "command": command or ""}
        | take_rules(properties, {})
        | take_limits(properties, {})
        | _given(properties, {})
    )
    made = asker.client.post("/api/v1/jobs", spec)
    asker.show(made, f"The job {name} is made.")


@job.command()
@click.argument("name")
@click.option("--command", help="What the agent's shell runs.")
@click.option("--rename", help="A new name.")
@_properties
@rule_options
@limit_options
@asks_node
def update(asker: Asker, name: str, command: str | None, rename: str | None, **properties: Any) -> None:
    """Change a job; what is not given stays. --cron replaces all schedules."""
    found = asker.client.get(f"/api/v1/jobs/{quote(name)}")
    spec = found["spec"] | take_rules(properties, found["spec"])
    spec |= take_limits(properties, found["spec"]) | _given(properties, found["spec"])
    if properties["agent"] or properties["group"]:
        spec |= {"agent": properties["agent"] or "", "group": properties["group"] or "", "workflow": ""}
    elif properties["workflow"]:
        spec |= {"agent": "", "group": "", "command": ""}
    spec |= {key: value for key, value in (("command", command), ("name", rename)) if value is not None}
    body = {"spec": spec, "version": found["version"]}
    made = asker.client.ask("PUT", f"/api/v1/jobs/{quote(name)}", body).value
    asker.show(made, f"The job {made['name']} is changed.")


def _given(properties: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """The flags that were given, as the API names them, over what is `known`."""
    tags = properties.pop("tags")
    shared = {"environment": properties.pop("agent_environment"), "command_set": properties.pop("command_set")}
    rule = {"keep": properties.pop("checkpoints_kept"), "restartable": properties.pop("restartable")}
    rule = {name: value for name, value in rule.items() if value is not None}
    zone, crons, pairs = properties.pop("zone"), properties.pop("cron"), properties.pop("environment")
    spec = {name: value for name, value in properties.items() if value is not None}
    uses = {name: value for name, value in shared.items() if value is not None}
    if uses:
        spec["uses"] = known.get("uses", {}) | uses
    if tags:
        spec["tags"] = [tag for tag in tags if tag]
    if rule:
        spec["checkpoints"] = known.get("checkpoints", {}) | rule
    if crons:
        zones = {when["zone"] for when in known.get("schedules", [])}
        there = zone or (zones.pop() if len(zones) == 1 else "UTC")
        spec["schedules"] = [_schedule(cron, there) for cron in crons]
    if pairs:
        for pair in pairs:
            if "=" not in pair:
                raise CommandError(USAGE, f"--environment {pair}: write NAME=VALUE")
        spec["environment"] = dict(pair.split("=", 1) for pair in pairs)
    return spec


def _schedule(line: str, zone: str) -> dict[str, Any]:
    """A line with clauses is read here; one without goes as it is, and the node says what is wrong with it."""
    if ";" not in line and "/" not in line:
        return {"cron": line, "zone": zone}
    from server.core.local_time import BadSchedule
    from server.core.when import as_json, read_line

    try:
        return as_json(read_line(line, zone))
    except BadSchedule as error:
        raise CommandError(USAGE, f"--cron {line!r}: {error}") from error


def _said(when: dict[str, Any]) -> list[str]:
    """A schedule as its line and as a sentence."""
    from server.core.when import from_json, sentence, write_line

    said = from_json(when)
    return [f"schedule: {write_line(said, '')}", f"          {sentence(said)}"]


@job.command("list")
@click.option("--match", default="", help="A part of the name.")
@click.option("--tag", default="", help="Those that have this tag.")
@asks_node
def list_jobs(asker: Asker, match: str, tag: str) -> None:
    """All jobs with agent, schedules and last run."""
    found = list(asker.client.pages(f"/api/v1/jobs?match={quote(match)}&tag={quote(tag)}", "name"))
    rows = [
        (j["name"], j["agent"], "held" if j["held"] else "", j["schedules"] or "on request", j["last_state"] or "-")
        for j in found
    ]
    asker.show(found, table(rows, ("JOB", "AGENT", "", "WHEN", "LAST")))


@job.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One job."""
    found = asker.client.get(f"/api/v1/jobs/{quote(name)}")
    rest = {key: value for key, value in (found["spec"] | {"held": found["held"]}).items() if key != "schedules"}
    lines = [f"{key}: {json.dumps(value)}" for key, value in rest.items()]
    lines[3:3] = [line for when in found["spec"]["schedules"] for line in _said(when)]
    asker.show(found, lines)


@job.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a job; its runs stay."""
    confirm(f"Delete the job {name}?", yes)
    done = asker.client.ask("DELETE", f"/api/v1/jobs/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The job {name} is deleted.")


@job.command()
@click.argument("name")
@reason_option
@asks_node
def hold(asker: Asker, name: str, reason: str) -> None:
    """Hold a job: nothing of it starts."""
    done = asker.client.ask("PUT", f"/api/v1/jobs/{quote(name)}/hold", {"held": True, "reason": reason}).value
    asker.show(done, f"The job {name} is held.")


@job.command()
@click.argument("name")
@reason_option
@asks_node
def release(asker: Asker, name: str, reason: str) -> None:
    """Release a held job."""
    done = asker.client.ask("PUT", f"/api/v1/jobs/{quote(name)}/hold", {"held": False, "reason": reason}).value
    asker.show(done, f"The job {name} is released.")


@job.command()
@click.argument("name", default="")
@asks_node
def trips(asker: Asker, name: str) -> None:
    """What job monitors found, of one job or of all, the newest first."""
    found = asker.client.get(f"/api/v1/job-monitors/trips?job={quote(name)}")
    lines = [(instant(t["at_us"]), t["kind"], t["run"] or "-", t["text"]) for t in found]
    asker.show(found, table(lines, ("AT", "MONITOR", "RUN", "WHAT")))


job.add_command(except_)
job.add_command(list_exceptions)
