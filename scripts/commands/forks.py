"""`understudy forks`: what an old master had and the new one never did: list, show, export, adopt, delete."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import click

from scripts.client import CONFIGURATION, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table


@click.group()
def forks() -> None:
    """What an old master had that the new one never did. It is kept, whole, until you delete it."""


@forks.command("list")
@asks_node
def list_forks(asker: Asker) -> None:
    """The forks of both nodes, the newest first."""
    found = asker.client.get("/api/v1/forks")
    rows = [(f["name"], f["node_name"], *_counts(f), size(f["bytes"]), instant(f["kept_at_us"])) for f in found]
    head = ("FORK", "KEPT ON", "REQUESTS", "RUNS", "EDITS", "SIZE", "KEPT AT")
    asker.show(
        found, table(rows, head) if found else "There is no fork: no node had anything that the other never did."
    )


def _counts(fork: dict[str, Any]) -> tuple[object, object, object]:
    requests = "-" if fork["requests"] is None else fork["requests"]
    return (requests, "?", "?") if fork["contents"] == "unknown" else (requests, fork["runs"], fork["edits"])


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e6:.1f} MB" if count >= 1e5 else f"{count} B"


@forks.command()
@click.argument("name")
@click.option("--runs", "part", flag_value="runs", help="List its runs.")
@click.option("--edits", "part", flag_value="edits", help="List its edits: who changed what, when.")
@asks_node
def show(asker: Asker, name: str, part: str | None) -> None:
    """One fork: what it is, what it holds, what can be done. With --runs or --edits: each of them."""
    where = f"/api/v1/forks/{quote(name)}"
    if part == "runs":
        runs = list(_pages(asker, f"{where}/runs", lambda line: line["run"]["number"]))
        asker.show(runs, _run_lines(runs))
    elif part == "edits":
        edits = list(_pages(asker, f"{where}/edits", lambda line: line["id"]))
        asker.show(edits, _edit_lines(edits))
    else:
        fork = asker.client.get(where)
        asker.show(fork, _facts(fork))


def _pages(asker: Asker, path: str, key: Any) -> Iterator[dict[str, Any]]:
    after = 0
    while found := asker.client.get(f"{path}?after={after}&limit=500"):
        yield from found
        after = key(found[-1])


def _run_lines(found: list[dict[str, Any]]) -> list[str]:
    rows = []
    for line in found:
        run = line["run"]
        here = f"run {line['known_as']}" if line["known_as"] is not None else "-"
        adopted = f"entry {run['history_id']}" if run["history_id"] is not None else "-"
        code = run["exit_code"] if run["exit_code"] is not None else "-"
        output = size(run["output_bytes"]) if run["output_bytes"] else "none"
        when = (instant(run["started_at_us"]), instant(run["ended_at_us"]))
        rows.append((run["number"], run["job"], run["agent"], run["state"], code, *when, output, here, adopted))
    head = ("RUN", "JOB", "AGENT", "STATE", "EXIT", "STARTED", "ENDED", "OUTPUT", "ON THE MASTER", "SERVER HISTORY")
    return table(rows, head) if rows else ["It holds no run."]


def _edit_lines(found: list[dict[str, Any]]) -> list[str]:
    rows = [(instant(e["at_us"]), e["who"], e["action"], e["object"], e["reason"]) for e in found]
    return table(rows, ("AT", "WHO", "WHAT", "ON", "WHY")) if rows else ["It holds no edit."]


def _facts(fork: dict[str, Any]) -> Iterator[str]:
    name = fork["name"]
    yield f"Fork {name}, kept on {fork['node_name']} since {instant(fork['kept_at_us'])}: {fork['why']}"
    if fork["contents"] != "unknown":
        held = f"{_count(fork['runs'], 'run')} and {_count(fork['edits'], 'edit')}"
        yield f"It holds {held} that the other node never had. None of it is in force."
    if fork["requests"] is not None:
        span = f"requests {fork['first']} to {fork['last']} of epoch {fork['epoch']}"
        yield f"That is {span}, {size(fork['bytes'])} on disk. There is no other copy."
    if fork["problem"]:
        yield fork["problem"]
    if fork["path"]:
        yield f"On this machine it lies in {fork['path']}"
    yield "What you can do:"
    yield f"  understudy forks show {name} --runs     each run; --edits: who changed what"
    yield f"  understudy forks export {name} --to FILE.tar"
    yield f"  understudy forks adopt {name} RUN       put one run on record in Server History; it is not run again"
    yield f"  understudy forks delete {name}          asks for the flag that says what is lost"


@forks.command()
@click.argument("name")
@click.option(
    "--to", "target", required=True, type=click.Path(dir_okay=False, path_type=Path), help="FILE.tar to write."
)
@asks_node
def export(asker: Asker, name: str, target: Path) -> None:
    """Write everything in a fork to a tar file: its lists, outputs, requests and blocks, and a README."""
    if target.exists():
        raise CommandError(CONFIGURATION, f"{target} exists; name another file with --to")
    written = asker.client.download(f"/api/v1/forks/{quote(name)}/export", target)
    asker.show({"fork": name, "file": str(target), "bytes": written}, f"Wrote {target}, {size(written)}.")


@forks.command()
@click.argument("name")
@click.argument("run", type=int)
@reason_option
@asks_node
def adopt(asker: Asker, name: str, run: int, reason: str) -> None:
    """Put run RUN of a fork into Server History, with its output: on record, never run by that."""
    done = asker.client.post(f"/api/v1/forks/{quote(name)}/adopt", {"run": run, "reason": reason})
    asker.show(done, f"Run {run} of the fork {name} is in Server History now, entry {done['server_history']}.")


@forks.command()
@click.argument("name")
@reason_option
@click.option("--yes-delete-the-only-copy", "confirmed", is_flag=True, help="There is no other copy: it is gone then.")
@asks_node
def delete(asker: Asker, name: str, reason: str, confirmed: bool) -> None:
    """Delete a fork for good, on the node that keeps it."""
    if not confirmed and sys.stdin.isatty():
        fork = asker.client.get(f"/api/v1/forks/{quote(name)}")
        for line in list(_facts(fork))[:3]:
            click.echo(line)
        typed = click.prompt("There is no other copy. Type the fork's name to delete it for good")
        confirmed = typed.strip() == name
    where = f"/api/v1/forks/{quote(name)}?delete_the_only_copy={int(confirmed)}&reason={quote(reason)}"
    done = asker.client.ask("DELETE", where).value
    asker.show(done, f"The fork {name} is deleted on {done['node']}. The audit history says by whom.")
