"""Lists and outputs of runs as people ask for them: what waits for a decision, and what another attempt printed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.core.run_keys import next_attempt_key
from server.storage import runs as run_rows
from server.storage import workflow_runs as rows
from tests.unit.floor import Floor, step
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import DeskSite, open_desk


def test_runs_at_which_a_person_has_to_decide_are_one_list(tmp_path: Path) -> None:
    """Whatever their state: one whose step was interrupted, also while it is suspended; not one that ended."""
    floor = Floor()
    floor.workflow(step("a"))
    for request in ("one", "two", "three"):
        floor.start(request=request)
    keys = floor.sent()
    floor.end(keys[0], "gone")
    floor.end(keys[1], "gone")
    connection = floor.ledger.connection
    rows.update(connection, 2, state="suspended")
    assert [line.id for line in rows.lines(connection, undecided=True)] == [2, 1]
    assert [line.id for line in rows.lines(connection, state="deciding", undecided=True)] == [1]
    rows.update(connection, 2, state="cancelled")
    with open_desk(floor.ledger, tmp_path) as desk:
        assert [run["id"] for run in desk.client.get("/api/v1/workflow-runs?undecided=1")] == [1]
        code, text = desk.run("workflow", "runs", "--undecided")
        assert (code, [line.split()[0] for line in text.splitlines()]) == (0, ["RUN", "1"])
        status, page = desk.page("/workflow-runs?state=undecided")
        assert (status, "/workflow-runs/1" in page, "/workflow-runs/3" in page) == (200, True, False)


def test_what_another_attempt_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By its number of attempt, from any run of the request; a wrong one is refused with those there are."""
    ledger = Ledger()
    agent = ledger.add_agent()
    job = ledger.add_job("flaky", cron="")
    key, numbers = f"j{job.id}.rone.a1", list[int]()
    for attempt in (1, 2):
        values: dict[str, Any] = {"attempt": attempt, "ended_at_us": START_US}
        numbers.append(run_rows.insert(ledger.connection, key, job.id, agent.id, "x", "failed", START_US, **values))
        (tmp_path / f"out-{numbers[-1]}").write_text(f"attempt {attempt}")
        key = next_attempt_key(key)
    monkeypatch.setattr(DeskSite, "output_path", lambda self, number: tmp_path / f"out-{number}")
    with open_desk(ledger, tmp_path) as desk:
        first, second = map(str, numbers)
        assert desk.run("run", "output", second, "--attempt", "1") == (0, "attempt 1")
        assert desk.run("run", "output", first, "--attempt", "2") == (0, "attempt 2")
        assert desk.run("run", "output", second) == (0, "attempt 2")
        code, text = desk.run("run", "output", first, "--attempt", "3")
        assert (code != 0, f"Its attempts: 1 (run {first}), 2 (run {second})" in text) == (True, True)
        assert desk.run("run", "output", first, "--attempt", "2", "--follow")[0] == 2


def test_a_schedule_that_is_changed_keeps_its_zone(tmp_path: Path) -> None:
    """`job update --cron` without `--zone`: the zone of the schedules there are, when they have one; else UTC."""
    ledger = Ledger()
    ledger.add_agent()
    with open_desk(ledger, tmp_path) as desk:

        def zones() -> list[str]:
            return [when["zone"] for when in desk.client.get("/api/v1/jobs/pay")["spec"]["schedules"]]

        made = ("job", "create", "pay", "--agent", "north", "--command", "x", "--cron", "0 6 * * *")
        assert desk.run(*made, "--zone", "Europe/Berlin")[0] == 0
        assert desk.run("job", "update", "pay", "--cron", "0 7 * * *", "--cron", "0 8 * * *; jitter 5m")[0] == 0
        assert zones() == ["Europe/Berlin"] * 2
        assert desk.run("job", "update", "pay", "--cron", "0 7 * * *", "--zone", "Asia/Tokyo")[0] == 0
        assert zones() == ["Asia/Tokyo"]
