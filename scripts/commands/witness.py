"""`understudy witness`: who remembers which master writes alone, what each says, and who shall do it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import click

from scripts.commands.options import Asker, asks_node, table


@click.group()
def witness() -> None:
    """The one or three agents that remember the highest epoch and who writes alone."""


@witness.command("list")
@asks_node
def list_witnesses(asker: Asker) -> None:
    """Each witness, whether it answers this node, and its record; a change that waits for the other node."""
    found = asker.client.get("/api/v1/witnesses")
    asker.show(found, lines(found))


@witness.command("set")
@click.argument("names", nargs=-1, required=True, metavar="AGENT...")
@asks_node
def set_witnesses(asker: Asker, names: tuple[str, ...]) -> None:
    """Choose one or three connected agents, while the standby is in sync.

    The former witnesses are asked too until both nodes have applied it, a second or so: understudy witness list.
    """
    chosen = asker.client.ask("PUT", "/api/v1/witnesses", {"agents": list(names)}).value
    asker.show(chosen, f"{'Witness' if len(chosen) == 1 else 'Witnesses'}: {', '.join(chosen)}.")


def lines(found: dict[str, Any]) -> Iterator[str]:
    """The list for people: the verdict, the table, and what is to be done."""
    known = found["witnesses"]
    if not known:
        yield "There is no witness. The first agent becomes it; or choose: understudy witness set AGENT"
        return
    yield verdict(found)
    shown = [(w["name"], _seat(w), _answers(w), *_record(w)) for w in known]
    yield from table(shown, ("WITNESS", "SEAT", "ANSWERS", "EPOCH", "ALONE", "COUNTER"))
    if found["change"] is not None:
        yield (
            "A change waits until both nodes have applied it and the new witnesses know this office. "
            "Until then the former and the new witnesses must each agree."
        )
    if found["problem"]:
        yield f"{found['problem']}."


def verdict(found: dict[str, Any]) -> str:
    """Whether a majority answers."""
    answering, seats, needed = found["answering"], found["seats"], found["needed"]
    enough = "enough" if answering >= needed else "too few"
    return f"{answering} of {seats} {'witness' if seats == 1 else 'witnesses'} connected: {enough}, {needed} needed."


def _seat(line: dict[str, Any]) -> str:
    former = "former" if line["former"] else ""
    return " and ".join(filter(None, (line["seat"].replace("held", "present"), former)))


def _answers(line: dict[str, Any]) -> str:
    if line["connected"]:
        return "yes"
    since_us = line["silent_since_us"]
    if since_us is None:
        return "not since this node started"
    return f"silent since {datetime.fromtimestamp(since_us // 1_000_000, UTC):%Y-%m-%d %H:%M:%S} UTC"


def _record(line: dict[str, Any]) -> tuple[str, str, str]:
    if line["epoch"] is None:
        return "not heard", "", ""
    epoch = f"{line['epoch']} of {line['epoch_node']}" if line["epoch"] else "none"
    if not line["alone_epoch"]:
        return epoch, "nobody", "-"
    return epoch, f"{line['alone'] or 'nobody'} in {line['alone_epoch']}", str(line["counter"])
