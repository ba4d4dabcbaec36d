"""`understudy workflow`: workflows as files, their versions, and what differs between two."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from scripts.client import CONFIGURATION, FAILED, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table

ROOT = "/api/v1/workflows"
file_argument = click.argument("file", type=click.Path(dir_okay=False, allow_dash=True))


@click.group()
def workflow() -> None:
    """Workflows: steps with edges between them, written as YAML or JSON."""


@workflow.command("list")
@click.option("--match", default="", help="A part of the name.")
@click.option("--tag", default="", help="Those that have this tag.")
@asks_node
def list_workflows(asker: Asker, match: str, tag: str) -> None:
    """All workflows."""
    found = list(asker.client.pages(f"{ROOT}?match={quote(match)}&tag={quote(tag)}", "name"))
    rows = [
        (
            w["name"],
            w["version"],
            w["steps"],
            "held" if w["held"] else "",
            w["made_by"],
            instant(w["made_at_us"]),
            w["tags"],
        )
        for w in found
    ]
    asker.show(found, table(rows, ("WORKFLOW", "VERSION", "STEPS", "", "CHANGED BY", "AT", "TAGS")))


@workflow.command()
@click.argument("name")
@click.option("--version", type=int, help="That version instead of the current one.")
@click.option("--text", "only_text", is_flag=True, help="Only the text, as it was written.")
@asks_node
def show(asker: Asker, name: str, version: int | None, only_text: bool) -> None:
    """One workflow: its steps, what each comes after, and what it names and is not there."""
    place = f"{ROOT}/{quote(name)}"
    found = asker.client.get(f"{place}/versions/{version}" if version else place)
    asker.show(found, [found["text"].rstrip("\n")] if only_text else _lines(found))


def _lines(found: dict[str, Any]) -> list[str]:
    spec = found["spec"]
    when = instant(found["made_at_us"])
    lines = [f"{found['name']}, version {found['version']} of {found['current']}, by {found['made_by']} at {when}"]
    lines += [spec["description"]] if spec["description"] else []
    lines += [f"tags: {' '.join(spec['tags'])}"] if spec["tags"] else []
    lines += ["It is held: no run of it begins."] if found["held"] else []
    lines += [f"It is a step of {', '.join(found['users'])}."] if found["users"] else []
    lines += [f"Missing: {text}" for text in found["missing"]]
    rows = [(s["name"], _what(s), _where(s, spec), _after(s), _marks(s)) for s in spec["steps"]]
    return [*lines, "", *table(rows, ("STEP", "DOES", "ON", "AFTER", ""))]


def _what(step: dict[str, Any]) -> str:
    if step["command"]:
        first = str(step["command"]).strip().splitlines()[0]
        return first if len(first) <= 40 else first[:39] + "…"
    return f"job {step['job']}" if step["job"] else f"workflow {step['workflow']}"


def _where(step: dict[str, Any], spec: dict[str, Any]) -> str:
    if not step["command"]:
        return ""
    own = step if step["agent"] or step["group"] else spec
    return str(own["agent"]) or f"group {own['group']}"


def _after(step: dict[str, Any]) -> str:
    joined = " or " if step["join"] == "any" else " and "
    return joined.join(f"{edge['step']} {edge['on']}" for edge in step["after"])


def _marks(step: dict[str, Any]) -> str:
    marks = [f"for each of {len(step['for_each'])}"] if step["for_each"] else []
    marks += ["checkpoint"] if step["checkpoint"] else []
    return ", ".join(marks + (["restartable"] if step["restartable"] else []))


@workflow.command()
@file_argument
@reason_option
@asks_node
def create(asker: Asker, file: str, reason: str) -> None:
    """Add the workflow that FILE says; - is standard input."""
    made = _send(asker, file, "POST", ROOT, reason=reason)
    asker.show(made, f"The workflow {made['name']} is made.")


@workflow.command()
@file_argument
@click.option("--name", help="The workflow that gets this text, when the text gives it another name.")
@click.option("--version", type=int, help="Refuse it unless this is still the current version.")
@reason_option
@asks_node
def update(asker: Asker, file: str, name: str | None, version: int | None, reason: str) -> None:
    """Give a workflow the text of FILE: a new version, unless it has that text already."""
    text = _read(file)
    if name is None:
        name = _checked(asker, file, text)["name"]
    body = {"text": text, "version": version, "reason": reason}
    done = _ask(asker, file, "PUT", f"{ROOT}/{quote(str(name))}", body)
    asker.show(done, f"The workflow {done['name']} is at version {done['version']}.")


@workflow.command()
@file_argument
@asks_node
def check(asker: Asker, file: str) -> None:
    """Say what is wrong in FILE, each with its line, without keeping it."""
    found = _checked(asker, file, _read(file))
    asker.show(found, f"{found['name']}: {found['steps']} steps; it can be kept")


@workflow.command()
@click.argument("name")
@asks_node
def versions(asker: Asker, name: str) -> None:
    """The versions of a workflow, the newest first."""
    found = asker.client.get(f"{ROOT}/{quote(name)}/versions?limit=1000")
    rows = [(v["version"], v["made_by"], instant(v["made_at_us"]), v["reason"]) for v in found]
    asker.show(found, table(rows, ("VERSION", "BY", "AT", "REASON")))


@workflow.command("diff")
@click.argument("name")
@click.option("--from", "since", type=int, help="By default the version before --to.")
@click.option("--to", type=int, help="By default the current version.")
@click.option("--text", "only_text", is_flag=True, help="Only the lines of the text.")
@asks_node
def show_diff(asker: Asker, name: str, since: int | None, to: int | None, only_text: bool) -> None:
    """What changed between two versions: by step and field, then as text."""
    query = "&".join(f"{key}={value}" for key, value in (("from", since), ("to", to)) if value is not None)
    found = asker.client.get(f"{ROOT}/{quote(name)}/diff?{query}")
    asker.show(found, found["text"] if only_text else [*_changes(found), "", *found["text"]])


def _changes(found: dict[str, Any]) -> list[str]:
    lines = [f"What changed from version {found['before']} to {found['after']}"]
    lines += [f"  {_change(one)}" for one in found["fields"]]
    for step in found["steps"]:
        lines.append(f"  step {step['step']} {step['change']}")
        lines += [f"    {_change(one)}" for one in step["fields"]] if step["change"] == "changed" else []
    return lines if len(lines) > 1 else [*lines, "  nothing but its text"]


def _change(one: dict[str, Any]) -> str:
    before, after = (text if text else "nothing" for text in (one["before"], one["after"]))
    return f"{one['field']}: {before} → {after}"


@workflow.command("roll-back")
@click.argument("name")
@click.argument("version", type=int)
@reason_option
@asks_node
def roll_back(asker: Asker, name: str, version: int, reason: str) -> None:
    """Make a new version with the text of VERSION."""
    done = asker.client.post(f"{ROOT}/{quote(name)}/roll-back", {"version": version, "reason": reason})
    asker.show(done, f"The workflow {name} is at version {done['version']}, with the text of version {version}.")


@workflow.command()
@click.argument("name")
@reason_option
@asks_node
def hold(asker: Asker, name: str, reason: str) -> None:
    """Hold a workflow: no run of it begins."""
    _hold(asker, name, True, reason)


@workflow.command()
@click.argument("name")
@reason_option
@asks_node
def release(asker: Asker, name: str, reason: str) -> None:
    """Release a held workflow."""
    _hold(asker, name, False, reason)


def _hold(asker: Asker, name: str, held: bool, reason: str) -> None:
    done = asker.client.ask("PUT", f"{ROOT}/{quote(name)}/hold", {"held": held, "reason": reason}).value
    word = "held" if held else "released"
    asker.show(done, f"The workflow {name} is {word}." if done["changed"] else f"The workflow {name} was so already.")


@workflow.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a workflow; refused while it is a step of another."""
    confirm(f"Delete the workflow {name}? Its versions and runs stay.", yes)
    done = asker.client.ask("DELETE", f"{ROOT}/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The workflow {name} is deleted.")


@workflow.command()
def schema() -> None:
    """Print the JSON Schema of a workflow's text; no node is asked."""
    from server.core import workflow_schema

    click.echo(workflow_schema.text(), nl=False)


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except OSError as error:
        raise CommandError(CONFIGURATION, f"{file}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandError(CONFIGURATION, f"{file} is no text in UTF-8 at byte {error.start}") from error


def _send(asker: Asker, file: str, method: str, path: str, **more: Any) -> Any:
    return _ask(asker, file, method, path, {"text": _read(file), **more})


def _checked(asker: Asker, file: str, text: str) -> dict[str, Any]:
    """What the node says of a text; raises with every mistake as FILE:LINE:COLUMN."""
    found: dict[str, Any] = asker.client.post(f"{ROOT}/check", {"text": text})
    if found["mistakes"]:
        lines = [f"{file}:{m['line']}:{m['column']}: {m['text']}" for m in found["mistakes"]]
        problem = {"code": "invalid", "detail": "the workflow is not right", "mistakes": found["mistakes"]}
        raise CommandError(FAILED, "\n".join(["the workflow is not right:", *lines]), problem)
    return found


def _ask(asker: Asker, file: str, method: str, path: str, body: dict[str, Any]) -> Any:
    """Send a text; what is wrong in it is said line by line."""
    try:
        return asker.client.ask(method, path, body).value
    except CommandError as error:
        fields = error.problem.get("fields") or {}
        if not any(name.startswith("line ") for name in fields):
            raise
        lines = [f"{file}, {name}: {text}" for name, text in fields.items()]
        text = "\n".join(["the workflow is not right:", *lines])
        raise CommandError(error.exit_code, text, error.problem) from error
