"""Maintenance at the web port: what calls answer in which phase, and UiPath's own requests (UIP-1 to UIP-9, BEY-5)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from click.testing import CliRunner

from scripts.understudy import understudy
from server.actions import maintenance, runs, tokens, users
from server.core.maintenance import CRYOSPARC, Asks, Wish
from server.core.model import SECOND_US, SYSTEM, Principal
from server.people.passwords import hash_password
from server.storage import runs as run_rows
from server.web import maintenance as table
from server.web.pages import PAGES
from server.web.routes import ENDPOINTS, make_app
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import Desk, open_desk

BOSS = Principal("boss", "administrator", "192.0.2.1")
PASSWORD = "correct horse battery"
ROLES = {"boss": "administrator", "ann": "operator", "ulf": "user", "audrey": "auditor"}
WHO = {name: f"us_{name}" for name in ROLES}
DRAINING = "/api/Maintenance/Start?phase=Draining"
SUSPENDED = "/api/Maintenance/Start?phase=Suspended"
RUN = ("POST", "/api/v1/jobs/backup/run")


@cache
def _hashed() -> str:
    return hash_password(PASSWORD)


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.add_agent("north")
    made.add_job("backup", cron="")
    for name, role in ROLES.items():
        made.do(users.create(name, _hashed(), role, SYSTEM, START_US))
        hashed = hashlib.sha256(WHO[name].encode()).hexdigest()
        made.do(tokens.create(name, "test", hashed, None, SYSTEM, START_US))
    return made


@pytest.fixture
def desk(ledger: Ledger, tmp_path: Path) -> Iterator[Desk]:
    with open_desk(ledger, tmp_path) as made:
        yield made


def running(ledger: Ledger) -> int:
    run = ledger.do(runs.run_now("backup", f"r{ledger.count('runs')}", SYSTEM, START_US))
    run_rows.set_state(ledger.connection, run.number, "running", START_US, dispatched_epoch=1)
    return run.number


def ask(desk: Desk, method: str, path: str, who: str = "boss", accept: str = "application/json") -> int:
    return desk.call(method, path, WHO[who], accept)[0]


def test_a_transcript_of_uipaths_own_cmdlets(ledger: Ledger, desk: Desk) -> None:
    """UIP-1, UIP-5, UIP-6: what Start-, Get- and Stop-UiPathMaintenance send, and what they read from the answers."""
    boss, get = WHO["boss"], "/api/Maintenance/Get"
    assert desk.call("GET", get, boss)[1] == {
        "state": "None",
        "maintenanceLogs": [],
        "jobStopsAttempted": 0,
        "jobKillsAttempted": 0,
        "triggersSkipped": 0,
        "systemTriggersSkipped": 0,
    }
    for sent, state, length in (
        (f"{DRAINING}&force=false&killJobs=false", "Draining", 2),
        (f"{SUSPENDED}&force=true&killJobs=false", "Suspended", 3),
        ("/api/Maintenance/End", "None", 4),
    ):
        status, body, _ = desk.call("POST", sent, boss)
        assert (status, body) == (204, "")
        found = desk.call("GET", get, boss)[1]
        assert (found["state"], len(found["maintenanceLogs"])) == (state, length)
    words = [row["state"] for row in found["maintenanceLogs"]]
    assert words == ["None", "Draining", "Suspended", "None"]
    assert all(
        re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", row["timeStamp"]) for row in found["maintenanceLogs"]
    )
    assert desk.call("GET", get, boss)[1] == found
    status, problem, _ = desk.call("POST", "/api/Maintenance/End", boss)
    assert (status, problem["code"]) == (409, "conflict")


def test_uip_4_a_400_says_what_to_ask_for(desk: Desk) -> None:
    """UIP-4: the 400 that the source system's users could not explain."""
    for query, says in (
        ("phase=Draining&killJobs=true", "killJobs with the phase Suspended"),
        ("phase=Draining&force=true", "force with the phase Suspended"),
        ("phase=None", "Draining or Suspended"),
        ("", "Draining or Suspended"),
        ("phase=Suspended&force=perhaps", "true or false"),
    ):
        status, problem, _ = desk.call("POST", f"/api/Maintenance/Start?{query}", WHO["boss"])
        assert (query, status, problem["code"]) == (query, 400, "invalid")
        assert says in problem["detail"]


def test_uip_2_draining_refuses_new_work_and_lets_the_rest_go_on(ledger: Ledger, desk: Desk) -> None:
    """UIP-2: 405 with the reason for whoever creates work; looking goes on; the pages are the administrators'."""
    number = running(ledger)
    assert ask(desk, "POST", DRAINING) == 204
    for who in WHO:
        status, problem, headers = desk.call(*RUN, WHO[who])
        assert (status, problem["code"], headers["Allow"]) == (405, "maintenance", "GET, HEAD")
        assert "New work is refused" in problem["detail"]
        assert ask(desk, "GET", "/api/v1/jobs", who) == 200
    status, text, headers = desk.call("GET", "/jobs", WHO["ulf"], "text/html")
    assert (status, headers["Retry-After"]) == (503, "60")
    assert "New runs and jobs are refused" in text
    assert ask(desk, "GET", "/jobs", "boss", "text/html") == 200
    assert desk.call("GET", "/api/Maintenance/Get", WHO["boss"])[1]["jobStopsAttempted"] == 1
    assert ask(desk, "POST", f"/api/v1/runs/{number}/kill", "ann") == 200
    assert ask(desk, "GET", "/readyz") == 200


def test_uip_3_suspended_is_a_503_for_everybody_but_administrators(ledger: Ledger, desk: Desk) -> None:
    """UIP-3: first a 409 that names the run; then 503 with Retry-After; status, End and what watches always answer."""
    number = running(ledger)
    status, problem, _ = desk.call("POST", SUSPENDED, WHO["boss"])
    assert status == 409
    assert f"run {number} (backup on north)" in problem["detail"]
    assert ask(desk, "POST", f"{SUSPENDED}&killJobs=true") == 204
    for who in ("ann", "ulf", "audrey"):
        status, problem, headers = desk.call("GET", "/api/v1/jobs", WHO[who])
        assert (status, problem["code"], headers["Retry-After"]) == (503, "unavailable", "60")
        assert ask(desk, *RUN, who) == 503
        assert ask(desk, "GET", "/", who, "text/html") == 503
        for path in ("/api/v1/status", "/livez", "/metrics", "/primary", "/api/v1/gates", "/static/live.js"):
            assert (path, ask(desk, "GET", path, who)) == (path, 200)
    assert ask(desk, *RUN) == 503
    assert ask(desk, "GET", "/api/v1/jobs") == 200
    assert desk.call("GET", "/readyz")[0] == 503
    assert desk.call("GET", "/api/Status/Get")[0] == 503
    assert desk.call("GET", "/api/v1/status", WHO["ulf"])[1]["maintenance"]["phase"] == "suspended"
    assert ask(desk, "POST", "/api/Maintenance/End") == 204
    assert ask(desk, *RUN, "ulf") == 202
    assert desk.call("GET", "/readyz")[0] == 200


def test_cry_2_on_refuses_nothing(ledger: Ledger, desk: Desk) -> None:
    """CRY-2: submissions are accepted and wait with the reason; every page answers."""
    assert desk.call("POST", "/api/v1/maintenance/on", WHO["boss"], body={"reason": "new disk"})[0] == 200
    status, made, _ = desk.call(*RUN, WHO["ulf"])
    assert status == 202
    found = desk.call("GET", f"/api/v1/runs/{made['run']}", WHO["ulf"])[1]
    assert (found["state"], found["reason"]) == ("waiting", "maintenance")
    assert ask(desk, "GET", "/jobs", "ulf", "text/html") == 200


def test_uip_9_who_may_look_and_who_may_change(desk: Desk) -> None:
    """UIP-9: an operator and an auditor read the log; only an administrator changes the phase; a user neither."""
    for who, get, start in (("boss", 200, 204), ("ann", 200, 403), ("audrey", 200, 403), ("ulf", 403, 403)):
        assert (who, ask(desk, "GET", "/api/Maintenance/Get", who)) == (who, get)
        assert (who, ask(desk, "POST", DRAINING, who)) == (who, start)
        assert (who, ask(desk, "POST", "/api/Maintenance/End", who)) == (who, start)
    assert desk.call("GET", "/api/Maintenance/Get")[0] == 401


@pytest.mark.parametrize("phase", [DRAINING, f"{SUSPENDED}&force=true"])
def test_nobody_is_locked_out_when_sessions_and_tokens_expire(ledger: Ledger, desk: Desk, phase: str) -> None:
    """BEY-5: all sessions and tokens gone in either phase: an administrator signs in again, the socket needs none."""
    assert ask(desk, "POST", phase) == 204
    ledger.connection.execute("UPDATE api_tokens SET expires_at_us = 1")
    ledger.connection.execute("UPDATE sessions SET expires_at_us = 1")
    assert ask(desk, "POST", "/api/Maintenance/End") == 401
    assert desk.call("GET", "/login", accept="text/html")[0] == 200
    status, _, headers = desk.call("POST", "/api/v1/login", body={"user": "boss", "password": PASSWORD})
    assert status == 200
    assert "__Host-understudy=" in headers["Set-Cookie"]
    refused = desk.call("POST", "/api/v1/login", body={"user": "ulf", "password": PASSWORD})
    assert refused[0] == (200 if phase == DRAINING else 503)
    made = desk.client.post("/api/v1/tokens", {"name": "again", "user": "boss"})
    assert desk.call("GET", "/api/v1/maintenance", made["token"])[0] == 200
    assert desk.client.ask("POST", "/api/Maintenance/End").status == 204
    assert ledger.count("maintenance_sessions", "ended_at_us IS NULL") == 0


def test_the_local_socket_starts_reads_and_ends_in_every_phase(desk: Desk) -> None:
    """BEY-5: whoever owns the data directory needs no password and no network."""
    for body in ({"phase": "draining"}, {"phase": "suspended"}, {"phase": "suspended", "kill_jobs": True}):
        assert desk.client.post("/api/v1/maintenance/start", body)["session"]["phase"] == body["phase"]
        assert desk.client.get("/api/v1/maintenance")["phase"] == body["phase"]
        assert desk.client.get("/api/v1/jobs")
    assert desk.client.post("/api/v1/maintenance/end")["gates"]["changed"]


def test_it_says_when_to_come_back(ledger: Ledger, desk: Desk) -> None:
    """A planned end is the time to try again after."""
    wish = Wish(phase="suspended", end_at_us=START_US + 900 * SECOND_US)
    ledger.do(maintenance.start(wish, "", BOSS, START_US))
    assert desk.call("GET", "/api/v1/jobs", WHO["ulf"])[2]["Retry-After"] == "900"


def test_the_log_lists_what_was_suppressed_and_ended(ledger: Ledger, desk: Desk) -> None:
    """UIP-6: readable after the end, with each run that was asked to stop."""
    number = running(ledger)
    ledger.do(maintenance.start(Wish(phase="draining"), "", BOSS, START_US))
    ledger.do(maintenance.end("", BOSS, START_US + 1))
    (found,) = desk.call("GET", "/api/v1/maintenance/log", WHO["audrey"])[1]
    assert [(row["run"], row["job"], row["kill"]) for row in found["ended_runs"]] == [(number, "backup", False)]
    assert [row["phase"] for row in found["log"]] == ["none", "draining", "none"]


def test_the_state_names_who_runs_until_when(ledger: Ledger, desk: Desk) -> None:
    """CRY-1, UIP-6: how long the latest successful runs took says when this one is expected to end."""
    for _ in range(3):
        number = running(ledger)
        values = {"started_at_us": START_US, "ended_at_us": START_US + 90 * SECOND_US}
        run_rows.set_state(ledger.connection, number, "succeeded", START_US, **values)
    number = running(ledger)
    ledger.do(maintenance.start(Wish(phase="draining", policy=CRYOSPARC), "", BOSS, START_US))
    found = desk.call("GET", "/api/v1/maintenance", WHO["ann"])[1]
    (run,) = found["running"]
    assert (run["number"], run["usual_us"], run["expected_end_us"] - run["since_us"]) == (
        number,
        90 * SECOND_US,
        90 * SECOND_US,
    )
    assert (found["running_count"], found["silent_agents"]) == (1, ["north"])


_BEGINS = re.compile(r"/(run|rerun|resume|restart|new|import|all|crontab|cronicle|submit|start-run)$")


def test_every_route_that_creates_work_is_in_the_table() -> None:
    """UIP-2: each route of the tables exists; what is called like a beginning of work is in one, or named here."""
    app = make_app.__globals__
    assert app["admit"] is table.admit
    routes = {(e.method, re.sub(r"\{(\w+):[^}]*(\{[^}]*\})?[^}]*\}", r"{\1}", e.path)) for e in ENDPOINTS}
    for page in PAGES:
        routes |= {(r.method, re.sub(r"\{(\w+):[^/]*\}", r"{\1}", r.path)) for r in page.ROUTES}
    assert routes >= table.WORK, sorted(table.WORK - routes)
    known = {path for _, path in routes}
    extra = {"/static/{name}", "/api/v1/openapi.json", "/api/v1/events", "/maintenance/start", "/maintenance/end"}
    assert known | extra >= table.ALWAYS, sorted(table.ALWAYS - known - extra)
    no_work = {"/calendars/{name}/import", "/api/v1/calendars/{name}/import"}
    forgotten = {
        (method, path)
        for method, path in routes
        if method != "GET" and _BEGINS.search(path) and table.asks(method, path) is not Asks.WORK
    }
    assert {path for _, path in forgotten} <= no_work, sorted(forgotten)


def status_of(desk: Desk, *options: str) -> tuple[int, str]:
    """What `understudy maintenance status` returns to the program around it, and prints."""
    words = ["maintenance", "status", *options, "--data", str(desk.directory)]
    result = CliRunner().invoke(understudy, words, standalone_mode=False)
    return result.return_value, result.output


def test_the_commands_are_one_line_each_with_exit_codes(ledger: Ledger, desk: Desk) -> None:
    """CRY-1: on, status, off: idempotent, one line, 0 while off and 1 while on."""
    ledger.connection.execute("UPDATE agents SET gates_acknowledged = 99, ticket = 1")
    assert status_of(desk) == (0, "Maintenance is off.\n")
    assert desk.run("maintenance", "on", "--reason", "new disk") == (0, "Maintenance is on.\n")
    assert desk.run("maintenance", "on") == (0, "Maintenance was on already (Draining, by local).\n")
    code, text = status_of(desk)
    assert (code, text.count("\n")) == (1, 1)
    assert "(Draining)" in text
    assert "by local: new disk. 0 runs at work, 0 waiting." in text
    assert desk.run("maintenance", "off") == (0, "Maintenance is off.\n")
    assert desk.run("maintenance", "off") == (0, "Maintenance was off already.\n")
    assert desk.run("maintenance", "end")[0] == 1
    assert desk.run("maintenance", "on", "--tenant", "a", "--agent", "b")[0] == 2


def test_start_end_and_log_as_commands(ledger: Ledger, desk: Desk) -> None:
    """UIP-1 to UIP-6 typed: the refusals say what to add, the log what was done."""
    number = running(ledger)
    code, text = desk.run("maintenance", "start", "--phase", "suspended")
    assert (code, f"run {number} (backup on north)" in text) == (1, True)
    assert desk.run("maintenance", "start", "--phase", "draining", "--kill-jobs")[0] == 2
    assert desk.run("maintenance", "start", "--phase", "Draining") == (
        0,
        "Maintenance is Draining. Runs: 1 asked to stop, 0 killed.\n",
    )
    code, text = desk.run("run", "now", "backup")
    assert (code, "New work is refused" in text) == (75, True)
    code, text = desk.run("maintenance", "start", "--phase", "suspended", "--kill-jobs", "--end-at", "+2h")
    assert (code, "1 killed" in text) == (0, True)
    assert desk.run("maintenance", "end")[0] == 0
    code, text = desk.run("maintenance", "log")
    assert [line.split()[3] for line in text.splitlines()[1:5]] == ["None", "Draining", "Suspended", "None"]
    assert f"run {number} (backup) killed: running" in text
    assert desk.run("maintenance", "start", "--phase", "draining", "--end-at", "soon")[0] == 2


def test_wait_returns_when_the_last_run_has_ended(ledger: Ledger, desk: Desk) -> None:
    """CRY-1: `on --wait` ends with 124 while something runs, and with 0 once nothing does."""
    ledger.connection.execute("UPDATE agents SET gates_acknowledged = 99, ticket = 1")
    number = running(ledger)
    code, text = desk.run("maintenance", "on", "--wait", "--timeout", "0")
    assert (code, "1 run at work" in text) == (124, True)
    run_rows.set_state(ledger.connection, number, "succeeded", START_US)
    assert desk.run("maintenance", "on", "--wait") == (0, "Maintenance is on and nothing runs.\n")


def test_uip_10_an_agent_by_command_with_wait_or_kill(ledger: Ledger, desk: Desk) -> None:
    """UIP-10: an agent's maintenance waits for its runs, or kills them; it is one of the same sessions."""
    number = running(ledger)
    assert desk.run("agent", "maintenance", "north", "draining")[0] == 0
    assert runs.find(ledger.connection, number).cancel_requested_at_us is None
    assert desk.run("agent", "maintenance", "north", "draining", "--kill")[0] == 0
    assert runs.find(ledger.connection, number).cancel_kill
    assert status_of(desk, "--agent", "north")[0] == 1
    assert desk.run("maintenance", "off", "--agent", "north") == (0, "Maintenance is off.\n")


def test_the_page_begins_ends_and_decides(ledger: Ledger, desk: Desk) -> None:
    """UIP-6, UIP-10, CRY-3: by the buttons; every page says what it means; a suppressed execution is dismissed here."""
    number = running(ledger)
    assert desk.page("/maintenance/start", {"way": "draining", "reason": "new disk"})[0] == 303
    status, text = desk.page("/maintenance")
    assert (status, "asked to stop" in text, "new disk" in text) == (200, True, True)
    assert "New runs and jobs are refused" in desk.page("/jobs")[1]
    ledger.connection.execute(
        "INSERT INTO missed (job_id, schedule_id, scheduled_for_us, cause, recorded_at_us) VALUES (1, 1, ?, ?, 0)",
        (START_US + 1, "maintenance"),
    )
    text = desk.page("/maintenance")[1]
    assert ("/maintenance/missed/1/dismiss" in text, "/maintenance/missed/1/run" in text) == (True, False)
    assert desk.page("/maintenance/missed/1/dismiss", {}) == (303, "/maintenance?done=missed-dismissed")
    assert desk.page("/maintenance/end", {}) == (303, "/maintenance?done=maintenance-off")
    assert desk.page("/maintenance/start", {"way": "sideways"})[0] == 400
    assert desk.page("/agents/north/maintenance", {"way": "kill"}) == (303, "/agents/north?done=agent-maintenance")
    assert runs.find(ledger.connection, number).cancel_kill
    assert "End maintenance" in desk.page("/agents/north")[1]
    assert desk.page("/agents/north/maintenance", {"way": "off"})[0] == 303
    assert ledger.count("maintenance_sessions", "ended_at_us IS NULL") == 0


def test_cry_3_pages_without_rows_say_what_it_means(ledger: Ledger, desk: Desk) -> None:
    """The page of a standby, of the sign-in and of an error have their frame from the copy: the meaning is in it."""
    means = "they wait, and start in order when it ends"
    assert means not in desk.call("GET", "/login", accept="text/html")[1]
    ledger.do(maintenance.start(Wish(phase="draining", policy=CRYOSPARC), "", SYSTEM, START_US))
    assert means in desk.call("GET", "/login", accept="text/html")[1]
    assert means in desk.call("GET", "/jobs/77", WHO["boss"], "text/html")[1]
