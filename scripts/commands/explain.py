"""`understudy explain`: why a job runs when it does, and why a run waits."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click

from scripts.commands.options import Asker, asks_node


@click.command()
@click.argument("subject", metavar="JOB|RUN")
@click.option("--job", "is_job", is_flag=True, help="It is a job, although its name is a number.")
@asks_node
def explain(asker: Asker, subject: str, is_job: bool) -> None:
    """Say in words why JOB runs when it does, or why RUN (a number) is as it is, and what to type."""
    noun = "runs" if subject.isdigit() and not is_job else "jobs"
    found = asker.client.get(f"/api/v1/{noun}/{quote(subject)}/explain")
    asker.show(found, _lines(found))


def _lines(found: dict[str, Any]) -> Iterator[str]:
    topic = ""
    for line in found["lines"]:
        head = line["topic"] if line["topic"] != topic else ""
        topic = line["topic"]
        yield f"{head:<17} {line['text']}"
        if line["command"]:
            yield f"{'':<17}   type: {line['command']}"
