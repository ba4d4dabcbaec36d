"""`understudy sign-in`: ways to sign in beside the password."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, urlencode

import click

from scripts.commands.gates import reason_option
from scripts.commands.notifications import read_secret
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
    if "provider" in found:
        told += _provider_lines(found["provider"])
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


@sign_in.command()
@click.argument("issuer")
@click.option("--client-id", required=True, help="What the provider calls this server.")
@click.option("--secret-file", metavar="FILE", help="The client's secret; - reads it. Without: the one that it has.")
@click.option("--scopes", default="openid profile", show_default=True)
@click.option("--user-claim", default="preferred_username", show_default=True, help="Names accounts that are made.")
@click.option("--role-claim", default="", help="The claim with roles or groups.")
@click.option(
    "--map", "maps", multiple=True, metavar="VALUE=ROLE", help="What a value of it means; may be given again."
)
@click.option("--max-age-minutes", default=0, help="So long ago people signed in there at most; 0: however long.")
@click.option("--acr", multiple=True, metavar="WORD", help="How strongly, in its words: one it must say.")
@click.option("--new-role", default="", help="The role of accounts that are made, without another.")
@click.option("--make-users", is_flag=True, help="Make an account for whoever has none.")
@click.option("--button", default="Sign in with the company's account", help="What people press.")
@asks_node
def provider(asker: Asker, issuer: str, secret_file: str | None, maps: tuple[str, ...], **given: Any) -> None:
    """Take the word of the OpenID provider ISSUER for who signs in."""
    body = {"issuer": issuer, "roles": dict(one.partition("=")[::2] for one in maps), **given}
    body["makes_users"] = body.pop("make_users")
    body["acr_values"] = list(body.pop("acr"))
    if secret_file is not None:
        body["client_secret"] = read_secret(secret_file)
    done = asker.client.ask("PUT", f"{_PATH}/provider", body).value
    asker.show(done, _provider_lines(done))


@sign_in.command()
@asks_node
def no_provider(asker: Asker) -> None:
    """Take no provider's word any more. Accounts that were made for it stay, without a password."""
    done = asker.client.ask("PUT", f"{_PATH}/provider", {}).value
    asker.show(done, "No provider says who signs in.")


@sign_in.command()
@click.argument("name")
@asks_node
def unlink(asker: Asker, name: str) -> None:
    """Forget whom a provider names as the user NAME."""
    done = asker.client.ask("DELETE", f"/api/v1/users/{quote(name)}/linked-accounts").value
    asker.show(done, f"{done['unlinked']} accounts of a provider are linked with {name} no more.")


def _provider_lines(found: dict[str, Any]) -> list[str]:
    if not found["issuer"]:
        return ["OpenID provider: none"]
    made = "accounts are made" if found["makes_users"] else "accounts are linked by their owners"
    age, acr = found.get("max_age_minutes"), found.get("acr_values")
    strength = f"; signed in there at most {age} minutes ago" if age else ""
    strength += f"; acr is one of {', '.join(acr)}" if acr else ""
    return [f"OpenID provider: {found['issuer']} as {found['client_id']}; {made}{strength}"]


def _put(asker: Asker, body: dict[str, Any], reason: str) -> Any:
    path = f"{_PATH}/dangerously-trusted-proxies?{urlencode({'reason': reason})}"
    return asker.client.ask("PUT", path, body).value
