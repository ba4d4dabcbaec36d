"""`understudy job except` and `understudy job exceptions`: one occurrence skipped, moved or changed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

import click

from scripts.client import USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table


@click.command("except")
@click.argument("job")
@click.option(
    "--at", required=True, metavar="INSTANT", help="When its schedule is due: 2026-11-23T02:30+01:00, or UTC."
)
@click.option("--skip", is_flag=True, help="It does not begin; the ledger says who skipped it.")
@click.option("--move-to", metavar="INSTANT", help="It begins then, once, under its own key.")
@click.option("--command", help="It runs this instead, once.")
@click.option("--environment", multiple=True, metavar="NAME=VALUE", help="A variable for this once.")
@click.option("--remove", is_flag=True, help="Take the exception back.")
@click.option("--schedule", type=int, help="Which schedule, when several are due then.")
@reason_option
@asks_node
def except_(asker: Asker, job: str, at: str, skip: bool, remove: bool, reason: str, **what: Any) -> None:
    """Skip, move or change one occurrence of a job."""
    at_us, moved, schedule = parse_instant(at, "--at"), what["move_to"], what["schedule"]
    changes = bool(moved or what["command"] or what["environment"])
    if [skip, remove, changes].count(True) != 1:
        raise CommandError(USAGE, "say one thing: --skip, --remove, or --move-to, --command and --environment")
    if remove:
        where = f"instant_us={at_us}&reason={quote(reason)}" + (f"&schedule_id={schedule}" if schedule else "")
        done = asker.client.ask("DELETE", f"/api/v1/jobs/{quote(job)}/exceptions?{where}").value
        asker.show(done, f"{job} is due at {instant(at_us)} again.")
        return
    body: dict[str, Any] = {"instant_us": at_us, "skip": skip, "reason": reason, "schedule_id": schedule}
    body |= {"move_to_us": parse_instant(moved, "--move-to") if moved else None, "command": what["command"]}
    body["environment"] = _environment(what["environment"]) if what["environment"] else None
    done = asker.client.post(f"/api/v1/jobs/{quote(job)}/exceptions", body)
    asker.show(done, list(_said(job, done)))


def _said(job: str, done: dict[str, Any]) -> list[str]:
    made = done["exception"]
    lines = [f"{job} at {instant(made['instant_us'])}: {what_of(made)}."]
    if done["known_until_us"] and not done["agent_connected"]:
        lines.append(
            f"{done['agent']} is not connected: until it hears of this it goes by the version that it has, valid until "
            f"{instant(done['known_until_us'])}. If the instant falls due before, it begins as it was."
        )
    return lines


def what_of(line: dict[str, Any]) -> str:
    """What is different, for people."""
    if line["skipped"]:
        return "skipped"
    moved = f"moved to {instant(line['moved_to_us'])}" if line["moved_to_us"] is not None else ""
    return " and ".join(part for part in (moved, "changed" if line["command"] or not moved else "") if part)


def _environment(pairs: Sequence[str]) -> dict[str, str]:
    for pair in pairs:
        if "=" not in pair:
            raise CommandError(USAGE, f"--environment {pair}: write NAME=VALUE")
    return dict(pair.split("=", 1) for pair in pairs)


def parse_instant(text: str, flag: str) -> int:
    """Microseconds of `2026-11-23T02:30+01:00`, `2026-11-23 01:30` (UTC) or `20261123T013000Z`, as in a run's key."""
    short = re.fullmatch(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", text)
    try:
        found = datetime(*map(int, short.groups()), tzinfo=UTC) if short else datetime.fromisoformat(text)  # type: ignore[misc, arg-type]  # six numbers, by the pattern
    except ValueError:
        raise CommandError(USAGE, f"{flag} {text}: write an instant as 2026-11-23T02:30+01:00") from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()) * 1_000_000


@click.command("exceptions")
@click.argument("job")
@click.option("--all", "everything", is_flag=True, help="Also those of which something became long ago.")
@asks_node
def list_exceptions(asker: Asker, job: str, everything: bool) -> None:
    """Exceptions of a job, and what became of them."""
    found = asker.client.get(f"/api/v1/jobs/{quote(job)}/exceptions?all={int(everything)}")
    rows = [
        (instant(e["instant_us"]), e["cron"], what_of(e), e["created_by"], e["reason"] or "-", became(e)) for e in found
    ]
    head = ("INSTANT", "SCHEDULE", "WHAT", "BY", "WHY", "BECAME")
    asker.show(found, table(rows, head) if rows else f"{job} has no exceptions.")


def became(line: dict[str, Any]) -> str:
    """What became of the occurrence: its run, what the ledger says, or nothing yet."""
    if line["run"] is not None:
        return f"run {line['run']}, {line['run_state']}"
    return str(line["cause"] or "open")
