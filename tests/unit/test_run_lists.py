"""Lists as people ask for them: what waits for a decision, what another attempt printed, tags of workflows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from server.actions import workflows
from server.core.model import SYSTEM
from server.core.run_keys import next_attempt_key
from server.core.workflows import WorkflowSpec, as_json
from server.errors import Invalid
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


def test_workflows_are_found_by_their_tags(tmp_path: Path) -> None:
    """As jobs are: a whole tag, of the current version; the list of tags counts both; a wrong one is named."""
    floor = Floor()
    for name, tags in (("one", ["nightly", "shop"]), ("two", ["shop"]), ("three", ["shopping"])):
        text = as_json(WorkflowSpec(name=name, steps=[step("a")], agent="alpha", tags=tags))
        floor.ledger.do(workflows.create(text, SYSTEM, floor.now_us))
    floor.job("plain", tags=["shop"])
    wrong = as_json(WorkflowSpec(name="four", steps=[step("a")], agent="alpha", tags=["a b"]))
    with pytest.raises(Invalid, match="tags: at most 20"):
        floor.ledger.do(workflows.create(wrong, SYSTEM, floor.now_us))
    with open_desk(floor.ledger, tmp_path) as desk:
        listed = desk.client.get("/api/v1/workflows?tag=shop")
        assert [(line["name"], line["tags"]) for line in listed] == [("one", "nightly shop"), ("two", "shop")]
        code, text_of_two = desk.run("workflow", "list", "--tag", "shop", "--match", "two")
        assert (code, text_of_two.splitlines()[1].split()[0]) == (0, "two")
        assert "tags: nightly shop" in desk.run("workflow", "show", "one")[1]
        status, page = desk.page("/workflows?tag=shop")
        assert (status, ">one<" in page, ">three<" in page) == (200, True, False)
        counted = {line["tag"]: (line["jobs"], line["workflows"]) for line in desk.client.get("/api/v1/tags")}
        assert counted == {"nightly": (0, 1), "shop": (1, 2), "shopping": (0, 1)}
        desk.run("workflow", "delete", "two", "--yes", "--reason", "gone")
        assert [line["name"] for line in desk.client.get("/api/v1/workflows?tag=shop")] == ["one"]
