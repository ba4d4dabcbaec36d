"""`understudy calendar`: which days are free, or on a list."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from scripts.client import CONFIGURATION, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, confirm, table

PATH = "/api/v1/calendars"
RULES = "2026-05-01, 2026-12-24 - 2027-01-02, 12-24, Saturday, 'last Friday of Nov'; a name after #."


def _properties(function: Any) -> Any:
    for option in (
        click.option("--kind", help="free (free days; the others are working days) or list."),
        click.option("--description"),
        click.option("--country", help="Mark its public holidays too, such as DE."),
        click.option("--subdivision", help="A part of the country, such as BY."),
        click.option("--day", "days", multiple=True, metavar="RULE", help=f"Mark these days: {RULES}"),
        click.option("--without", multiple=True, metavar="RULE", help="Never mark these days. Several are possible."),
    ):
        function = option(function)
    return function


@click.group()
def calendar() -> None:
    """Calendars: days that schedules run on, or not."""


@calendar.command("list")
@asks_node
def list_calendars(asker: Asker) -> None:
    """All calendars."""
    found = list(asker.client.pages(f"{PATH}?", "name"))
    rows = [
        (
            c["name"],
            c["kind"],
            f"{c['country']} {c['subdivision']}".strip() or "-",
            str(c.get("rules", c["lines"])),
            str(c["uses"]),
        )
        for c in found
    ]
    asker.show(found, table(rows, ("CALENDAR", "KIND", "HOLIDAYS", "RULES", "SCHEDULES")))


@calendar.command()
@click.argument("name")
@click.option("--year", type=int, help="The days of this year; the present one unless given.")
@asks_node
def show(asker: Asker, name: str, year: int | None) -> None:
    """One calendar: its rules, the days of a year, and the jobs that use it."""
    found = asker.client.get(f"{PATH}/{quote(name)}")
    days = asker.client.get(f"{PATH}/{quote(name)}/days" + (f"?year={year}" if year else ""))
    spec = found["spec"]
    lines = [
        f"{name}: {spec['kind']}, version {found['version']}"
        + (f", {spec['description']}" if spec["description"] else "")
    ]
    if spec["country"]:
        where = f"{spec['country']} {spec['subdivision']}".strip()
        lines.append(f"holidays of {where}, known until the end of {found['holidays_until']}")
    lines += [f"marks: {line}" for line in spec["days"]] + [f"never: {line}" for line in spec["without"]]
    lines += [f"used by {use['job']}: {use['cron']} {use['zone']}" for use in found["uses"]] or ["no schedule uses it"]
    lines += ["", f"{len(days)} days:", *(f"  {day['day']}  {day['name']}".rstrip() for day in days)]
    asker.show(found | {"marked": days}, lines)


@calendar.command()
@click.argument("name")
@_properties
@asks_node
def create(asker: Asker, name: str, **properties: Any) -> None:
    """Add a calendar."""
    made = asker.client.post(PATH, {"name": name} | _given(properties))
    asker.show(made, f"The calendar {name} is made. A schedule says: not on {name}, or only on {name}.")


@calendar.command()
@click.argument("name")
@click.option("--rename", help="A new name.")
@_properties
@reason_option
@asks_node
def update(asker: Asker, name: str, rename: str | None, reason: str, **properties: Any) -> None:
    """Change a calendar; what is not given stays, --day replaces all its rules. Holidays are looked up again."""
    found = asker.client.get(f"{PATH}/{quote(name)}")
    spec = found["spec"] | _given(properties) | ({"name": rename} if rename else {})
    body = {"spec": spec, "version": found["version"], "reason": reason}
    done = asker.client.ask("PUT", f"{PATH}/{quote(name)}", body).value
    asker.show(done, f"The calendar {done['name']} is changed; {done['planned']} jobs are planned again.")


def _given(properties: dict[str, Any]) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in properties.items() if value}


@calendar.command()
@click.argument("name")
@reason_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@asks_node
def delete(asker: Asker, name: str, reason: str, yes: bool) -> None:
    """Delete a calendar; refused while a schedule uses it."""
    confirm(f"Delete the calendar {name}?", yes)
    done = asker.client.ask("DELETE", f"{PATH}/{quote(name)}?reason={quote(reason)}").value
    asker.show(done, f"The calendar {name} is deleted.")


@calendar.command("import")
@click.argument("name")
@click.argument("file", type=click.Path(dir_okay=False))
@reason_option
@asks_node
def import_file(asker: Asker, name: str, file: str, reason: str) -> None:
    """Add the days of the events of an .ics FILE to a calendar."""
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(CONFIGURATION, f"{file}: cannot be read: {error}") from error
    done = asker.client.post(f"{PATH}/{quote(name)}/import", {"text": text, "reason": reason})
    asker.show(done, f"{done['added']} days are added to {name}; {done['planned']} jobs are planned again.")
