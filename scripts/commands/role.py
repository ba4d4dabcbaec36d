"""What both role scripts share:

is the node running, what a stopped one can do, and refusals that name what to type.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from scripts.client import CODES, CONFIGURATION, CommandError
from scripts.commands.options import Asker

__all__ = ["Asker", "answers", "enrol_stopped", "fingerprint_of", "is_running", "leave_wish"]
NEXT = {
    "unauthenticated": "Type it again with --user NAME and --password-file FILE "
    "(on the master `understudy user password NAME` sets a new one)",
    "second_factor_needed": "Type it again with --code and the six digits that your program shows",
    "unreachable": "Type it again with --master HOST and --port PORT as Server Properties on the master shows them",
    "wrong_port": "Type it again with that --port",
    "not_understudy": "Type it again with --port PORT as Server Properties on the master shows it",
    "not_master": "Type it again with --master HOST and --port PORT of that node",
}
"""What to type after a refusal whose own text does not say it."""


def is_running(data: Path) -> bool:
    """Whether a `serve` answers on the directory's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(data / "understudy.sock"))
        except OSError:
            return False
    return True


@contextmanager
def answers() -> Iterator[None]:
    """Turn refusals into messages that end with the command to type next."""
    from server.errors import UnderstudyError
    from server.trust.enrolment import EnrolmentError

    try:
        yield
    except EnrolmentError as error:
        raise refusal(error.code, str(error)) from error
    except UnderstudyError as error:
        raise refusal(error.code, str(error)) from error
    except CommandError as error:
        if error.problem.get("code") in NEXT or error.problem.get("code") == "fingerprint":
            raise refusal(str(error.problem["code"]), str(error)) from error
        raise


def refusal(code: str, text: str) -> CommandError:
    """Why it was refused, that nothing changed, and what to type next."""
    return CommandError(
        CODES.get(code, CONFIGURATION),
        f"{text.rstrip('. ')}. Nothing changed. {NEXT.get(code, '')}".rstrip(),
        {"code": code},
    )


def leave_wish(data: Path, master: dict[str, Any]) -> str:
    """Record on a stopped standby that it is to take office when it starts; what to type next."""
    from server.config import ConfigError
    from server.core.role_requests import BecomeMaster, Wish
    from server.trust.identity import directory_lock, load_identity, save_wish

    try:
        identity = load_identity(data)
        if identity is None or not (data / "journal").is_dir():
            raise CommandError(
                CONFIGURATION,
                f"{data} holds no copy that could take office. Start a node there (understudy serve --data {data}) "
                "and make it a standby with master-to-standby",
            )
        with directory_lock(data, "standby-to-master"):
            save_wish(data, Wish(master=BecomeMaster(**master)))
    except ConfigError as error:
        raise CommandError(CONFIGURATION, str(error)) from error
    return f"Recorded. The node takes office, with all its checks, when it starts: understudy serve --data {data}"


def enrol_stopped(data: Path, asked: dict[str, Any]) -> str:
    """Enrol a stopped node, so that `serve` only has to follow; what to type next."""
    from server.config import ConfigError, load_config
    from server.core.role_requests import BecomeStandby, Wish
    from server.ports.listeners import own_address
    from server.roles import default_name
    from server.trust.enrolment import Joiner, enrol_node
    from server.trust.identity import directory_lock, load_identity, save_wish

    try:
        with directory_lock(data, "master-to-standby"):
            config = load_config(data, {})
            known = load_identity(data)
            name = known.name if known is not None else asked["name"] or default_name(config.port)
            address = config.address or own_address(config.host)
            joiner = Joiner(name, address, config.port, config.cluster_port)
            who = (asked["user"], asked["password"], joiner, asked["code"])
            enrol_node(data, asked["master"], asked["port"], asked["fingerprint"], *who)
            save_wish(data, Wish(standby=BecomeStandby(asked["master"], asked["port"])))
    except ConfigError as error:
        raise CommandError(CONFIGURATION, str(error)) from error
    return f"Enrolled as {name}. The copy begins when the node starts: understudy serve --data {data}"


def fingerprint_of(data: Path, master: str, port: int, given: str | None) -> str:
    """The fingerprint to expect: given, known from the directory, or compared by a person on a terminal."""
    from server.errors import Invalid
    from server.trust.enrolment import EnrolmentError, inspect_node
    from server.trust.tls import fingerprint, normal_fingerprint

    try:
        if given:
            return normal_fingerprint(given)
        if (data / "ca.crt").exists():
            return fingerprint((data / "ca.crt").read_bytes())
        inspect_node(master, port, None)
    except Invalid as error:
        raise refusal("fingerprint", f"--fingerprint: {error}") from error
    except EnrolmentError as error:
        if error.code == "fingerprint_needed" and sys.stdin.isatty():
            click.echo(f"{master}:{port} shows the fingerprint\n  {error.fingerprint}")
            if click.confirm("Does Server Properties on the master show the same?"):
                return error.fingerprint
        raise refusal(error.code, str(error)) from error
    raise CommandError(CONFIGURATION, "no fingerprint: give --fingerprint F (Server Properties on the master shows it)")
