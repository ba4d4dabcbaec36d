"""`understudy export`, and `understudy import`: everything as one file, and jobs of the files of other schedulers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from scripts.client import CONFIGURATION, FAILED, OK, USAGE, CommandError
from scripts.commands.options import Asker, asks_node


def _place(function: Any) -> Any:
    """Where the jobs run, and what all imports have."""
    for option in (
        click.argument("file", type=click.Path(dir_okay=False)),
        click.option("--agent", default="", help="The agent that runs the jobs."),
        click.option("--group", default="", help="The group that runs them, instead of one agent."),
        click.option("--zone", default="UTC", help="The zone of its times."),
    ):
        function = option(function)
    return function


@click.group("import")
def import_() -> None:
    """Make jobs of what another scheduler has."""


@import_.command()
@_place
@click.option("--system", is_flag=True, help="Lines have a user field, as in /etc/crontab.")
@click.option("--anacron", is_flag=True, help="It is an anacrontab: period, delay, name, command.")
@click.option("--prefix", default="cron", help="What the jobs' names begin with.")
@asks_node
def crontab(asker: Asker, file: str, system: bool, anacron: bool, **where: str) -> int:
    """Make jobs of a crontab; reports every line. Exit code 1 when a line was refused."""
    if system and anacron:
        raise CommandError(USAGE, "a file is a crontab with users (--system) or an anacrontab (--anacron), not both")
    form = "anacron" if anacron else "system" if system else "user"
    return _import(asker, "crontab", file, {**where, "form": form})


@import_.command()
@_place
@click.option("--target", "targets", multiple=True, metavar="NAME=AGENT", help="Where that server or group is here.")
@click.option("--prefix", default="cronicle", help="What the jobs' names begin with.")
@asks_node
def cronicle(asker: Asker, file: str, targets: tuple[str, ...], **where: str) -> int:
    """Make jobs of a Cronicle export (`control.sh export`); reports every event. Exit code 1 when one was refused.

    --target maingrp='group workers' --target db1=north: where its servers and groups are here.
    """
    pairs = [one.partition("=") for one in targets]
    for name, equals, place in pairs:
        if not (name and equals and place):
            raise CommandError(USAGE, f"--target {name}: write NAME=AGENT, or NAME='group GROUP'")
    return _import(asker, "cronicle", file, {**where, "targets": {name: place for name, _, place in pairs}})


@import_.command("all")
@click.argument("file", type=click.Path(dir_okay=False))
@click.option("--trial", is_flag=True, help="Only say what would be made and changed.")
@asks_node
def import_all(asker: Asker, file: str, trial: bool) -> int:
    """Bring about what an export says (`understudy export`). What it does not name stays. Exit code 1 when an entry was
    refused.
    """
    report = asker.client.post("/api/v1/import/all", {"text": _read(file), "trial": trial})
    lines = [f"{one['outcome']:<8}  {one['noun']} {one['name']}" + _because(one) for one in report]
    same = sum(one["outcome"] == "same" for one in report)
    shown = [line for line, one in zip(lines, report, strict=True) if one["outcome"] != "same"]
    asker.show(report, [*shown, f"{same} of {len(report)} entries were so already."])
    return FAILED if any(one["outcome"] == "refused" for one in report) else OK


@click.command()
@click.argument("file", type=click.Path(dir_okay=False, writable=True), required=False)
@asks_node
def export(asker: Asker, file: str | None) -> None:
    """Everything that people have said, as YAML: into FILE, or printed. Secrets are named without their values."""
    text = asker.client.get("/api/v1/export")
    if file is None:
        click.echo(text, nl=False)
        return
    try:
        Path(file).write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandError(CONFIGURATION, f"{file}: cannot be written: {error}") from error
    asker.show({"file": file, "bytes": len(text.encode())}, f"Everything is in {file}.")


def _because(one: dict[str, Any]) -> str:
    return f"  ({one['reason']})" if one["reason"] else ""


def _read(file: str) -> str:
    try:
        return Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(CONFIGURATION, f"{file}: cannot be read: {error}") from error


def _import(asker: Asker, kind: str, file: str, body: dict[str, Any]) -> int:
    text = _read(file)
    if kind == "crontab" and bool(body["agent"]) == bool(body["group"]):
        raise CommandError(USAGE, "where do they run? Give --agent AGENT (understudy agent list) or --group GROUP")
    report = asker.client.post(f"/api/v1/import/{kind}", {**body, "text": text})
    asker.show(report, [_line(line) for line in report])
    return FAILED if any(line["outcome"] == "refused" for line in report) else OK


def _line(line: dict[str, Any]) -> str:
    what = line["job"] or line["text"].strip()[:60]
    return f"{line['line']:>4}  {line['outcome']:<11}  {what}" + _because(line)
