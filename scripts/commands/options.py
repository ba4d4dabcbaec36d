"""What all command groups share: which node is asked, and how an answer is shown."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import wraps
from inspect import signature
from pathlib import Path
from typing import Any

import click

from scripts.client import CONFIGURATION, TIMEOUT_S, Client, CommandError

OWN_NODE_TIMEOUT_S = 90.0
"""A promotion asks witnesses and opens office before it answers."""

SYSTEM_DATA = Path("/var/lib/understudy")


class Asker:
    """The options of a command that asks a node."""

    def __init__(
        self,
        data: str | None,
        servers: Sequence[str],
        token: str,
        ca: str,
        fingerprint: str,
        as_json: bool,
        timeout_s: float = TIMEOUT_S,
    ):
        self.data = data_directory(data)
        self.given_data = bool(data)
        self.servers = tuple(servers)
        self.as_json = as_json
        places = list(servers) or [f"unix:{self.data / 'understudy.sock'}"]
        authority = ca or (str(self.data / "ca.crt") if servers and (self.data / "ca.crt").exists() else "")
        self.client = Client(places, token, "" if fingerprint else authority, fingerprint, timeout_s)

    def show(self, value: Any, text: str | Iterable[str]) -> None:
        """Print `value` as JSON with --json, else `text`: a string, or lines."""
        if self.as_json:
            click.echo(json.dumps(value, indent=None, separators=(",", ":")))
        else:
            for line in [text] if isinstance(text, str) else text:
                click.echo(line)


def data_directory(given: str | None) -> Path:
    """`--data`, `UNDERSTUDY_DATA`, /var/lib/understudy, ~/.local/share/understudy:

    the same rule as the server's.
    """
    chosen = given or os.environ.get("UNDERSTUDY_DATA")
    if chosen:
        return Path(chosen).expanduser().absolute()
    if SYSTEM_DATA.is_dir() or os.geteuid() == 0:
        return SYSTEM_DATA
    return Path("~/.local/share/understudy").expanduser()


data_option = click.option("--data", metavar="DIR", help="The node's data directory.")


def asks_node(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that choose a node; the command gets an `Asker` first."""

    @data_option
    @click.option(
        "--server",
        "servers",
        multiple=True,
        envvar="UNDERSTUDY_SERVER",
        metavar="URL",
        help="Ask this node instead; give both.",
    )
    @click.option("--token-file", type=click.Path(exists=True, dir_okay=False), help="File with an API token.")
    @click.option("--ca", default="", envvar="UNDERSTUDY_CA", metavar="FILE", help="The cluster's ca.crt.")
    @click.option("--fingerprint", default="", envvar="UNDERSTUDY_FINGERPRINT", help="The cluster's fingerprint.")
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(function)
    def command(
        *args: Any,
        data: str | None,
        servers: Sequence[str],
        token_file: str | None,
        ca: str,
        fingerprint: str,
        as_json: bool,
        in_tenant: str = "",
        **more: Any,
    ) -> Any:
        token = Path(token_file).read_text().strip() if token_file else os.environ.get("UNDERSTUDY_TOKEN", "")
        asker = Asker(data, servers, token, ca, fingerprint, as_json)
        if in_tenant:
            asker.client.more_headers["Understudy-Tenant"] = in_tenant
        return function(asker, *args, **more)

    if "tenant" in signature(function).parameters:  # it says itself what it does with one
        return command
    return tenant_option(command)


tenant_option = click.option(
    "--tenant", "in_tenant", default="", envvar="UNDERSTUDY_TENANT", metavar="T", help="Do it in the name of a tenant."
)
"""For people of the host: as if the tenant asked."""


def asks_own_node(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a command that asks the node of a data directory only, over its socket."""

    @data_option
    @click.option("--json", "as_json", is_flag=True, help="Print JSON.")
    @wraps(function)
    def command(*args: Any, data: str | None, as_json: bool, **more: Any) -> Any:
        return function(Asker(data, (), "", "", "", as_json, timeout_s=OWN_NODE_TIMEOUT_S), *args, **more)

    return command


def read_password(password_file: str | None, prompt: str, confirm: bool = False) -> str:
    """From --password-file, `UNDERSTUDY_PASSWORD`, or a prompt that shows nothing; never from an argument.

    Without a terminal nothing is asked: what is missing is an error that names the flag.
    """
    if password_file:
        try:
            return Path(password_file).read_text(encoding="utf-8").rstrip("\r\n")
        except OSError as error:
            raise CommandError(CONFIGURATION, f"--password-file {password_file}: {error.strerror}") from error
    from_environment = os.environ.get("UNDERSTUDY_PASSWORD")
    if from_environment:
        return from_environment
    if not sys.stdin.isatty():
        raise CommandError(CONFIGURATION, "no password: give --password-file FILE or UNDERSTUDY_PASSWORD")
    return str(click.prompt(prompt, hide_input=True, confirmation_prompt=confirm))


def confirm(question: str, yes: bool, flag: str = "--yes") -> None:
    """Ask with a terminal; without one the flag is needed. Raises `CommandError` when it is not to be done."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise CommandError(2, f"{question} Without a terminal this needs {flag}")
    if not click.confirm(question):
        raise CommandError(1, "nothing was done")


def table(rows: Sequence[Sequence[object]], head: Sequence[str]) -> list[str]:
    """Lines of aligned columns."""
    cells = [["" if cell is None else str(cell) for cell in row] for row in [head, *rows]]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def instant(at_us: int | None) -> str:
    """An instant in UTC to the second, or a dash."""
    if at_us is None:
        return "-"
    return datetime.fromtimestamp(at_us // 1_000_000, UTC).strftime("%Y-%m-%d %H:%M:%SZ")
