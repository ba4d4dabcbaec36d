"""Agents and runs in trouble, on a real pair: what was tried to break them, a few seconds each."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.api import NoAnswer
from tests.process.cluster import Pair, running_pair

ENDED = ("succeeded", "failed", "cancelled", "killed", "interrupted")


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """One pair for all: each test leaves it healthy, with open queues."""
    with running_pair(tmp_path_factory.mktemp("pair")) as made:
        yield made


def make_job(pair: Pair, name: str, command: str, **values: Any) -> None:
    job = {"name": name, "command": command, "agent": "alpha", **values}
    pair.node("master").api.post("/api/v1/jobs", job, key=f"make-{name}")


def run_now(pair: Pair, name: str, count: int = 1) -> list[int]:
    """Submit runs one after the other; their numbers."""
    api = pair.node("master").api
    return [api.post(f"/api/v1/jobs/{name}/run", key=f"{name}-{time.monotonic_ns()}")["run"] for _ in range(count)]


def show(pair: Pair, run: int) -> dict[str, Any]:
    found: dict[str, Any] = pair.node("master").api.get(f"/api/v1/runs/{run}")
    return found


def end_of(pair: Pair, run: int) -> dict[str, Any]:
    def ended() -> dict[str, Any] | None:
        row = show(pair, run)
        return row if row["state"] in ENDED else None

    return pair.wait(f"run {run} to end", ended)


def messages(pair: Pair) -> list[str]:
    return [row["text"] for row in pair.node("master").api.get("/api/v1/messages")]


def test_a_locked_queue_lets_run_what_runs_and_begins_in_order_when_unlocked(pair: Pair) -> None:
    """SKY-2: a run goes on under the lock; what is submitted waits with its reason; a cancelled one never begins."""
    proof = pair.directory / "order"
    make_job(pair, "through", f"until [ -e {pair.directory}/go ]; do sleep 0.05; done; echo through the lock")
    make_job(pair, "in-order", f"echo $UNDERSTUDY_RUN_ID >> {proof}")
    through = run_now(pair, "through")[0]
    pair.wait("the run to run", lambda: show(pair, through)["state"] == "running")
    pair.type(pair.node("master"), "understudy", "queue", "lock")
    waiting = run_now(pair, "in-order", 8)
    assert {(show(pair, run)["state"], show(pair, run)["reason"]) for run in waiting} == {("waiting", "queue locked")}
    pair.node("master").api.post(f"/api/v1/runs/{waiting[3]}/cancel", key="cancel-waiting")
    (pair.directory / "go").touch()
    assert end_of(pair, through)["exit_code"] == 0
    assert not proof.exists()
    pair.type(pair.node("master"), "understudy", "queue", "unlock")
    rows = [end_of(pair, run) for run in waiting]
    assert [row["state"] for row in rows] == ["succeeded"] * 3 + ["cancelled"] + ["succeeded"] * 4
    begun = [row for row in rows if row["state"] == "succeeded"]
    assert sorted(proof.read_text().split()) == sorted(row["key"] for row in begun)
    starts = [row["started_at_us"] for row in begun]
    assert starts == sorted(starts)


def test_a_job_deleted_while_it_runs_ends_as_itself_and_what_waits_is_cancelled(pair: Pair) -> None:
    """Deleting a job loses neither the result and output of its run, nor the account of one that waits."""
    gate = pair.directory / "deleted"
    make_job(pair, "to-delete", f"until [ -e {gate} ]; do sleep 0.05; done; echo last words; exit 6")
    running = run_now(pair, "to-delete")[0]
    pair.wait("the run to run", lambda: show(pair, running)["state"] == "running")
    pair.type(pair.node("master"), "understudy", "queue", "lock")
    waiting = run_now(pair, "to-delete")[0]
    answer = pair.node("master").api.request("DELETE", "/api/v1/jobs/to-delete?reason=test", key="delete")
    assert answer.status == 200
    pair.type(pair.node("master"), "understudy", "queue", "unlock")
    gate.touch()
    assert end_of(pair, running)["exit_code"] == 6
    pair.wait("its output", lambda: show(pair, running)["output_bytes"] == len("last words\n"))
    assert (end_of(pair, waiting)["state"], end_of(pair, waiting)["reason"]) == ("cancelled", "job deleted")


def test_many_runs_at_once_all_end_and_each_ran_once(pair: Pair) -> None:
    """A burst from five clients: every key is in the jobs' own file once, and every row is a success."""
    proof = pair.directory / "many"
    make_job(pair, "many", f"echo $UNDERSTUDY_RUN_ID >> {proof}")
    numbers: list[int] = []
    threads = [threading.Thread(target=lambda: numbers.extend(run_now(pair, "many", 20))) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    api = pair.node("master").api

    def all_ended() -> list[dict[str, Any]]:
        found = list(api.pages("/api/v1/runs", "number", job="many"))
        return found if all(row["state"] in ENDED for row in found) else []

    rows = pair.wait("all runs to end", all_ended)
    assert sorted(row["number"] for row in rows) == sorted(numbers)
    assert len(rows) == 100
    assert {row["state"] for row in rows} == {"succeeded"}
    assert sorted(proof.read_text().split()) == sorted(row["key"] for row in rows)


def test_a_swap_names_the_agent_that_does_not_confirm_and_goes_on_without_it_when_told(pair: Pair) -> None:
    """SKY-7: an agent that is stopped, and still looks connected, is named; seen as silent, `--yes` accepts it."""
    old, new = pair.wait_healthy()
    beta = pair.agents["beta"].program
    beta.send(signal.SIGSTOP)
    shown = pair.type(old, "understudy", "swap", "--yes", "--timeout", "4", expect=None)
    if "Nothing was lost" not in shown:  # it was seen as connected when the swap began
        assert "the lock was not confirmed by: beta." in " ".join(shown.split()), shown
        pair.wait("beta to be seen as silent", lambda: "beta" in _check(pair, old))
        shown = pair.type(old, "understudy", "swap", "--yes")
    assert "Accepted without: beta." in " ".join(shown.split()), shown
    beta.send(signal.SIGCONT)
    master, _ = pair.wait_healthy()
    assert master is new


def _check(pair: Pair, master: Any) -> str:
    return pair.type(master, "understudy", "swap", "--check", expect=None)


def test_a_master_that_was_stopped_starts_nothing_when_it_goes_on(pair: Pair, tmp_path: Path) -> None:
    """BEY-4: SIGSTOP, a promotion, SIGCONT: agents refuse the old epoch and say so, the old master stands by."""
    old, new = pair.wait_healthy()
    proof = tmp_path / "ran"
    make_job(pair, "epochs", f"echo $UNDERSTUDY_RUN_ID $UNDERSTUDY_EPOCH >> {proof}")
    before = end_of(pair, run_now(pair, "epochs")[0])
    old.program.send(signal.SIGSTOP)
    pair.wait("the promotion, once the master is silent", lambda: "is master" in _promote(pair, new))
    pair.wait("the new master", new.is_master)
    epoch = int(new.status()["epoch"])
    old.program.send(signal.SIGCONT)
    answers = {_submit_at(old, f"stale-{n}") for n in range(5)}
    master, standby = pair.wait_healthy()
    assert (master, standby) == (new, old)
    assert 202 not in answers, "the stale master acknowledged a run"
    after = end_of(pair, run_now(pair, "epochs")[0])
    lines = [line.split() for line in proof.read_text().splitlines()]
    assert [line[0] for line in lines] == [before["key"], after["key"]]
    assert int(lines[1][1]) == epoch
    said = "an agent to say that it refused the old epoch"
    pair.wait(said, lambda: [text for text in messages(pair) if "refused epoch" in text and "BEY-4" in text])


def _promote(pair: Pair, standby: Any) -> str:
    return pair.type(standby, "standby-to-master", "--yes", expect=None)


def _submit_at(node: Any, key: str) -> int:
    """Ask a node for a run; the status of its answer."""
    api = node.api
    try:
        return int(api.request("POST", "/api/v1/jobs/epochs/run", {}, key=key).status)
    except NoAnswer:
        return 0
