"""`understudy environment` and `understudy command-set`: what jobs share by name."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, table

_E, _C = "/api/v1/environments", "/api/v1/command-sets"


@click.group()
def environment() -> None:
    """Agent environments: user, directory and environment variables that jobs share."""


@environment.command("list")
@asks_node
def list_environments(asker: Asker) -> None:
    """All environments with the jobs that use each."""
    found = list(asker.client.pages(f"{_E}?", "name"))
    rows = [
        (e["name"], e["run_as"] or "-", e["working_directory"] or "-", str(len(e["variables"])), _users(e))
        for e in found
    ]
    asker.show(found, table(rows, ("ENVIRONMENT", "USER", "DIRECTORY", "VARIABLES", "USED BY")))


@environment.command("show")
@click.argument("name")
@asks_node
def show_environment(asker: Asker, name: str) -> None:
    """One environment."""
    found = asker.client.get(f"{_E}/{quote(name)}")
    lines = [name, *_place(found)]
    for agent, place in found["agents"].items():
        lines += [f"on {agent}:", *(f"  {line}" for line in _place(place))]
    asker.show(found, [*lines, f"used by: {_users(found)}"])


@environment.command("set")
@click.argument("name")
@click.option("--user", "run_as", help="As whom jobs run.")
@click.option("--directory", "working_directory", help="Where jobs run.")
@click.option(
    "--variable", "pairs", multiple=True, metavar="NAME=VALUE", help="Several are possible; they replace all."
)
@click.option("--description")
@click.option("--agent", help="Say only what differs on this agent.")
@click.option("--same", is_flag=True, help="With --agent: nothing differs there any more.")
@asks_node
def set_environment(
    asker: Asker, name: str, pairs: tuple[str, ...], agent: str | None, same: bool, **given: str | None
) -> None:
    """Make or change an environment; what is not given stays. The jobs that use it are planned again."""
    known = [one for one in asker.client.pages(f"{_E}?", "name") if one["name"] == name]
    fields = ("description", "run_as", "working_directory", "variables", "agents")
    body: dict[str, Any] = {field: known[0][field] for field in fields} if known else {}
    place: dict[str, Any] = {field: value for field, value in given.items() if value is not None}
    if pairs:
        place["variables"] = dict(_pair(pair) for pair in pairs)
    if agent is None:
        body |= place
    else:
        body.setdefault("agents", {})
        place.pop("description", None)
        body["agents"][agent] = body["agents"].get(agent, {}) | place
        if same:
            del body["agents"][agent]
    done = asker.client.ask("PUT", f"{_E}/{quote(name)}", body).value
    asker.show(done, f"The environment {name} is set. {_planned(done)}")


@environment.command("delete")
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete_environment(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete an environment; refused while a job uses it."""
    confirm(f"Delete the environment {name}?", yes)
    done = asker.client.ask("DELETE", f"{_E}/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The environment {name} is deleted.")


@click.group("command-set")
def command_set() -> None:
    """Command sets: commands that run before and after those of the jobs that use it."""


@command_set.command("list")
@asks_node
def list_command_sets(asker: Asker) -> None:
    """All command sets with the jobs that use each."""
    found = list(asker.client.pages(f"{_C}?", "name"))
    rows = [(c["name"], str(len(c["before"])), str(len(c["after"])), _users(c)) for c in found]
    asker.show(found, table(rows, ("COMMAND SET", "BEFORE", "AFTER", "USED BY")))


@command_set.command("show")
@click.argument("name")
@asks_node
def show_command_set(asker: Asker, name: str) -> None:
    """One command set."""
    found = asker.client.get(f"{_C}/{quote(name)}")
    lines = [name, *(f"before: {one}" for one in found["before"]), *(f"after: {one}" for one in found["after"])]
    asker.show(found, [*lines, f"used by: {_users(found)}"])


@command_set.command("set")
@click.argument("name")
@click.option("--before", multiple=True, help="A command before the job's own. Several are possible, in order.")
@click.option("--after", multiple=True, help="A command after the job's own, whatever became of it.")
@click.option("--description", default="")
@asks_node
def set_command_set(asker: Asker, name: str, before: tuple[str, ...], after: tuple[str, ...], description: str) -> None:
    """Make or replace a command set, as a whole. The jobs that use it are planned again."""
    body = {"before": list(before), "after": list(after), "description": description}
    done = asker.client.ask("PUT", f"{_C}/{quote(name)}", body).value
    asker.show(done, f"The command set {name} is set. {_planned(done)}")


@command_set.command("delete")
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete_command_set(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a command set; refused while a job uses it."""
    confirm(f"Delete the command set {name}?", yes)
    done = asker.client.ask("DELETE", f"{_C}/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The command set {name} is deleted.")


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CommandError(USAGE, f"--variable {text}: write NAME=VALUE")
    return name, value


def _place(found: dict[str, Any]) -> list[str]:
    lines = [f"user: {found['run_as']}"] if found["run_as"] else []
    lines += [f"directory: {found['working_directory']}"] if found["working_directory"] else []
    return lines + [f"{name}={value}" for name, value in found["variables"].items()]


def _users(found: dict[str, Any]) -> str:
    return ", ".join(found["used_by"]) or "nobody"


def _planned(found: dict[str, Any]) -> str:
    return f"Jobs planned again: {len(found['used_by'])}."
