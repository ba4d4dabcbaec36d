"""What was put aside, as people and programs meet it: the command, the API, the pages."""

from __future__ import annotations

import json
from pathlib import Path

from server.actions import quarantine, runs
from server.core.model import SYSTEM
from server.storage import jobs, system_messages
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import open_desk


def test_the_command_the_api_and_the_pages_list_and_decide(tmp_path: Path) -> None:
    """A job that cannot be planned and a run that cannot be let go: listed, tried again, dismissed, refused."""
    ledger = Ledger()
    ledger.add_agent()
    job = ledger.add_job("billing")
    run = ledger.do(runs.run_now("billing", "x", SYSTEM, START_US))
    error = ValueError("hour must be in 0..23")
    for work, subject in (("plan", job.id), ("begin", run.number)):
        ledger.do(
            lambda t, work=work, subject=subject: quarantine.put_aside(
                t.connection, work, str(subject), job.id, error, START_US
            )
        )
    with open_desk(ledger, tmp_path) as desk:
        code, text = desk.run("scheduler", "aside", "list")
        assert code == 0
        assert "billing is not planned" in text
        assert "hour must be in 0..23" in text
        listed = desk.client.get("/api/v1/scheduler/aside")
        assert [line["work"] for line in listed] == ["plan", "begin"]
        assert json.loads(desk.run("scheduler", "aside", "list", "--json")[1]) == listed
        status, page = desk.page("/scheduler")
        assert status == 200
        assert "Put aside" in page
        assert "billing is not planned" in page
        status, page = desk.page(f"/jobs/{job.id}")
        assert status == 200
        assert "understudy scheduler aside retry 1" in page
        assert "understudy scheduler aside retry 1" in desk.run("explain", "billing", "--job")[1]
        code, text = desk.run("scheduler", "aside", "dismiss", "1", "--reason", "no")
        assert code != 0
        assert "Change the job (billing)" in text
        code, text = desk.run("scheduler", "aside", "dismiss", "2", "--reason", "not needed")
        assert (code, "the run is cancelled" in text) == (0, True)
        status, where = desk.page("/scheduler/aside/1/retry", {})
        assert (status, where.startswith("/scheduler")) == (303, True)
        assert desk.run("scheduler", "aside", "list")[1].strip() == "Nothing is put aside."
        code, text = desk.run("scheduler", "aside", "retry", "9")
        assert (code != 0, "aside list" in text) == (True, True)
    found = jobs.get(ledger.connection, job.id)
    assert found is not None
    assert found.planned_version != found.version, "the scheduler plans it again"
    assert len(system_messages.page(ledger.connection)) == 2
