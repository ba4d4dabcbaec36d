"""`master-to-standby`: make this node the standby of a master. Also installed as `masterToStandby`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any

import click

from scripts.client import CONFIGURATION, FAILED, OK, TIMED_OUT, USAGE, CommandError
from scripts.commands.options import asks_own_node, confirm, read_password
from scripts.commands.role import Asker, answers, enrol_stopped, fingerprint_of, is_running
from scripts.commands.status import copy_line
from scripts.understudy import run

POLL_S = 0.3
COPY_LINE_S = 2.0


@click.command()
@click.option("--master", help="The master's network address.")
@click.option("--port", type=int, help="Its listen port, the web port (default 8008).")
@click.option(
    "--fingerprint", "expected", envvar="UNDERSTUDY_FINGERPRINT", help="As Server Properties on the master shows it."
)
@click.option("--user", default="admin", help="An administrator of the cluster.")
@click.option("--password-file", help="File with that administrator's password.")
@click.option("--code", default="", help="Six digits or a recovery code, for a user with a second factor; else asked.")
@click.option("--name", default="", help="This node's name, when it is new.")
@click.option("--wait/--no-wait", default=True, help="Follow the copy until this node has everything.")
@click.option("--timeout", "timeout_s", type=float, default=3600.0, help="Seconds to wait for the copy.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_own_node
def master_to_standby(
    asker: Asker,
    master: str | None,
    port: int | None,
    expected: str | None,
    user: str,
    password_file: str | None,
    code: str,
    name: str,
    wait: bool,
    timeout_s: float,
    yes: bool,
) -> int:
    """Make this node the standby. Copies only what differs, and ends by streaming."""
    running = is_running(asker.data)
    if running and _streams_already(asker):
        asker.show({"already": True}, "This node is a standby and streams from its master already.")
        return OK
    master, port = _ask_where(master, port)
    expected = fingerprint_of(asker.data, master, port, expected)
    confirm(f"Make this node the standby of {master}? What it has and the master never had is kept as a fork.", yes)
    password = read_password(password_file, f"Password of {user} at {master}")
    asked = {
        "master": master,
        "port": port,
        "fingerprint": expected,
        "user": user,
        "password": password,
        "name": name,
        "code": code,
    }
    if not running:
        text = _with_code(asked, lambda: enrol_stopped(asker.data, asked))
        asker.show({"recorded": True, "text": text}, text)
        return OK
    done = _with_code(asked, lambda: asker.client.post("/api/v1/node/standby", asked))
    if not asker.as_json:
        click.echo(done["text"])
    if not wait:
        asker.show(done, ())
        return OK
    return _follow(asker, timeout_s)


def _with_code(asked: dict[str, Any], enrol: Callable[[], Any]) -> Any:
    """Enrol; when the master asks for a code and there is a terminal, ask for it and enrol again."""
    try:
        with answers():
            return enrol()
    except CommandError as error:
        if error.problem.get("code") != "second_factor_needed" or not sys.stdin.isatty():
            raise
    asked["code"] = click.prompt(f"Code of the second factor of {asked['user']}")
    with answers():
        return enrol()


def _streams_already(asker: Asker) -> bool:
    status = asker.client.get("/api/v1/status")
    if status["role"] == "master":
        raise CommandError(
            CONFIGURATION,
            "this node is master. To exchange the roles type `understudy swap`; to give its office away for good, "
            "stop it, type `standby-to-master` on the other node, start it, and type this again",
        )
    connected = any(peer["connected"] for peer in status.get("peers", ()))
    return status["state"] in ("COPYING", "SYNCING", "IN_SYNC") and connected


def _ask_where(master: str | None, port: int | None) -> tuple[str, int]:
    """The master's address and port: flags, else a prompt on a terminal."""
    if sys.stdin.isatty():
        master = master or click.prompt("Network address of the master")
        port = port or click.prompt("Its listen port", default=8008, type=int)
    if not master:
        raise CommandError(USAGE, "where is the master? Give --master HOST (Server Properties on the master shows it)")
    return master, port or 8008


def _follow(asker: Asker, timeout_s: float) -> int:
    """Show the copy's progress until this node follows the master with everything."""
    deadline = time.monotonic() + timeout_s
    said, said_at = "", 0.0
    while time.monotonic() < deadline:
        status: dict[str, Any] = asker.client.get("/api/v1/status")
        text = _progress(status)
        pause_s = COPY_LINE_S if text[:4] == said[:4] == "Copy" else 0.0
        if text != said and time.monotonic() >= said_at + pause_s and not asker.as_json:
            click.echo(text)
            said, said_at = text, time.monotonic()
        if status["state"] == "IN_SYNC" or (status["state"] == "SYNCING" and _has_all(status)):
            asker.show(status, "This node is the standby and streams from the master.")
            return OK
        if status["role"] == "master":
            raise CommandError(FAILED, "this node took office meanwhile; look at `understudy status`")
        time.sleep(POLL_S)
    raise CommandError(TIMED_OUT, f"the copy is not ready after {timeout_s:.0f} s; it goes on: understudy status")


def _has_all(status: dict[str, Any]) -> bool:
    """Steadiness is still being watched, but nothing is missing here."""
    connected = any(peer["connected"] for peer in status["peers"])
    return connected and status["applied_sequence"] >= status["commit_sequence"] > 0


def _progress(status: dict[str, Any]) -> str:
    if status.get("waiting_for"):
        return f"Waiting: {status['waiting_for']}"
    if status.get("copy") is not None:
        return f"Copying: {copy_line(status['copy'])}"
    return f"{status['state']}: request {status['applied_sequence']} of {status['commit_sequence']} applied"


def main() -> None:
    """The console script."""
    run(master_to_standby)


if __name__ == "__main__":
    main()
