"""`understudy init`, `serve` and `demo`: the commands that are a process."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from scripts.client import CONFIGURATION, CommandError
from scripts.commands.options import data_directory, data_option, read_password


def _settings(function: Any) -> Any:
    """Flags of the settings that init and serve share."""
    for option in (
        click.option("--host", help="Address to listen on (default: all)."),
        click.option("--address", help="How others reach this node (default: the host, else this machine's address)."),
        click.option("--port", help="Web port (default 8008)."),
        click.option("--cluster-port", help="Port for nodes and agents (default 8009)."),
    ):
        function = option(function)
    return function


@click.command()
@data_option
@click.option("--name", default="", help="This node's name (default: the machine's).")
@click.option("--password-file", help="File with the administrator's password.")
@_settings
def init(data: str | None, name: str, password_file: str | None, **flags: Any) -> None:
    """Found a new cluster: authority, keys, the administrator `admin`.

    The password is printed once when it is made here.
    """
    from server import app
    from server.config import ConfigError, load_config
    from server.errors import Invalid
    from server.log_lines import configure_log
    from server.people.passwords import check_new_password
    from server.roles import default_name
    from server.trust.founding import ADMINISTRATOR, check_empty, new_password
    from server.trust.tls import fingerprint

    configure_log("warning")
    directory = data_directory(data)
    try:
        check_empty(directory)
        config = load_config(directory, flags)
        asked = password_file or os.environ.get("UNDERSTUDY_PASSWORD") or sys.stdin.isatty()
        password = read_password(password_file, "Password of the administrator", True) if asked else new_password()
        check_new_password(password, ADMINISTRATOR)
        app.initialise(config, name or default_name(config.port), password)
    except (ConfigError, Invalid) as error:
        raise CommandError(CONFIGURATION, str(error)) from error
    click.echo(f"A new cluster is in {directory}.")
    click.echo(f"Administrator: {ADMINISTRATOR}")
    if not asked:
        click.echo(f"Password:      {password}   (shown this once)")
    click.echo(f"Fingerprint:   {fingerprint((directory / 'ca.crt').read_bytes())}")
    click.echo(f"Now start it:  understudy serve --data {directory}")


@click.command()
@data_option
@_settings
@click.option("--behind-proxy", is_flag=True, default=None, help="Plain HTTP on loopback, for a proxy that does TLS.")
@click.option("--hsts", is_flag=True, default=None, help="Browsers: TLS alone for a year, on each port of this name.")
@click.option("--mode", help="Standby lost: available (the default) goes on alone with the witnesses; strict waits.")
@click.option("--standby-timeout-s", help="A standby without progress for so many seconds is lost (default 10).")
@click.option(
    "--fence-command", help="Run before this node takes over, e.g. to switch the other machine off; must exit 0."
)
@click.option("--fence-timeout-s", help="How long the fence command may take, in seconds (default 30).")
@click.option("--log-level", help="debug, info, warning or error.")
def serve(data: str | None, **flags: Any) -> int:
    """Run this node until it is stopped. On an empty directory it waits to become a standby."""
    from server import app
    from server.config import ConfigError, load_config
    from server.log_lines import configure_log

    directory = data_directory(data)
    try:
        config = load_config(directory, flags)
        configure_log(config.log_level)
        return app.serve(config)
    except ConfigError as error:
        raise CommandError(CONFIGURATION, str(error)) from error


@click.command(context_settings={"ignore_unknown_options": True, "help_option_names": []}, add_help_option=False)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def demo(arguments: tuple[str, ...]) -> None:
    """A master, a standby and two agents on loopback, running real jobs."""
    import importlib.util

    if importlib.util.find_spec("scripts.demo") is None:
        raise CommandError(CONFIGURATION, "the demo is part of a checkout: type ./scripts/demo there")
    os.execv(sys.executable, [sys.executable, "-m", "scripts.demo", *arguments])
