"""`understudy forecast`: what runs when, in any period."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from urllib.parse import urlencode

import click

from scripts.client import USAGE, CommandError
from scripts.commands.options import Asker, asks_node, instant, table


@click.command()
@click.option("--from", "since", default="", metavar="INSTANT", help="Like 2026-12-24T10:00Z; now without it.")
@click.option("--to", "until", default="", metavar="INSTANT", help="Like 2026-12-25T10:00Z.")
@click.option("--hours", type=click.IntRange(1, 366 * 24), default=24, help="How far, without --to.")
@click.option("--job", default="", help="Of this job alone.")
@click.option("--limit", type=click.IntRange(1, 1000), default=50, help="Lines at most; all are counted.")
@asks_node
def forecast(asker: Asker, since: str, until: str, hours: int, job: str, limit: int) -> None:
    """What is due in a period, in order, with where it runs. Held jobs are not in it."""
    begin = _read(since) if since else datetime.now(UTC)
    end = _read(until) if until else begin + timedelta(hours=hours)
    words = {"from": begin.isoformat(), "to": end.isoformat(), "job": job, "limit": limit}
    found = asker.client.get(f"/api/v1/forecast?{urlencode(words)}")
    lines = [
        (instant(one["due_us"]), one["job"], one["place"], f"moved from {instant(moved)}" if moved else "")
        for one in found["lines"]
        for moved in [one["moved_from_us"]]
    ]
    said = f"{found['total']} due until {instant(found['until_us'])}"
    more = f"; the first {len(lines)} of them are shown" if found["total"] > len(lines) else ""
    asker.show(found, [*table(lines, ("DUE", "JOB", "WHERE", "")), said + more])


def _read(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError as error:
        raise CommandError(USAGE, f"{text} is no instant: write it like 2026-12-24T10:00Z") from error
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
