"""`understudy variable`: what `${{ name }}` stands for in jobs."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from scripts.client import CONFIGURATION, USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table

job_option = click.option("--job", default="", help="A variable of this job alone.")


@click.group()
def variable() -> None:
    """Variables: a job's texts name them as ${{ name }}. The values of secrets are never shown."""


@variable.command("list")
@click.option("--job", default="", help="Those of this job alone.")
@asks_node
def list_variables(asker: Asker, job: str) -> None:
    """All variables with who names them."""
    found = asker.client.get(f"/api/v1/variables?{urlencode({'limit': 1000} | ({'job': job} if job else {}))}")
    rows = [(v["name"], v["job"] or "all jobs", _value(v), ", ".join(v["used_by"]) or "nobody") for v in found]
    asker.show(found, table(rows, ("VARIABLE", "OF", "VALUE", "NAMED BY")))


@variable.command()
@click.argument("name")
@job_option
@asks_node
def show(asker: Asker, name: str, job: str) -> None:
    """One variable."""
    found = asker.client.get(f"/api/v1/variables/{quote(name)}?{urlencode({'job': job})}")
    changed = f"{instant(found['updated_at_us'])} by {found['updated_by']}"
    lines = [f"{found['name']}: {_value(found)}", f"of: {found['job'] or 'all jobs'}", f"changed: {changed}"]
    lines += [f"description: {found['description']}"] if found["description"] else []
    asker.show(found, [*lines, f"named by: {', '.join(found['used_by']) or 'nobody'}"])


@variable.command("set")
@click.argument("name")
@click.option("--value", help="Its value, unless it is a secret: other people see a command line.")
@click.option("--value-file", metavar="FILE", help="A file with the value, without its last line end; - reads it here.")
@click.option("--secret", is_flag=True, help="Keep it sealed, show it to nobody, and hide it in outputs.")
@click.option("--description", default=None)
@job_option
@asks_node
def set_variable(
    asker: Asker,
    name: str,
    value: str | None,
    value_file: str | None,
    secret: bool,
    description: str | None,
    job: str,
) -> None:
    """Make or change a variable; the jobs that name it are planned again."""
    if value is not None and secret:
        raise CommandError(
            USAGE, "a command line is seen by others: give a secret by --value-file FILE, or at the prompt"
        )
    given = value if value is not None else _read(value_file, name, secret)
    body = {"value": given, "secret": secret, "description": description or "", "job": job}
    done = asker.client.ask("PUT", f"/api/v1/variables/{quote(name)}", body).value
    users = f" Planned again, because they name it: {', '.join(done['used_by'])}." if done["used_by"] else ""
    asker.show(done, f"The variable {name} is set.{users}")


@variable.command()
@click.argument("name")
@job_option
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, job: str, reason: str, yes: bool) -> None:
    """Delete a variable; refused while a job names it."""
    confirm(f"Delete the variable {name}?", yes)
    query = urlencode({"job": job, "reason": reason})
    done = asker.client.ask("DELETE", f"/api/v1/variables/{quote(name)}?{query}").value
    asker.show(done, f"The variable {name} is deleted.")


def _value(found: dict[str, Any]) -> str:
    return "(secret)" if found["secret"] else str(found["value"])


def _read(value_file: str | None, name: str, secret: bool) -> str:
    """From a file, standard input, or a prompt that shows nothing of a secret."""
    if value_file == "-":
        return sys.stdin.read().removesuffix("\n")
    if value_file is not None:
        try:
            return Path(value_file).read_text(encoding="utf-8").removesuffix("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise CommandError(CONFIGURATION, f"--value-file {value_file}: cannot be read: {error}") from error
    if not sys.stdin.isatty():
        raise CommandError(USAGE, "no value: give --value-file FILE, --value-file - or, unless it is a secret, --value")
    return str(click.prompt(f"Value of {name}", hide_input=secret, confirmation_prompt=secret))
