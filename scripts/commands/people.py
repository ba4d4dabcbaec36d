"""`understudy user`: people, passwords, API tokens."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.commands.options import Asker, asks_node, instant, read_password, table

WITHIN = "has to set a password of their own at the next sign-in, within 7 days"


@click.group()
def user() -> None:
    """People who sign in, and tokens for programs."""


@user.command("list")
@asks_node
def list_users(asker: Asker) -> None:
    """All users."""
    found = list(asker.client.pages("/api/v1/users", "name"))
    rows = [(u["name"], u["role"], _state(u), instant(u["created_at_us"])) for u in found]
    asker.show(found, table(rows, ("USER", "ROLE", "", "SINCE")))


def _state(found: dict[str, Any]) -> str:
    ends_us = found.get("password_ends_at_us")
    said = "disabled" if found["disabled_at_us"] else ""
    return f"{said} password to be changed by {instant(ends_us)}".strip() if ends_us else said


@user.command()
@click.argument("name")
@click.option("--role", default="user", help="See: understudy role list")
@click.option("--password-file", help="File with the password.")
@asks_node
def create(asker: Asker, name: str, role: str, password_file: str | None) -> None:
    """Add a user."""
    password = read_password(password_file, f"Password of {name}", True)
    made = asker.client.post("/api/v1/users", {"name": name, "role": role, "password": password})
    asker.show(made, f"The user {made['name']} is {made['role']}, and {WITHIN}.")


@user.command()
@click.argument("name")
@click.option("--password-file", help="File with the new password.")
@asks_node
def password(asker: Asker, name: str, password_file: str | None) -> None:
    """Give a user a password, to be changed at the sign-in. On the node itself this works without any password."""
    new = read_password(password_file, f"New password of {name}", True)
    done = asker.client.ask("PUT", f"/api/v1/users/{quote(name)}", {"password": new}).value
    asker.show(done, f"The password of {name} is changed; {done['sessions_ended']} sessions ended. {name} {WITHIN}.")


@user.command("role")
@click.argument("name")
@click.argument("role")
@asks_node
def change_role(asker: Asker, name: str, role: str) -> None:
    """Give a user another role."""
    done = asker.client.ask("PUT", f"/api/v1/users/{quote(name)}", {"role": role}).value
    asker.show(done, f"The user {name} is {role}.")


@user.command()
@click.argument("name")
@asks_node
def disable(asker: Asker, name: str) -> None:
    """Close an account: its sessions end, its tokens are revoked."""
    done = asker.client.ask("PUT", f"/api/v1/users/{quote(name)}", {"disabled": True}).value
    asker.show(done, f"The account of {name} is closed.")


@user.command()
@click.argument("name")
@asks_node
def enable(asker: Asker, name: str) -> None:
    """Open a closed account again; its tokens stay revoked."""
    done = asker.client.ask("PUT", f"/api/v1/users/{quote(name)}", {"disabled": False}).value
    asker.show(done, f"The account of {name} is open.")


@user.command()
@click.argument("name")
@asks_node
def unlock(asker: Asker, name: str) -> None:
    """Let an account sign in again that failed too often. On the node itself this works without any password."""
    done = asker.client.ask("PUT", f"/api/v1/users/{quote(name)}", {"locked": False}).value
    asker.show(done, f"The account {name} may sign in again.")


@user.command("reset-second-factor")
@click.argument("name")
@asks_node
def reset_second_factor(asker: Asker, name: str) -> None:
    """Take the second factor away from somebody who lost it. On the node itself this works without any password."""
    done = asker.client.ask("DELETE", f"/api/v1/users/{quote(name)}/second-factor").value
    asker.show(done, f"{name} signs in with the password alone." if done["reset"] else f"{name} has no second factor.")


@user.command()
@click.argument("name")
@asks_node
def passkeys(asker: Asker, name: str) -> None:
    """A user's passkeys. They go with: understudy user reset-second-factor NAME"""
    found = asker.client.get(f"/api/v1/users/{quote(name)}/passkeys")
    rows = [
        (p["id"], p["name"], p["name_of_server"], "alone" if p["alone"] else "", instant(p["last_used_at_us"]))
        for p in found
    ]
    asker.show(found, table(rows, ("ID", "NAME", "WORKS AT", "", "LAST USE")))


@user.command("sign-out-all")
@asks_node
def sign_out_all(asker: Asker) -> None:
    """Sign everybody out."""
    done = asker.client.ask("DELETE", "/api/v1/sessions").value
    asker.show(done, f"{done['ended']} sessions ended.")


@user.group()
def token() -> None:
    """API tokens."""


@token.command("create")
@click.argument("name_of_user", metavar="[USER]", default="admin")
@click.option("--name", default="command line", help="What the token is for.")
@click.option("--days", type=click.IntRange(1, 36500), default=365, help="Until it expires.")
@click.option("--scope", default="", help="What it may at most: permissions separated by blanks, or read-only.")
@asks_node
def create_token(asker: Asker, name_of_user: str, name: str, days: int, scope: str) -> None:
    """Make a token of USER (default admin); it is printed this once."""
    body = {"user": name_of_user, "name": name, "days": days, "scope": scope}
    made = asker.client.post("/api/v1/tokens", body)
    asker.show(made, made["token"])


@token.command("list")
@asks_node
def list_tokens(asker: Asker) -> None:
    """API tokens."""
    found = list(asker.client.pages("/api/v1/tokens", "id"))
    rows = [
        (
            *(t["id"], t["user"], t["name"], t["scope"] or "all"),
            *(instant(t["expires_at_us"]), instant(t["last_used_at_us"]), "revoked" if t["revoked_at_us"] else ""),
        )
        for t in found
    ]
    asker.show(found, table(rows, ("ID", "USER", "NAME", "SCOPE", "UNTIL", "LAST USE", "")))


@token.command("revoke")
@click.argument("number", type=int)
@asks_node
def revoke_token(asker: Asker, number: int) -> None:
    """Revoke a token."""
    done = asker.client.ask("DELETE", f"/api/v1/tokens/{number}").value
    asker.show(done, f"The token {number} is revoked.")
