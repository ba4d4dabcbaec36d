"""`understudy banner` and `understudy login-message`: what people are told on every page, and after sign-in."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from scripts.client import CONFIGURATION, FAILED, OK, USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant

_SET = ("title", "body", "severity", "audience", "before_sign_in", "start_us", "expiry_us")
_TIME = "as 2026-11-22T22:00Z (without a zone: UTC), or none"


@click.group()
def banner() -> None:
    """The banner at the top of every page of both nodes."""


@click.group("login-message")
def login_message() -> None:
    """The message that each user sees once after sign-in and must dismiss; a new text is shown again."""


def _options(function: Any) -> Any:
    for option in (
        click.option("--title", help="One line."),
        click.option("--body", help="Markdown: paragraphs, **bold**, *italic*, `code`, [words](https://…), lists."),
        click.option("--body-file", metavar="FILE", help="The same from a file; - reads standard input."),
        click.option("--severity", type=click.Choice(["info", "warning", "danger"])),
        click.option("--audience", metavar="ROLES", help="everybody, or names of roles with commas between."),
        click.option(
            "--before-sign-in/--after-sign-in",
            "before_sign_in",
            default=None,
            help="Of a banner: also on the sign-in page and on the standby's own page.",
        ),
        click.option("--start", metavar="TIME", help=f"From when on it is shown, {_TIME}."),
        click.option("--expiry", metavar="TIME", help=f"Until when it is shown, {_TIME}."),
        reason_option,
    ):
        function = option(function)
    return function


def _set(asker: Asker, place: str, word: str, given: dict[str, Any]) -> None:
    known = asker.client.get(place)
    body = {name: known[name] for name in _SET} | _changes(given)
    done = asker.client.ask("PUT", place, body | {"reason": given["reason"]}).value
    how = "on" if done["is_on"] else f"off. Switch it on: understudy {word.replace(' ', '-')} on"
    asker.show(done, f"The {word} is set (text {done['version']}). It is {how}" + ("." if done["is_on"] else ""))


def _changes(given: dict[str, Any]) -> dict[str, Any]:
    """What was given, as fields; what was not stays."""
    if given["body"] is not None and given["body_file"] is not None:
        raise CommandError(USAGE, "give --body or --body-file, not both")
    text = given["body"] if given["body_file"] is None else _read(given["body_file"])
    found = {name: given[name] for name in ("title", "severity", "before_sign_in")} | {"body": text}
    audience = given["audience"]
    if audience is not None:
        roles = [role.strip() for role in audience.split(",") if role.strip()]
        found["audience"] = [] if roles == ["everybody"] else roles
    changes = {name: value for name, value in found.items() if value is not None}
    for flag in ("start", "expiry"):
        if given[flag] is not None:
            changes[f"{flag}_us"] = None if given[flag] == "none" else instant_us(given[flag], f"--{flag}")
    return changes


def instant_us(text: str, flag: str) -> int:
    """An ISO 8601 time in microseconds; without a zone it is UTC. Raises `CommandError` that names the flag."""
    try:
        at = datetime.fromisoformat(text)
        return int(at.replace(tzinfo=at.tzinfo or UTC).timestamp()) * 1_000_000
    except (ValueError, OverflowError) as error:
        raise CommandError(USAGE, f"{flag} {text}: write it {_TIME}") from error


def _read(file: str) -> str:
    try:
        return sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(CONFIGURATION, f"--body-file {file}: cannot be read: {error}") from error


def _get(asker: Asker, place: str, word: str) -> int:
    found = asker.client.get(place)
    if not found["version"]:
        asker.show(found, f"There is no {word}. Make one: understudy {word.replace(' ', '-')} set --title TITLE")
        return FAILED
    state = "shown now" if found["is_shown"] else "on, outside of its times" if found["is_on"] else "off"
    lines = [
        f"{found['title']} ({found['severity']}; {state})",
        *found["body"].splitlines(),
        f"for {', '.join(found['audience']) or 'everybody'}"
        + (", before sign-in too" if found["before_sign_in"] and not found["audience"] and word == "banner" else ""),
        f"from {instant(found['start_us'])} until {instant(found['expiry_us'])}",
        f"text {found['version']}, changed by {found['changed_by']} at {instant(found['changed_at_us'])}",
    ]
    if word != "banner":
        lines.append(f"dismissed by {found['dismissed_by']} users")
    asker.show(found, lines)
    return OK if found["is_on"] else FAILED


def _switch(asker: Asker, place: str, word: str, what: str, reason: str) -> None:
    done = asker.client.post(f"{place}/{what}", {"reason": reason})
    asker.show(done, f"The {word} is {what}." if done["changed"] else f"The {word} was {what} already.")


def _commands(group: click.Group, place: str, word: str) -> None:
    @group.command("set")
    @_options
    @asks_node
    def put(asker: Asker, **given: Any) -> None:
        _set(asker, place, word, given)

    @group.command()
    @asks_node
    def get(asker: Asker) -> int:
        return _get(asker, place, word)

    @group.command()
    @reason_option
    @asks_node
    def on(asker: Asker, reason: str) -> None:
        _switch(asker, place, word, "on", reason)

    @group.command()
    @reason_option
    @asks_node
    def off(asker: Asker, reason: str) -> None:
        _switch(asker, place, word, "off", reason)

    put.help = (
        f"Set the text of the {word} and what goes with it; what is not given stays. It is not switched on by that."
    )
    get.help = f"The {word}. Exit code 0 when it is on, 1 when it is off or there is none."
    on.help, off.help = f"Switch the {word} on.", f"Switch the {word} off."


_commands(banner, "/api/v1/banner", "banner")
_commands(login_message, "/api/v1/login-message", "login message")
