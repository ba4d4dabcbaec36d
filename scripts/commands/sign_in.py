"""`understudy sign-in`: ways to sign in beside the password."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node

_PATH = "/api/v1/sign-in"


@click.group("sign-in")
def sign_in() -> None:
    """Ways to sign in beside the password."""


@sign_in.command()
@asks_node
def show(asker: Asker) -> None:
    """What is set."""
    found = asker.client.get(_PATH)
    asker.show(found, _lines(found))


def _lines(found: dict[str, Any]) -> list[str]:
    name = found.get("passkeys", {}).get("rp_id")
    told = [f"passkeys: for {name or 'the name in the address of the browser'}"] if "passkeys" in found else []
    trust = found["proxy"]
    if not trust["proxies"]:
        return ["trusted proxies: none", *told]
    made = f"made with the role {trust['new_role']}" if trust["new_role"] else "refused"
    return [
        f"trusted proxies: {', '.join(trust['proxies'])} say who signs in, by {trust['user_header']}",
        f"  browser's address: {trust['address_header'] or 'not told'}; unknown users: {made}",
        *told,
    ]


@sign_in.command()
@click.argument("proxies", nargs=-1, required=True)
@click.option("--user-header", default="X-Remote-User", show_default=True, help="The header that says who.")
@click.option("--address-header", default="", help="The header whose last address is the browser's.")
@click.option("--new-role", default="", help="Make users who are not there yet, with this role.")
@reason_option
@asks_node
def dangerously_trust_proxies(
    asker: Asker, proxies: tuple[str, ...], user_header: str, address_header: str, new_role: str, reason: str
) -> None:
    """Take the word of PROXIES (addresses or networks) for who signs in: whoever connects from there can be anybody."""
    body = {
        "proxies": list(proxies),
        "user_header": user_header,
        "address_header": address_header,
        "new_role": new_role,
    }
    done = _put(asker, body, reason)
    asker.show(done, _lines({"proxy": done}))


@sign_in.command()
@reason_option
@asks_node
def trust_no_proxy(asker: Asker, reason: str) -> None:
    """Take no proxy's word any more. Sessions that are open go on: understudy user sign-out-all"""
    done = _put(asker, {}, reason)
    asker.show(done, "No proxy says who signs in.")


@sign_in.command()
@click.argument("name", default="")
@reason_option
@asks_node
def name_passkeys(asker: Asker, name: str, reason: str) -> None:
    """Make passkeys for NAME, in which the names of both nodes end; without it, for each node's own name."""
    path = f"{_PATH}/passkeys?{urlencode({'reason': reason})}"
    done = asker.client.ask("PUT", path, {"rp_id": name}).value
    asker.show(done, f"Passkeys are made for {name or 'the name in the address of the browser'}.")


def _put(asker: Asker, body: dict[str, Any], reason: str) -> Any:
    path = f"{_PATH}/dangerously-trusted-proxies?{urlencode({'reason': reason})}"
    return asker.client.ask("PUT", path, body).value
