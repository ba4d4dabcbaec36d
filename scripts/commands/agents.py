"""`understudy agent`: the program itself, and what is done about agents."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import click

from scripts.client import CONFIGURATION, PERMISSION, UNREACHABLE, CommandError
from scripts.commands.drain_text import gate_line, lines
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, data_option, table


@click.group(invoke_without_command=True)
@data_option
@click.option("--join", metavar="TOKEN", envvar="UNDERSTUDY_JOIN", help="A join token: enrol once, then run.")
@click.option("--enrol-only", is_flag=True, help="Enrol and end.")
@click.option("--log-level", default="info", help="debug, info, warning or error.")
@click.option(
    "--on-stop",
    type=click.Choice(["auto", "keep", "drain"]),
    default=None,
    envvar="UNDERSTUDY_ON_STOP",
    help="At SIGTERM: keep runs running, drain them, or drain only when the machine goes down (auto). "
    "Without it, what `understudy agent set` says.",
)
@click.pass_context
def agent(
    context: click.Context, data: str | None, join: str | None, enrol_only: bool, log_level: str, on_stop: str | None
) -> int:
    """Run the agent of this machine (--data, and --join once), or say what is to be done about agents."""
    if context.invoked_subcommand is not None:
        return 0
    from server.agent import program
    from server.agent.credentials import Credentials
    from server.config import ConfigError
    from server.errors import Invalid
    from server.log_lines import configure_log
    from server.trust.enrolment import EnrolmentError, enrol_agent

    configure_log(log_level)
    directory = _agent_directory(data)
    try:
        if join:
            identity = enrol_agent(join, directory)
            click.echo(f"This machine is the agent {identity.name}.")
        return 0 if enrol_only else program.run(directory, Credentials(directory), on_stop or "")
    except (ConfigError, Invalid) as error:
        raise CommandError(CONFIGURATION, str(error)) from error
    except EnrolmentError as error:
        codes = {"unreachable": UNREACHABLE, "not_master": 75, "forbidden": PERMISSION}
        raise CommandError(codes.get(error.code, CONFIGURATION), str(error)) from error


def _agent_directory(data: str | None) -> Path:
    chosen = data or os.environ.get("UNDERSTUDY_AGENT_DATA") or os.environ.get("UNDERSTUDY_DATA")
    if not chosen:
        raise CommandError(2, "which directory is the agent's? Give --data DIR")
    return Path(chosen).expanduser().absolute()


@agent.command()
@click.option("--name", required=True, help="The agent's name.")
@asks_node
def invite(asker: Asker, name: str) -> None:
    """Print a join token for one new agent: it can be used once."""
    made = asker.client.post("/api/v1/agents", {"name": name})
    asker.show(made, made["token"])


@agent.command("list")
@click.option("--match", default="", help="A part of the name.")
@asks_node
def list_agents(asker: Asker, match: str) -> None:
    """All agents with state and queue."""
    found = list(asker.client.pages(f"/api/v1/agents?match={quote(match)}", "name"))
    rows = [(a["name"], a["state"], a["queue"], "witness" if a["witness"] else "", a["version"]) for a in found]
    asker.show(found, table(rows, ("AGENT", "STATE", "QUEUE", "", "VERSION")))


@agent.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One agent."""
    found = asker.client.get(f"/api/v1/agents/{quote(name)}")
    said = [f"{key}: {value}" for key, value in found.items() if key not in ("gate", "drain")]
    said += [gate_line(found["gate"])] if found["gate"] else []
    said += lines(found["drain"], not found["takes_runs"]) if found["drain"] else []
    asker.show(found, said)


@agent.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def remove(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Remove an agent; its runs stay in the history."""
    confirm(f"Remove the agent {name}?", yes)
    done = asker.client.ask("DELETE", f"/api/v1/agents/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The agent {name} is removed.")


@agent.command()
@click.argument("name")
@reason_option
@click.option("--machine-is-dead", is_flag=True, help="The old one is dead for certain: its orders are free at once.")
@asks_node
def replace(asker: Asker, name: str, reason: str, machine_is_dead: bool) -> None:
    """Give an agent's name, jobs and history to a new machine; prints its join token.

    The old one starts nothing any more once it has heard of it. Until it answers, or the time of its standing orders is
    over, the new one gets no order that the old one may still act on.
    """
    body = {"reason": reason, "machine_is_dead": machine_is_dead}
    made = asker.client.post(f"/api/v1/agents/{quote(name)}/replace", body)
    asker.show(made, made["token"])


@agent.command("set")
@click.argument("name")
@click.option(
    "--start-alone-after-reboot",
    "alone",
    type=click.Choice(["on", "off"]),
    help="Whether standing orders begin after a reboot before a master has answered.",
)
@click.option("--drain-time", "drain_s", type=int, metavar="S", help="Seconds that a drain may take at most; 600.")
@click.option(
    "--on-stop",
    type=click.Choice(["auto", "keep", "drain"]),
    help="At SIGTERM: keep runs running, drain them, or drain only when the machine goes down (auto).",
)
@reason_option
@asks_node
def set_agent(
    asker: Asker, name: str, alone: str | None, drain_s: int | None, on_stop: str | None, reason: str
) -> None:
    """Change an agent's settings; each holds once the agent has heard of it."""
    alone_at_once = None if alone is None else alone == "on"
    wanted: dict[str, object] = {"start_alone_after_reboot": alone_at_once, "drain_s": drain_s, "on_stop": on_stop}
    if all(value is None for value in wanted.values()):
        raise CommandError(2, "nothing to set: give --start-alone-after-reboot, --drain-time or --on-stop")
    done = asker.client.ask("PUT", f"/api/v1/agents/{quote(name)}", wanted | {"reason": reason}).value
    when = "before a master has answered" if done["start_alone_after_reboot"] else "only when a master has answered"
    stop = {"auto": "is a drain when the machine goes down", "keep": "keeps runs running", "drain": "is a drain"}
    said = [
        f"After a reboot of {name} standing orders begin {when}.",
        f"A drain of it takes at most {done['drain_s']} s; a stop of the program {stop[done['on_stop']]}.",
    ]
    asker.show(done, said)


@agent.command("declare-dead")
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def declare_dead(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Say that the machine of NAME is dead for certain: its future work is free, it starts nothing any more."""
    confirm(
        f"Is the machine of {name} off for certain? If it runs on, jobs may run twice. From now on its due times are "
        "missed until its jobs are given to another agent; what it may have run stays unknown and can be run again by "
        f"name; switched on again it starts nothing. Declare {name} dead?",
        yes,
    )
    done = asker.client.post(f"/api/v1/agents/{quote(name)}/declare-dead", {"reason": reason})
    lines = [f"{name} is declared dead; {done['orders']} standing orders are free."]
    if done["unknown_runs"] or done["unknown_occurrences"]:
        lines.append(f"{done['unknown_runs']} runs and {done['unknown_occurrences']} occurrences stay unknown.")
        lines.append("See them with: understudy run list --state unknown. Run one again with: understudy run rerun KEY")
    lines.append("Give its jobs away with: understudy job update JOB --agent OTHER")
    asker.show(done, lines)


@agent.command("accept-restored")
@click.argument("name")
@reason_option
@asks_node
def accept_restored(asker: Asker, name: str, reason: str) -> None:
    """End the quarantine of an agent that was restored from a snapshot."""
    done = asker.client.post(f"/api/v1/agents/{quote(name)}/accept-restored", {"reason": reason})
    asker.show(done, f"The agent {name} is accepted as it is.")
