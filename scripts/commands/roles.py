"""`understudy role`: what people may do, under a name."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import CommandError
from scripts.commands.options import Asker, asks_node, table


@click.group()
def role() -> None:
    """Roles: what people may do, under a name."""


@role.command("list")
@asks_node
def list_roles(asker: Asker) -> None:
    """All roles, and the permissions that they are made of."""
    found = asker.client.ask("GET", "/api/v1/roles").value
    permissions = asker.client.ask("GET", "/api/v1/permissions").value
    rows = [
        (r["name"], "built in" if r["built_in"] else "", len(r["users"]), _factor(r), r["description"]) for r in found
    ]
    lines = table(rows, ("ROLE", "", "USERS", "SECOND FACTOR", "WHAT FOR"))
    words = table([(p["name"], p["sentence"]) for p in permissions], ("PERMISSION", "LETS PEOPLE"))
    asker.show({"roles": found, "permissions": permissions}, [*lines, "", *words])


def _factor(role: dict[str, Any]) -> str:
    return "required" if role["second_factor"] else "-"


@role.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One role: its permissions and who has it."""
    found = _find(asker, name)
    lines = [f"{name}: {found['description']}", *(f"  {one}" for one in found["permissions"])]
    asker.show(found, [*lines, "users: " + (", ".join(found["users"]) or "none")])


def _find(asker: Asker, name: str) -> dict[str, Any]:
    for found in asker.client.ask("GET", "/api/v1/roles").value:
        if found["name"] == name:
            return dict(found)
    raise CommandError(1, f"There is no role {name}. See the list: understudy role list")


@role.command()
@click.argument("name")
@click.option("--may", "permissions", multiple=True, required=True, help="A permission; give it once for each.")
@click.option("--description", default="", help="What the role is for.")
@asks_node
def create(asker: Asker, name: str, permissions: tuple[str, ...], description: str) -> None:
    """Make a role; `read` and `sessions.own` are part of every role."""
    body = {"name": name, "permissions": list(permissions), "description": description}
    made = asker.client.post("/api/v1/roles", body)
    asker.show(made, f"The role {name} may: {', '.join(made['permissions'])}.")


@role.command()
@click.argument("name")
@click.option("--may", "permissions", multiple=True, help="All that it may from now on; once for each.")
@click.option("--description", help="What the role is for.")
@asks_node
def update(asker: Asker, name: str, permissions: tuple[str, ...], description: str | None) -> None:
    """Change a role; it holds at the next request of whoever has it."""
    body = {"permissions": list(permissions) or None, "description": description}
    done = asker.client.ask("PUT", f"/api/v1/roles/{quote(name)}", body).value
    asker.show(done, f"The role {name} is changed.")


@role.command()
@click.argument("name")
@asks_node
def delete(asker: Asker, name: str) -> None:
    """Delete a role that nobody has."""
    done = asker.client.ask("DELETE", f"/api/v1/roles/{quote(name)}").value
    asker.show(done, f"The role {name} is deleted.")


@role.command("require-second-factor")
@click.argument("name")
@click.option("--off", is_flag=True, help="Ask for none any more.")
@asks_node
def require_second_factor(asker: Asker, name: str, off: bool) -> None:
    """Let people of a role do nothing before they have set up a second factor."""
    done = asker.client.ask("PUT", f"/api/v1/roles/{quote(name)}", {"second_factor": not off}).value
    asker.show(done, f"The role {name} asks for {'no' if off else 'a'} second factor.")
