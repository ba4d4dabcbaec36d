"""`understudy certificates`: who bears which certificate, and the exchange of the cluster's authority."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, table

PHASES = {
    "introducing": "The authority is being exchanged, 1 of 2: everybody learns to trust the next one.",
    "renewing": "The authority is being exchanged, 2 of 2: everybody gets a certificate of the new one.",
}


@click.group(invoke_without_command=True)
@asks_node
def certificates(asker: Asker) -> None:
    """Who bears which certificate until when, the authorities, and how far an exchange is."""
    if click.get_current_context().invoked_subcommand is None:
        found = asker.client.get("/api/v1/certificates")
        asker.show(found, lines(found))


@certificates.command()
@click.option("--yes", is_flag=True, help="Do not ask.")
@reason_option
@asks_node
def rotate(asker: Asker, yes: bool, reason: str) -> None:
    """Exchange the cluster's authority while everything runs. It goes on by itself; nothing is stopped."""
    confirm("Exchange the authority of this cluster? Its fingerprint changes.", yes)
    made = asker.client.post("/api/v1/certificates/rotate", {"reason": reason})
    said = [
        f"The next authority has the fingerprint {made['fingerprint']}.",
        "Once all nodes and agents trust it, it signs; once all have a certificate of it, the former one is retired.",
        "`understudy certificates` shows whom it waits for. Join tokens made before are not valid afterwards.",
    ]
    asker.show(made, said)


@certificates.command()
@reason_option
@asks_node
def cancel(asker: Asker, reason: str) -> None:
    """Give up an exchange while the next authority signs nothing yet."""
    done = asker.client.post("/api/v1/certificates/cancel", {"reason": reason})
    asker.show(done, "The exchange is given up. Everybody forgets the next authority.")


@certificates.command()
@click.option(
    "--leave-silent-agents-behind", is_flag=True, help="Do not wait for agents that are away: they are shut out."
)
@reason_option
@asks_node
def advance(asker: Asker, leave_silent_agents_behind: bool, reason: str) -> None:
    """Take the next part of an exchange now. Without the flag only when nobody is waited for.

    An agent that was left behind comes back by its key when it is switched on; else: understudy agent replace.
    """
    asked = {"leave_silent_agents_behind": leave_silent_agents_behind, "reason": reason}
    done = asker.client.post("/api/v1/certificates/advance", asked)
    asker.show(done, PHASES.get(done["phase"], "The exchange is over: the former authority is retired."))


def lines(found: dict[str, Any]) -> Iterator[str]:
    """All of it for people."""
    if found["phase"]:
        yield PHASES[found["phase"]]
        yield from (f"It waits for {one['kind']} {one['name']}: {one['why']}." for one in found["awaited"])
    rows = [(one["fingerprint"], one["state"], _day(one["state_since_us"])) for one in found["authorities"]]
    yield from table(rows, ("AUTHORITY", "STATE", "SINCE"))
    yield ""
    shown = [(one["kind"], one["name"], _day(one["valid_until_us"]), _signer(one)) for one in found["certificates"]]
    yield from table(shown, ("", "NAME", "VALID UNTIL", "SIGNED BY"))


def _signer(line: dict[str, Any]) -> str:
    if line["current"] is None:
        return "not shown yet"
    return "the current authority" if line["current"] else "a former authority"


def _day(at_us: int | None) -> str:
    return "" if at_us is None else f"{datetime.fromtimestamp(at_us // 1_000_000, UTC):%Y-%m-%d %H:%M} UTC"
