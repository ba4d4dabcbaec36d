"""Inside a job: `understudy checkpoint`, `suspend` and `progress`, said to the agent that runs it."""

from __future__ import annotations

import base64
import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, TIMED_OUT, UNREACHABLE, USAGE, Client, CommandError

BYTES_MAX = 1 << 20
AGENT_S = 60.0
"""An agent that is started again, upgraded for example, is waited for."""
POLL_S = 0.1
key_option = click.option("--key", default="", help="Makes it one checkpoint however often it is sent; else random.")
json_option = click.option("--json", "as_json", is_flag=True, help="For programs.")


@click.command()
@click.argument("file", default="-")
@click.option("--replicated", is_flag=True, help="Wait until the standby has it too.")
@click.option("--timeout", "timeout_s", type=float, default=30.0, help="For --replicated: at most so many seconds.")
@key_option
@json_option
def checkpoint(file: str, replicated: bool, timeout_s: float, key: str, as_json: bool) -> int:
    """Save the state of this job: FILE, or standard input; at most 1 MiB of any bytes.

    It is on the agent's disk when this ends with 0, and its number is printed. A job that is to stop at it (it was
    suspended, or its agent drains) gets no answer: it is ended here, and goes on from it later.
    """
    client, run = _inside()
    kept = _save(client, run, _content(file), False, key)
    if replicated:
        _await_replicated(client, run, kept["number"], timeout_s)
    shown = kept | {"replicated": replicated}
    click.echo(json.dumps(shown) if as_json else str(kept["number"]))
    return OK


@click.command()
@click.argument("file", required=False)
@key_option
def suspend(file: str | None, key: str) -> int:
    """Stop this job here, to go on later from this checkpoint: FILE, or - for standard input.

    Without FILE from the checkpoint that it has. It is ended; this command does not return.
    """
    client, run = _inside()
    _save(client, run, _content(file) if file is not None else None, True, key)
    return OK


@click.command()
@click.argument("percent", type=click.IntRange(0, 100))
@click.argument("text", default="")
def progress(percent: int, text: str) -> int:
    """Say how far this job is: PERCENT from 0 to 100, and TEXT. Shown with the run; the last one counts, one may be
    lost.
    """
    client, run = _inside()
    client.post("/progress", {"run": run, "percent": percent, "text": text})
    return OK


def _inside() -> tuple[Client, str]:
    place, run = os.environ.get("UNDERSTUDY_AGENT_SOCKET"), os.environ.get("UNDERSTUDY_RUN_ID")
    if not place or not run:
        raise CommandError(USAGE, "this is for use inside a job: there is no UNDERSTUDY_AGENT_SOCKET here")
    return Client([f"unix:{_short(Path(place))}"]), run


def _content(file: str) -> bytes:
    try:
        data = sys.stdin.buffer.read(BYTES_MAX + 1) if file == "-" else _head(Path(file))
    except OSError as error:
        raise CommandError(FAILED, f"{file} cannot be read: {error.strerror}. Nothing was kept") from error
    if len(data) > BYTES_MAX:
        raise CommandError(USAGE, f"a checkpoint has at most {BYTES_MAX} bytes. Nothing was kept")
    return data


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(BYTES_MAX + 1)


def _save(client: Client, run: str, data: bytes | None, suspends: bool, key: str) -> dict[str, Any]:
    """Send it with one key until the agent has answered, also one that is being started again."""
    key, end = key or secrets.token_hex(16), time.monotonic() + AGENT_S
    body = {"run": run, "data": base64.b64encode(data).decode() if data is not None else None, "suspend": suspends}
    while True:
        try:
            kept: dict[str, Any] = client.post("/checkpoints", body, key)
            return kept
        except CommandError as error:
            if error.exit_code != UNREACHABLE:
                raise
            if time.monotonic() > end:
                said = "the agent does not answer; it may have kept the checkpoint or not. The same again is one: "
                raise CommandError(UNREACHABLE, f"{said}--key {key}") from error
        time.sleep(POLL_S)


def _await_replicated(client: Client, run: str, number: int, timeout_s: float) -> None:
    end, connected = time.monotonic() + timeout_s, False
    while True:
        try:
            found = client.get(f"/checkpoints?run={quote(run)}&number={number}")
        except CommandError as error:
            if error.exit_code != UNREACHABLE:
                raise
            found = {"replicated": False, "master": False}
        if found["replicated"]:
            return
        connected = found["master"]
        if time.monotonic() > end:
            why = "its master writes alone, or is slow" if connected else "no master answers the agent"
            raise CommandError(
                TIMED_OUT,
                f"checkpoint {number} is kept by the agent and not replicated after {timeout_s:g} s: {why}",
                {"code": "not_replicated", "number": number, "detail": why},
            )
        time.sleep(POLL_S)


def _short(path: Path) -> str:
    """A name of the socket that fits a socket address."""
    if len(os.fsencode(path)) < 100:
        return str(path)
    try:
        return f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)}/{path.name}"
    except OSError as error:
        raise CommandError(UNREACHABLE, f"{path.parent} cannot be opened: {error.strerror}") from error
