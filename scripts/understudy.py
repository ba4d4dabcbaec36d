"""The command `understudy`: a noun, then a verb.

Groups are imported when they are used, so that `status` starts quickly.
"""

from __future__ import annotations

import importlib
import json
import sys

import click

from scripts.client import CommandError

COMMANDS = {
    "init": ("scripts.commands.node", "init"),
    "serve": ("scripts.commands.node", "serve"),
    "status": ("scripts.commands.status", "status"),
    "swap": ("scripts.commands.swap", "swap"),
    "go-alone": ("scripts.commands.swap", "go_alone"),
    "verify": ("scripts.commands.verify", "verify"),
    "sql": ("scripts.commands.verify", "sql"),
    "forks": ("scripts.commands.forks", "forks"),
    "agent": ("scripts.commands.agent_group", "agent"),
    "group": ("scripts.commands.groups", "group"),
    "node": ("scripts.commands.nodes", "node"),
    "certificates": ("scripts.commands.certificates", "certificates"),
    "witness": ("scripts.commands.witness", "witness"),
    "scheduler": ("scripts.commands.asides", "scheduler"),
    "queue": ("scripts.commands.gates", "queue"),
    "maintenance": ("scripts.commands.maintenance", "maintenance"),
    "job": ("scripts.commands.jobs", "job"),
    "variable": ("scripts.commands.variables", "variable"),
    "workflow": ("scripts.commands.workflow_group", "workflow"),
    "environment": ("scripts.commands.environments", "environment"),
    "resource": ("scripts.commands.resources", "resource"),
    "command-set": ("scripts.commands.environments", "command_set"),
    "calendar": ("scripts.commands.calendars", "calendar"),
    "notification": ("scripts.commands.notifications", "notification"),
    "monitor": ("scripts.commands.monitors", "monitor"),
    "events": ("scripts.commands.monitors", "events"),
    "fire-event": ("scripts.commands.monitors", "fire_event"),
    "checkpoint": ("scripts.commands.checkpoints", "checkpoint"),
    "suspend": ("scripts.commands.checkpoints", "suspend"),
    "progress": ("scripts.commands.checkpoints", "progress"),
    "import": ("scripts.commands.imports", "import_"),
    "missed": ("scripts.commands.missed", "missed"),
    "export": ("scripts.commands.imports", "export"),
    "forecast": ("scripts.commands.forecast", "forecast"),
    "explain": ("scripts.commands.explain", "explain"),
    "run": ("scripts.commands.runs", "run"),
    "history": ("scripts.commands.history", "history"),
    "banner": ("scripts.commands.announcements", "banner"),
    "login-message": ("scripts.commands.announcements", "login_message"),
    "message": ("scripts.commands.audit", "message"),
    "audit": ("scripts.commands.audit", "audit"),
    "user": ("scripts.commands.people", "user"),
    "tenant": ("scripts.commands.tenants", "tenant"),
    "sign-in": ("scripts.commands.sign_in", "sign_in"),
    "role": ("scripts.commands.roles", "role"),
    "demo": ("scripts.commands.node", "demo"),
}


class Lazy(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one."""
        place = COMMANDS.get(cmd_name)
        if place is None:
            return None
        command: click.Command = getattr(importlib.import_module(place[0]), place[1])
        return command


@click.group(cls=Lazy, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="understudy", prog_name="understudy")
def understudy() -> None:
    """A job scheduler for two machines: a master, and a standby that knows the part."""


def main() -> None:
    """Run a command; every failure is one message on standard error and an exit code of the contract."""
    run(understudy)


def run(command: click.Command) -> None:
    """Run a click command as this process."""
    try:
        code = command.main(standalone_mode=False)
    except click.exceptions.Exit as leave:
        code = leave.exit_code
    except click.Abort:
        click.echo("stopped; nothing more was done", err=True)
        code = 130
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except CommandError as error:
        if "--json" in sys.argv:
            click.echo(json.dumps({"error": error.problem}))
        click.echo(f"understudy: {error}", err=True)
        code = error.exit_code
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
