"""`understudy resource`: what there is a number of, such as licences, and which runs hold it."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, table

_R = "/api/v1/resources"


@click.group()
def resource() -> None:
    """Resources: there are so many, and a run holds what its job needs of them until it has ended."""


@resource.command("list")
@asks_node
def list_resources(asker: Asker) -> None:
    """All resources with who holds them and how many runs wait."""
    found = list(asker.client.pages(f"{_R}?", "name"))
    rows = [
        (r["name"], f"{r['held']} of {r['count']}", str(r["waiting"]), _holders(r), ", ".join(r["used_by"]) or "nobody")
        for r in found
    ]
    asker.show(found, table(rows, ("RESOURCE", "HELD", "WAITING", "HELD BY", "NEEDED BY")))


@resource.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One resource."""
    found = asker.client.get(f"{_R}/{quote(name)}")
    lines = [f"{name}: {found['held']} of {found['count']} held, {found['waiting']} runs wait"]
    lines += [f"run {h['run']} of {h['job']} holds {h['count']} ({h['state']})" for h in found["holders"]]
    asker.show(found, [*lines, f"needed by: {', '.join(found['used_by']) or 'nobody'}"])


@resource.command("set")
@click.argument("name")
@click.option("--count", type=click.IntRange(0), required=True, help="How many there are.")
@click.option("--description", default="")
@asks_node
def set_resource(asker: Asker, name: str, count: int, description: str) -> None:
    """Make a resource, or give it another count."""
    done = asker.client.ask("PUT", f"{_R}/{quote(name)}", {"count": count, "description": description}).value
    asker.show(done, f"There are {count} of {name}; {done['held']} are held.")


@resource.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a resource; refused while a job needs it."""
    confirm(f"Delete the resource {name}?", yes)
    done = asker.client.ask("DELETE", f"{_R}/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The resource {name} is deleted.")


def limit_options(function: Any) -> Any:
    """Flags of `job create` and `job update` for priority and limits; one that is not given changes nothing."""
    for option in (
        click.option("--priority", type=int, help="-100 to 100; higher goes first among runs that wait."),
        click.option("--runs-at-once", type=click.IntRange(0), help="Runs of this job at once; 0: no limit."),
        click.option(
            "--resource", "resources", multiple=True, metavar="NAME=N", help="A run holds N of it. They replace all."
        ),
        click.option("--no-resources", is_flag=True, help="A run holds none."),
    ):
        function = option(function)
    return function


def take_limits(properties: dict[str, Any], known: dict[str, Any]) -> dict[str, Any]:
    """Take those flags out of `properties`: the field `limits`, over what is `known`."""
    given = {name: properties.pop(name) for name in ("priority", "runs_at_once")}
    pairs, none = properties.pop("resources"), properties.pop("no_resources")
    limits = known.get("limits", {}) | {name: value for name, value in given.items() if value is not None}
    if pairs or none:
        limits["resources"] = dict(_pair(pair) for pair in pairs)
    return {"limits": limits}


def _pair(text: str) -> tuple[str, int]:
    name, _, count = text.partition("=")
    if not name or (count and not count.isdigit()):
        raise CommandError(USAGE, f"--resource {text}: write NAME=N")
    return name, int(count or 1)


def _holders(found: dict[str, Any]) -> str:
    return ", ".join(f"{h['job']} #{h['run']}" for h in found["holders"]) or "nobody"
