"""`understudy notification`: who is told of what happens, and whether it reached them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import click

from scripts.client import CONFIGURATION, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table

_LISTS = "/api/v1/notification-lists"
_NOBODY = {"emails": [], "webhooks": [], "traps": [], "alarms": False, "description": ""}


@click.group()
def notification() -> None:
    """Notification lists: e-mail addresses, webhooks and SNMP trap receivers. Jobs name them."""


@notification.command("list")
@asks_node
def list_lists(asker: Asker) -> None:
    """All lists with their receivers."""
    found = asker.client.get(f"{_LISTS}?limit=1000")
    lines = [(n["name"], "alarms" if n["alarms"] else "", _receivers(n), n["description"]) for n in found]
    asker.show(found, table(lines, ("LIST", "", "RECEIVERS", "")))


def _receivers(found: dict[str, Any]) -> str:
    return ", ".join([*found["emails"], *found["webhooks"], *(f"trap {one}" for one in found["traps"])]) or "nobody"


@notification.command("set")
@click.argument("name")
@click.option("--email", multiple=True, metavar="ADDRESS", help="Several are possible; they replace those it has.")
@click.option("--webhook", multiple=True, metavar="URL", help="Told by POST, signed. They replace those it has.")
@click.option(
    "--secret-file", metavar="FILE", help="The secret of the webhooks given, 8 characters or more; - reads it."
)
@click.option("--trap", multiple=True, metavar="HOST:PORT", help="Receivers of SNMP traps. They replace those it has.")
@click.option("--community-file", metavar="FILE", help="The community of the traps given; new ones need it.")
@click.option("--alarms/--no-alarms", default=None, help="Whether it is told of alarms among the system messages.")
@click.option("--description", default=None)
@asks_node
def set_list(asker: Asker, name: str, secret_file: str | None, community_file: str | None, **given: Any) -> None:
    """Make a list or change one; what is not given stays."""
    known = [one for one in asker.client.get(f"{_LISTS}?limit=1000") if one["name"] == name]
    before: dict[str, Any] = known[0] if known else dict(_NOBODY)
    secret, community = _read(secret_file), _read(community_file)
    hooks = [{"url": url, "secret": secret} for url in given["webhook"]] or [{"url": u} for u in before["webhooks"]]
    traps = [{"address": a, "community": community} for a in given["trap"]] or [{"address": a} for a in before["traps"]]
    body = {
        "emails": list(given["email"]) or before["emails"],
        "webhooks": hooks,
        "traps": traps,
        "alarms": before["alarms"] if given["alarms"] is None else given["alarms"],
        "description": before["description"] if given["description"] is None else given["description"],
    }
    made = asker.client.ask("PUT", f"{_LISTS}/{quote(name)}", body).value
    asker.show(made, f"The list {name} tells {_receivers(made)}. Try it: understudy notification test {name}")


def _read(file: str | None) -> str | None:
    return None if file is None else read_secret(file)


def read_secret(file: str) -> str:
    """What is in a file, `-` standard input, without the end of the line."""
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(CONFIGURATION, f"{file}: cannot be read: {error}") from error
    return text.removesuffix("\n")


@notification.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a list, with what waits for it."""
    confirm(f"Delete the notification list {name}?", yes)
    done = asker.client.ask("DELETE", f"{_LISTS}/{quote(name)}?{urlencode({'reason': reason})}").value
    asker.show(done, f"The list {name} is deleted.")


@notification.command()
@click.argument("name")
@asks_node
def test(asker: Asker, name: str) -> None:
    """Send a test message to every receiver of a list."""
    done = asker.client.post(f"{_LISTS}/{quote(name)}/test", {})
    asker.show(done, f"{done['deliveries']} messages are on their way: understudy notification log --list {name}")


@notification.command("log")
@click.option("--list", "name", default="", help="Of this list.")
@click.option("--state", default="", help="waiting, sent or given up.")
@asks_node
def show_log(asker: Asker, name: str, state: str) -> None:
    """What was sent to whom, the newest first, and why it was not."""
    found = asker.client.get(f"/api/v1/notifications?{urlencode({'list': name, 'state': state})}")
    lines = [
        (
            d["id"],
            instant(d["created_at_us"]),
            d["list"],
            d["address"],
            d["what"],
            d["state"],
            d["attempts"],
            d["error"],
        )
        for d in found
    ]
    asker.show(found, table(lines, ("ID", "SINCE", "LIST", "TO", "WHAT", "STATE", "TRIES", "ERROR")))


@notification.command()
@click.option("--host", help="The mail server. Without options: shows what is set.")
@click.option("--port", type=int, default=None)
@click.option("--sender", help="The address that mails come from.")
@click.option("--user", default=None)
@click.option("--password-file", metavar="FILE", help="A file with the user's password; - reads it here.")
@click.option("--security", type=click.Choice(["starttls", "tls", "none"]), default=None)
@asks_node
def smtp(asker: Asker, password_file: str | None, **given: Any) -> None:
    """Over which server mail is sent."""
    found = asker.client.get("/api/v1/smtp")
    chosen = {name: value for name, value in given.items() if value is not None}
    if chosen or password_file:
        body = (found or {}) | chosen | {"password": _read(password_file)}
        found = asker.client.ask("PUT", "/api/v1/smtp", body).value
    if not found:
        asker.show(found, "No mail server is set: understudy notification smtp --host HOST --sender ADDRESS")
        return
    user = f" as {found['user']}" if found["user"] else ""
    where = f"{found['host']}:{found['port']} ({found['security']}){user}"
    asker.show(found, f"Mail from {found['sender']} goes over {where}.")


@notification.command()
@click.argument("allowed", nargs=-1, metavar="[HOST]...")
@click.option("--every", is_flag=True, help="Talk to every host that something names, as before any was allowed.")
@reason_option
@asks_node
def hosts(asker: Asker, allowed: tuple[str, ...], every: bool, reason: str) -> None:
    """Which hosts the server may talk to for webhooks, traps, mail and OpenID; those given replace those that it has.

    A HOST is a name, *.NAME, an address, a network, or NAME=NETWORK: the name, as long as it leads there.
    """
    if allowed and every:
        raise CommandError(CONFIGURATION, "Name hosts, or give --every, not both.")
    if allowed or every:
        asker.client.ask("PUT", f"/api/v1/allowed-hosts?{urlencode({'reason': reason})}", {"hosts": list(allowed)})
    found = asker.client.get("/api/v1/allowed-hosts")
    lines = [f"It may talk to {', '.join(found['hosts']) or 'every host that something names'}."]
    lines += [f"Not allowed, and told nothing: {one}" for one in found["shut_out"]]
    asker.show(found, "\n".join(lines))
