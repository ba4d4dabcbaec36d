"""`understudy group`: groups of agents and who serves them."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, table

AT_ONCE = "Of all runs of the group together; 0 is no limit."
POLICY = "least_loaded, round_robin, preferred (the first that can, in order) or all (each member runs each time)."


@click.group()
def group() -> None:
    """Groups of agents: a job of a group runs on one member, or on all of them."""


@group.command()
@click.argument("name")
@click.argument("agents", nargs=-1)
@click.option("--policy", default="least_loaded", help=POLICY)
@click.option("--description", default="")
@click.option("--runs-at-once", type=click.IntRange(0), default=0, help=AT_ONCE)
@asks_node
def create(asker: Asker, name: str, agents: tuple[str, ...], **more: Any) -> None:
    """Add a group with its members, in order. AGENT:N bounds the runs of the group at once on that agent."""
    body = {"name": name, "agents": list(agents), **more}
    made = asker.client.post("/api/v1/groups", body)
    asker.show(made, [f"The group {name} is made.", *_deployed(made)])


@group.command("list")
@click.option("--match", default="", help="A part of the name.")
@asks_node
def list_groups(asker: Asker, match: str) -> None:
    """All groups with members, jobs and runs."""
    found = list(asker.client.pages(f"/api/v1/groups?match={quote(match)}", "name"))
    rows = [
        (g["name"], g["policy"], str(g["members"]), str(g["jobs"]), str(g["running"]), str(g["waiting"])) for g in found
    ]
    asker.show(found, table(rows, ("GROUP", "POLICY", "MEMBERS", "JOBS", "RUNNING", "WAITING")))


@group.command()
@click.argument("name")
@asks_node
def show(asker: Asker, name: str) -> None:
    """One group: what each member does, what waits and why, and what is asked back."""
    found = asker.client.get(f"/api/v1/groups/{quote(name)}")
    lines = [f"{name}: {found['policy']}, deployment {found['deployment']} by {found['deployed_by']}", ""]
    rows = [(m["agent"], _state(m), _load(m), "" if m["told"] else "not told yet") for m in found["members"]]
    lines += table(rows, ("MEMBER", "STATE", "RUNS", "")) if rows else ["It has no members: understudy group set …"]
    lines += ["", f"{found['running']} running"]
    if found["runs_at_once"]:
        held = ", ".join(f"{h['job']} #{h['number']} ({h['state']})" for h in found["holders"][:20])
        taken = f"{len(found['holders'])} of {found['runs_at_once']} runs at once taken"
        lines += [f"{taken}: {held}" if held else taken]
    lines += [f"{w['count']} waiting: {w['reason']} (the oldest is run {w['first']})" for w in found["waiting"]]
    lines += [f"run {r['run']} is asked back: {r['reason']}, asked by {r['requested_by']}" for r in found["recalls"]]
    asker.show(found, lines)


def _state(member: dict[str, Any]) -> str:
    own, shared = member["group_capacity"], member["capacity"]
    is_full = (own and member["group_load"] >= own) or (shared and member["load"] >= shared)
    return str(member["state"]) or ("full" if is_full else "may start runs")


def _load(member: dict[str, Any]) -> str:
    bound = f" of {member['capacity']}" if member["capacity"] else ""
    own = f", {member['group_load']} of {member['group_capacity']} of this group" if member["group_capacity"] else ""
    return f"{member['load']}{bound}{own}"


@group.command("set")
@click.argument("name")
@click.argument("agents", nargs=-1)
@click.option("--policy", help=POLICY)
@click.option("--description")
@click.option("--runs-at-once", type=click.IntRange(0), help=AT_ONCE)
@click.option("--empty", is_flag=True, help="Take every member out.")
@reason_option
@asks_node
def set_group(asker: Asker, name: str, agents: tuple[str, ...], empty: bool, reason: str, **more: Any) -> None:
    """Replace the members as a whole, also while runs are running: nothing runs twice, nothing is left behind.

    Runs that are running on a removed member go on to their end; those that wait go to the others.
    """
    body: dict[str, Any] = {key: value for key, value in more.items() if value is not None}
    if agents and empty:
        raise CommandError(USAGE, "name the members, or give --empty, not both")
    if agents or empty:
        body["agents"] = list(agents)
    if not body:
        raise CommandError(
            USAGE, "what shall change? Name the members in order, or give --policy, --runs-at-once or --empty"
        )
    done = asker.client.ask("PUT", f"/api/v1/groups/{quote(name)}", body | {"reason": reason}).value
    asker.show(done, _deployed(done))


def _deployed(done: dict[str, Any]) -> list[str]:
    lines = [f"Deployment {done['deployment']} of {done['name']}: {', '.join(done['members']) or 'no members'}."]
    if done["added"]:
        lines.append(f"Added: {', '.join(done['added'])}.")
    if done["removed"]:
        lines.append(f"Removed: {', '.join(done['removed'])}. What runs there goes on to its end.")
    if done["asked"]:
        lines.append(
            f"{done['asked']} runs that had not begun there are asked back: understudy group show {done['name']}"
        )
    return lines


@group.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a group; refused while jobs are bound to it."""
    confirm(f"Delete the group {name}?", yes)
    done = asker.client.ask("DELETE", f"/api/v1/groups/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The group {name} is deleted.")


@group.command()
@click.argument("agent")
@click.argument("runs", type=click.IntRange(0))
@asks_node
def capacity(asker: Asker, agent: str, runs: int) -> None:
    """Set how many RUNS at once groups may fill an AGENT up to; 0 is unlimited."""
    done = asker.client.ask("PUT", f"/api/v1/agents/{quote(agent)}/capacity", {"capacity": runs}).value
    asker.show(done, f"Groups fill {agent} up to {runs} runs." if runs else f"{agent} has no bound.")
