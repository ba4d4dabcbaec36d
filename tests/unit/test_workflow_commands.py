"""Workflows by the API and by the command: the same rows, every mistake with its line, exit codes of the contract."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from scripts.client import CommandError
from server.core import workflow_schema
from tests.unit.ledger import Ledger
from tests.unit.test_workflow_text import NIGHTLY
from tests.unit.web_desk import Desk, open_desk

ROOT = "/api/v1/workflows"
SMALL = "name: nightly\nagent: north\nsteps:\n  - {name: dump, command: dump}\n"
OTHER = SMALL + "  - {name: copy, command: copy, after: dump}\n"


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    ledger = Ledger()
    ledger.add_agent()
    ledger.add_job(name="call-somebody")
    with open_desk(ledger, tmp_path) as opened:
        yield opened


def test_a_workflow_lives_by_the_api(desk: Desk) -> None:
    """Made, read, changed, compared, rolled back, held and deleted."""
    ask = desk.client.ask
    made = ask("POST", ROOT, {"text": SMALL})
    assert (made.status, made.value["name"], made.value["version"]) == (201, "nightly", 1)
    assert ask("PUT", f"{ROOT}/nightly", {"text": OTHER, "version": 1, "reason": "also copy"}).value["version"] == 2
    with pytest.raises(CommandError, match="at version 2 by now"):
        ask("PUT", f"{ROOT}/nightly", {"text": SMALL, "version": 1})
    shown = desk.client.get(f"{ROOT}/nightly")
    assert (shown["text"], shown["version"], shown["current"], shown["reason"]) == (OTHER, 2, 2, "also copy")
    assert [step["name"] for step in shown["spec"]["steps"]] == ["dump", "copy"]
    assert desk.client.get(f"{ROOT}/nightly/versions/1")["text"] == SMALL
    found = desk.client.get(f"{ROOT}/nightly/diff")
    assert [(one["step"], one["change"]) for one in found["steps"]] == [("copy", "added")]
    assert "+  - {name: copy, command: copy, after: dump}" in found["text"]
    assert ask("POST", f"{ROOT}/nightly/roll-back", {"version": 1}).value["version"] == 3
    assert [one["version"] for one in desk.client.get(f"{ROOT}/nightly/versions")] == [3, 2, 1]
    assert ask("PUT", f"{ROOT}/nightly/hold", {"held": True}).value["changed"]
    assert desk.client.get(ROOT)[0]["held"]
    ask("DELETE", f"{ROOT}/nightly?reason=over")
    assert desk.client.get(ROOT) == []


def test_a_write_sent_twice_is_done_once(desk: Desk) -> None:
    """The same key answers the same, and there is one version."""
    first = desk.client.ask("POST", ROOT, {"text": SMALL}, key="k1")
    again = desk.client.ask("POST", ROOT, {"text": SMALL}, key="k1")
    assert first.value == again.value
    assert len(desk.client.get(f"{ROOT}/nightly/versions")) == 1


def test_a_text_is_checked_without_keeping_it(desk: Desk) -> None:
    """With what it names; the canonical text of a right one is answered."""
    found = desk.client.post(f"{ROOT}/check", {"text": SMALL.replace("north", "nort")})
    assert found["mistakes"] == [{"line": 2, "column": 8, "text": "there is no agent 'nort'; did you mean 'north'?"}]
    right = desk.client.post(f"{ROOT}/check", {"text": SMALL})
    assert (right["mistakes"], right["name"], right["steps"]) == ([], "nightly", 1)
    assert right["canonical"].endswith("  - name: dump\n    command: dump\n")
    assert desk.client.get(ROOT) == []


def test_what_is_not_there_any_more_is_shown(desk: Desk) -> None:
    """A job that a step names was deleted: the workflow stays, and says so."""
    desk.client.post(ROOT, {"text": SMALL + "  - {name: call, job: call-somebody}\n"})
    desk.client.ask("DELETE", "/api/v1/jobs/call-somebody")
    assert desk.client.get(f"{ROOT}/nightly")["missing"] == ["there is no job 'call-somebody'"]
    assert "Missing: there is no job 'call-somebody'" in desk.run("workflow", "show", "nightly")[1]


def test_the_schema_is_served_and_printed(desk: Desk) -> None:
    """The same text by the API and by the command, which asks no node."""
    assert desk.client.get(f"{ROOT}/schema") == json.loads(workflow_schema.text())


def test_a_workflow_lives_by_the_command(desk: Desk, tmp_path: Path) -> None:
    """Each command says what it did; `--json` prints what the API answers."""
    file = tmp_path / "nightly.yaml"
    file.write_text(NIGHTLY.replace("group: stores", "agent: north"))
    assert desk.run("workflow", "check", str(file)) == (0, "nightly: 4 steps; it can be kept\n")
    assert desk.run("workflow", "create", str(file)) == (0, "The workflow nightly is made.\n")
    shown = desk.run("workflow", "show", "nightly")[1]
    assert "nightly, version 1 of 1, by local" in shown
    assert "dump succeeded" in shown
    assert "dump failed or compress failed or copy failed" in shown
    assert "for each of 2" in shown
    assert desk.run("workflow", "show", "nightly", "--text")[1] == file.read_text()
    file.write_text(file.read_text().replace("gzip -9", "zstd"))
    changed = desk.run("workflow", "update", str(file), "--version", "1", "--reason", "faster")
    assert changed == (0, "The workflow nightly is at version 2.\n")
    code, text = desk.run("workflow", "diff", "nightly")
    assert code == 0
    assert "  step compress changed\n    command: gzip -9 shop.sql → zstd shop.sql\n" in text
    assert "+    command: zstd shop.sql\n" in text
    assert "faster" in desk.run("workflow", "versions", "nightly")[1]
    assert "version 3" in desk.run("workflow", "roll-back", "nightly", "1")[1]
    assert desk.run("workflow", "hold", "nightly")[1] == "The workflow nightly is held.\n"
    assert "held" in desk.run("workflow", "list")[1]
    assert desk.run("workflow", "release", "nightly")[1] == "The workflow nightly is released.\n"
    assert json.loads(desk.run("workflow", "list", "--json")[1])[0]["version"] == 3
    assert desk.run("workflow", "delete", "nightly", "--yes")[1] == "The workflow nightly is deleted.\n"


def test_mistakes_are_said_by_file_and_line(desk: Desk, tmp_path: Path) -> None:
    """`check` prints places that editors can jump to, and ends with 1; `create` names the line too."""
    file = tmp_path / "wrong.yaml"
    file.write_text(SMALL + "  - {name: copy, command: copy, after: dumb}\n  - {name: mail, job: male}\n")
    code, text = desk.run("workflow", "check", str(file))
    assert (code, text.splitlines()[1:]) == (1, [f"{file}:5:40: step 'dumb' is not a step; did you mean 'dump'?"])
    code, text = desk.run("workflow", "create", str(file))
    assert code == 2
    assert f"{file}, line 5: step 'dumb' is not a step; did you mean 'dump'?" in text
    assert desk.run("workflow", "check", str(tmp_path / "none.yaml"))[0] == 78
    code, text = desk.run("workflow", "check", "-", stdin="name: [")
    assert (code, text.splitlines()[1].startswith("-:")) == (1, True)


def test_a_name_that_is_not_there_says_what_was_meant(desk: Desk) -> None:
    """Exit code 1, and the near name."""
    desk.client.post(ROOT, {"text": SMALL})
    code, text = desk.run("workflow", "show", "nightli")
    assert (code, "did you mean 'nightly'?" in text) == (1, True)
