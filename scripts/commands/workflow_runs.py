"""`understudy workflow run` and what is done with a workflow's run."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

import click

from scripts.client import FAILED, OK, TIMED_OUT, CommandError
from scripts.commands.gates import reason_option
from scripts.commands.options import Asker, asks_node, instant, table
from scripts.commands.workflows import workflow

ENDED = frozenset({"succeeded", "failed", "cancelled"})
POLL_S = 0.3
APPLIED_S = 5.0
step_option = click.option("--step", default="", help="Of this step only.")
on_option = click.option("--on", "place", default="", help="The agent or group that it runs on from now on.")


@workflow.command()
@click.argument("name")
@click.option("--set", "variables", multiple=True, metavar="NAME=VALUE", help="A variable for every step; repeatable.")
@click.option("--wait", is_flag=True, help="Wait until it has ended; exit code 1 unless it succeeded.")
@click.option("--follow", is_flag=True, help="Say meanwhile what its steps do; implies --wait.")
@click.option("--timeout", "timeout_s", type=float, default=0.0, help="Wait at most so many seconds.")
@reason_option
@asks_node
def run(
    asker: Asker, name: str, variables: tuple[str, ...], wait: bool, follow: bool, timeout_s: float, reason: str
) -> int:
    """Run the workflow NAME now."""
    body = {"variables": _pairs(variables), "reason": reason}
    begun = asker.client.post(f"/api/v1/workflows/{quote(name)}/run", body)
    if not (wait or follow):
        asker.show(begun, f"Workflow run {begun['workflow_run']} is {begun['state']}.")
        return OK
    found = await_end(asker, int(begun["workflow_run"]), follow, timeout_s)
    why = f": {found['reason']}" if found["reason"] else ""
    asker.show(found, f"Workflow run {found['id']} {found['state']}{why}.")
    return OK if found["state"] == "succeeded" else FAILED


def _pairs(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for pair in given:
        name, is_there, value = pair.partition("=")
        if not is_there or not name:
            raise click.UsageError(f"--set takes NAME=VALUE, not {pair!r}.")
        found[name] = value
    return found


def await_end(asker: Asker, number: int, follow: bool, timeout_s: float) -> dict[str, Any]:
    """The workflow's run once it has ended or waits for a decision; raises `CommandError` 124 after `timeout_s`."""
    deadline = time.monotonic() + timeout_s if timeout_s else None
    told: dict[tuple[str, int], str] = {}
    while True:
        found = _applied(asker, number)
        if follow:
            _tell(asker, found, told)
        if found["state"] in ENDED or found["state"] in ("deciding", "suspended"):
            return found
        if deadline is not None and time.monotonic() > deadline:
            raise CommandError(TIMED_OUT, f"workflow run {number} is {found['state']} after {timeout_s:g} s")
        time.sleep(POLL_S)


def _applied(asker: Asker, number: int) -> dict[str, Any]:
    """A run that was asked for before. The node that answers may be the standby by now, and apply it soon."""
    end = time.monotonic() + APPLIED_S
    while True:
        try:
            found: dict[str, Any] = asker.client.get(f"/api/v1/workflow-runs/{number}")
            return found
        except CommandError as error:
            if error.problem.get("code") != "not_found" or time.monotonic() > end:
                raise
        time.sleep(POLL_S)


def _tell(asker: Asker, found: dict[str, Any], told: dict[tuple[str, int], str]) -> None:
    """One line for each change of an item, on standard error with --json."""
    for item in found["items"]:
        name = (item["step"], item["item"])
        said = f"{_label(item)} {item['state']}, {_where(item)}".rstrip(", ") + (
            f": {item['reason']}" if item["reason"] else ""
        )
        if told.get(name) != said:
            told[name] = said
            click.echo(said, err=asker.as_json)


def _label(item: dict[str, Any]) -> str:
    return f"{item['step']}[{item['value']}]" if item["value"] else str(item["step"])


def _where(item: dict[str, Any]) -> str:
    if item["workflow_run"] is not None:
        return f"workflow run {item['workflow_run']}"
    return f"run {item['run']} on {item['agent']}" if item["run"] is not None else ""


@workflow.command()
@click.argument("name", default="")
@click.option("--state", default="", help="In this state.")
@click.option("--undecided", is_flag=True, help="Only those at which a person has to decide: resume, restart, give up.")
@click.option("--limit", default=30, help="How many.")
@asks_node
def runs(asker: Asker, name: str, state: str, undecided: bool, limit: int) -> None:
    """Runs of workflows, newest first; of NAME alone when it is given."""
    query = f"workflow={quote(name)}&state={quote(state)}&undecided={int(undecided)}&limit={limit}"
    found = asker.client.get(f"/api/v1/workflow-runs?{query}")
    lines = [
        (r["id"], r["workflow"], r["version"], r["state"], r["reason"], instant(r["requested_at_us"])) for r in found
    ]
    asker.show(found, table(lines, ("RUN", "WORKFLOW", "VERSION", "STATE", "WHY", "BEGUN")))


@workflow.command()
@click.argument("number", type=int)
@asks_node
def status(asker: Asker, number: int) -> None:
    """One run of a workflow: its steps, and what may be decided."""
    found = asker.client.get(f"/api/v1/workflow-runs/{number}")
    why = f": {found['reason']}" if found["reason"] else ""
    head = f"{found['workflow']} version {found['version']}, run {number}, {found['state']}{why}"
    open_steps = [name for name, state in found["step_states"].items() if not state]
    rows = [(_label(i), i["state"], i["attempt"] or "", _where(i), i["reason"]) for i in found["items"]]
    lines = [
        head,
        *table(
            [*rows, *((name, "", "", "", found["waits"].get(name, "")) for name in open_steps)],
            ("STEP", "STATE", "TRY", "IN", "WHY"),
        ),
    ]
    for name in found["undecided"]:
        lines += [
            f"{name} was interrupted. Type one of:",
            f"  understudy workflow resume {number}                    run again behind the latest checkpoint",
            f"  understudy workflow restart {number} --step {name}    run this step again",
            f"  understudy workflow give-up {number} --step {name}    it has failed",
        ]
    asker.show(found, lines)


@workflow.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def cancel(asker: Asker, number: int, reason: str) -> None:
    """Begin nothing more of a workflow's run and end what runs: SIGTERM first."""
    _ask(asker, number, "cancel", {"reason": reason})


@workflow.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def kill(asker: Asker, number: int, reason: str) -> None:
    """Begin nothing more of a workflow's run and kill what runs."""
    _ask(asker, number, "kill", {"reason": reason})


@workflow.command()
@click.argument("number", type=int)
@reason_option
@asks_node
def suspend(asker: Asker, number: int, reason: str) -> None:
    """Begin nothing more of a workflow's run until it is resumed."""
    _ask(asker, number, "suspend", {"reason": reason})


@workflow.command()
@click.argument("number", type=int)
@step_option
@on_option
@reason_option
@asks_node
def resume(asker: Asker, number: int, step: str, place: str, reason: str) -> None:
    """Let a workflow's run go on, behind its latest checkpoint where something was interrupted or failed."""
    _ask(asker, number, "resume", {"step": step, "on": place, "reason": reason})


@workflow.command()
@click.argument("number", type=int)
@step_option
@on_option
@reason_option
@asks_node
def restart(asker: Asker, number: int, step: str, place: str, reason: str) -> None:
    """Run what was interrupted again, and nothing before it."""
    _ask(asker, number, "restart", {"step": step, "on": place, "reason": reason})


@workflow.command("give-up")
@click.argument("number", type=int)
@step_option
@reason_option
@asks_node
def give_up(asker: Asker, number: int, step: str, reason: str) -> None:
    """Let what was interrupted count as failed."""
    _ask(asker, number, "give-up", {"step": step, "reason": reason})


def _ask(asker: Asker, number: int, verb: str, body: dict[str, str]) -> None:
    found = asker.client.post(f"/api/v1/workflow-runs/{number}/{verb}", body)
    asker.show(found, f"Workflow run {number} is {found['state']}.")
