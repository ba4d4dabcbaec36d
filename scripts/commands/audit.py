"""`understudy audit`: who did what, and the proof that nobody changed it. `understudy message`: system messages."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode

import click

from scripts.client import FAILED, OK, USAGE, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table

VERIFY_TIMEOUT_S = 900.0


@click.group()
def audit() -> None:
    """The audit history: who did what, from where, before, after and why."""


@audit.command("list")
@click.option("--match", default="", help="A part of who, action or object.")
@click.option("--limit", default=30, help="How many.")
@asks_node
def list_audit(asker: Asker, match: str, limit: int) -> None:
    """Entries, the newest first."""
    found = asker.client.get(f"/api/v1/audit?{urlencode({'match': match, 'limit': limit})}")
    rows = [
        (e["id"], instant(e["at_us"]), e["who"], e["address"], e["action"], e["object"], e["reason"]) for e in found
    ]
    asker.show(found, table(rows, ("ENTRY", "WHEN", "WHO", "FROM", "ACTION", "ON", "WHY")))


@audit.command()
@asks_node
def verify(asker: Asker) -> int:
    """Check every hash of the history as this node holds it. Exit code 0 when all is as it was written, else 1."""
    asker.client.timeout_s = VERIFY_TIMEOUT_S
    found: dict[str, Any] = asker.client.post("/api/v1/audit/verify")
    asker.show(found, _lines(found))
    return OK if found["ok"] else FAILED


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{'WHOLE' if found['ok'] else 'CHANGED'}: {found['text']}"]
    lines += [problem["text"] for problem in found["problems"]]
    if found["unhashed"]:
        left = f"; {found['not_proven']} of them only by the next entry" if found["not_proven"] else ""
        lines.append(f"{found['unhashed']} entries are of a release without hashes: proven together{left}")
    if found["removed"]:
        lines.append(f"{found['removed']} older ones were removed by age, last at {instant(found['removed_at_us'])}")
    return [*lines, f"hash of entry {found['to_id']}, to keep elsewhere: {found['hash']}"]


@click.group()
def message() -> None:
    """System messages: what the server tells people, until somebody acknowledges it."""


@message.command("list")
@click.option("--open", "only_open", is_flag=True, help="Only what nobody has acknowledged.")
@click.option("--severity", default="", help="info, warning, error or alarm.")
@click.option("--match", default="", help="A part of the text.")
@click.option("--limit", default=30, help="How many.")
@asks_node
def list_messages(asker: Asker, only_open: bool, severity: str, match: str, limit: int) -> None:
    """Messages, the newest first."""
    where = {"open": int(only_open), "severity": severity, "match": match, "limit": limit}
    found = asker.client.get(f"/api/v1/messages?{urlencode(where)}")
    rows = [(m["id"], instant(m["at_us"]), m["severity"], m["acknowledged_by"] or "-", m["text"]) for m in found]
    empty = "No messages. The server has nothing to complain about."
    asker.show(found, table(rows, ("MESSAGE", "WHEN", "SEVERITY", "READ BY", "TEXT")) if rows else empty)


@message.command()
@click.argument("number", type=int, required=False)
@click.option("--all", "everything", is_flag=True, help="All that there are now.")
@click.option("--severity", default="", help="With --all: of this severity only.")
@reason_option
@asks_node
def acknowledge(asker: Asker, number: int | None, everything: bool, severity: str, reason: str) -> None:
    """Say that message NUMBER was read, or all (--all)."""
    if everything == (number is not None) or (severity and not everything):
        raise CommandError(USAGE, "give NUMBER, or --all and with it --severity if you like")
    if number is not None:
        asker.show(asker.client.post(f"/api/v1/messages/{number}/acknowledge"), f"Message {number} is acknowledged.")
        return
    newest = asker.client.get("/api/v1/messages?limit=1")
    body = {"up_to": newest[0]["id"] if newest else 0, "severity": severity, "reason": reason}
    done = asker.client.post("/api/v1/messages/acknowledge", body)
    asker.show(done, f"{done['acknowledged']} messages are acknowledged.")
