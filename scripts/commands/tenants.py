"""`understudy tenant`: who shares this cluster, and whose an agent is."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, instant, table

_T = "/api/v1/tenants"


@click.group()
def tenant() -> None:
    """Tenants: each sees and changes what is its own. For people of the host."""


@tenant.command("list")
@asks_node
def list_tenants(asker: Asker) -> None:
    """All tenants."""
    found = list(asker.client.pages(f"{_T}?", "name"))
    rows = [
        (t["name"], t["title"], str(t["users"]), str(t["jobs"]), str(t["workflows"]), str(t["agents"]), _state(t))
        for t in found
    ]
    asker.show(found, table(rows, ("TENANT", "TITLE", "USERS", "JOBS", "WORKFLOWS", "AGENTS", "")))


@tenant.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One tenant."""
    t = asker.client.get(f"{_T}/{quote(name)}")
    counts = f"{t['users']} users, {t['jobs']} jobs, {t['workflows']} workflows, {t['agents']} agents of its own"
    asker.show(t, [f"{name}{': ' if t['title'] else ''}{t['title']}", counts, _state(t) or "open"])


@tenant.command()
@click.argument("name")
@click.option("--title", default="", help="Who that is.")
@asks_node
def create(asker: Asker, name: str, title: str) -> None:
    """Add a tenant; NAME stands before the names of what it has."""
    made = asker.client.post(_T, {"name": name, "title": title})
    asker.show(made, f"The tenant {name} is made. Its first user: understudy user create NAME --tenant {name}")


@tenant.command()
@click.argument("name")
@click.option("--title", required=True)
@asks_node
def update(asker: Asker, name: str, title: str) -> None:
    """Give it another title."""
    done = asker.client.ask("PUT", f"{_T}/{quote(name)}", {"title": title}).value
    asker.show(done, f"The tenant {name} is called {title}.")


@tenant.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def close(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Let nobody of it sign in; sessions end, tokens are revoked. Its jobs go on until they are held."""
    confirm(f"Close the tenant {name}?", yes)
    done = asker.client.ask("PUT", f"{_T}/{quote(name)}", {"closed": True, "reason": reason}).value
    asker.show(done, f"The tenant {name} is closed.")


@tenant.command()
@click.argument("name")
@reason_option
@asks_node
def reopen(asker: Asker, name: str, reason: str) -> None:
    """Let its people sign in again."""
    done = asker.client.ask("PUT", f"{_T}/{quote(name)}", {"closed": False, "reason": reason}).value
    asker.show(done, f"The tenant {name} is open.")


@tenant.command("give-agent")
@click.argument("agent")
@click.argument("name", metavar="TENANT", default="")
@reason_option
@asks_node
def give_agent(asker: Asker, agent: str, name: str, reason: str) -> None:
    """Give an agent or a group to TENANT alone; without TENANT it is shared again."""
    body = {"tenant": name, "reason": reason}
    done = asker.client.ask("PUT", f"/api/v1/agents/{quote(agent)}/tenant", body).value
    asker.show(done, f"{agent} is {f'of {name} alone' if name else 'shared by all'}.")


def _state(found: dict[str, Any]) -> str:
    return f"closed since {instant(found['closed_at_us'])}" if found["closed_at_us"] else ""
