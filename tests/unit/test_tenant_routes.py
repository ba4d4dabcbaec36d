"""No route leaks another tenant: every route of the API and of the pages, enumerated (UIP-8; docs/tenants.md)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from server.core.access import ROLES
from server.web.listings import LISTINGS
from tests.unit.ledger import Ledger
from tests.unit.tenant_kinds import API_KINDS, PAGE_KINDS, PARAMETER, ROUTES, kinds
from tests.unit.tenant_stage import Stage, fill, people
from tests.unit.web_desk import open_desk

TELLTALES = (b"zebra", b"bravo")
BODIES: dict[str, object] = {
    "PUT /api/v1/jobs/{name}": {"name": "apple-other", "command": "x", "agent": "north"},
    "PUT /api/v1/jobs/{name}/hold": {"held": True},
    "PUT /api/v1/workflows/{name}/hold": {"held": True},
    "PUT /api/v1/monitors/{name}/enabled": {"enabled": False},
    "PUT /api/v1/calendars/{name}": {"name": "apple-other", "kind": "list", "days": ["2026-01-01"]},
    "PUT /api/v1/monitors/{name}": {"name": "apple-other", "agent": "north", "kind": "manual"},
    "PUT /api/v1/users/{name}": {"disabled": True},
    "POST /api/v1/jobs/{name}/exceptions": {"instant_us": 1, "skipped": True},
}
MAKES = {"PUT /api/v1/resources/{name}", "PUT /api/v1/variables/{name}", "PUT /api/v1/environments/{name}",
    "PUT /api/v1/command-sets/{name}", "PUT /api/v1/notification-lists/{name}"}  # fmt: skip
"""These make what there is not: another's name is as free as any."""


def filled(path: str, table: dict[str, str], values: dict[str, str]) -> str:
    for text, kind in kinds(path, table):
        value = kind[1:] if kind.startswith("=") else values.get(kind, "nobody")
        path = path.replace(text, quote(value, safe=""), 1)
    return path


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    """Both tenants with all they can have; nothing of it is changed by what follows."""
    ledger = Ledger()
    people(ledger)
    with tempfile.TemporaryDirectory() as directory, open_desk(ledger, Path(directory)) as desk:
        made = Stage(desk)
        fill(ledger, made)
        yield made


def whose(stage: Stage) -> dict[str, dict[str, str]]:
    unknown = {kind: "9" if value.isdigit() else renamed(value) for kind, value in stage.ids["bravo"].items()}
    return {"own": stage.ids["acme"], "other": stage.ids["bravo"], "unknown": unknown}


def renamed(text: str) -> str:
    """A name of nobody that is as like one's own names as the other's is: hints at names are one's own."""
    return text.replace("zebra", "zerba").replace("bravo", "brvao").replace("b" * 16, "f" * 16)


def modulo(body: bytes, asked: list[str]) -> bytes:
    """What was said, less what was asked for and what a form has of its own each time."""
    for one in sorted(filter(None, asked), key=len, reverse=True):
        body = re.sub(rb"\b%s\b" % re.escape(one.encode()), b"#", body)
    body = re.sub(rb"value=\"[0-9a-zA-Z_-]{20,}\"", b"", body)
    return re.sub(rb"\b\d{1,4}\b", b"#", body)


def ask(
    stage: Stage, role: str, method: str, route: str, values: dict[str, str], is_page: bool
) -> tuple[int, bytes, bytes]:
    """Status, everything that was answered less the parameters themselves, and the body for comparing."""
    table = PAGE_KINDS if is_page else API_KINDS
    body: object = None
    if method != "GET":
        body = "reason=x" if is_page else BODIES.get(f"{method} {route}", {})
    path = filled(route, table, values)
    answer = stage.visitor("acme", role).ask(method, path, body, "text/html" if is_page else "application/json")
    asked = [values.get(kind, "") for _, kind in kinds(route, table)]
    said = answer.head.encode() + answer.body
    for one in sorted((one for one in asked if not one.isdigit() and one), key=len, reverse=True):
        said = said.replace(quote(one, safe="").encode(), b"*").replace(one.encode(), b"*")
    return answer.status, said, modulo(answer.body, asked)


SKIPPED = {"/api/v1/login", "/api/v1/logout", "/logout", "/login", "/login/proxy", "/api/v1/login/proxy"}
"""Whoever asks these is not signed in behind them."""


@pytest.mark.parametrize("role", ROLES)
def test_no_look_tells_of_another_tenant(stage: Stage, role: str) -> None:
    """Every GET, as each role, for one's own things, another's and what there is not: no word of the other."""
    told = []
    for method, route, is_page in ROUTES:
        if method != "GET" or route in SKIPPED:
            continue
        for which, values in whose(stage).items():
            if which != "own" and not PARAMETER.search(route):
                continue
            status, said, _ = ask(stage, role, method, route, values, is_page)
            assert status < 500 or status == 503, (route, said)
            told += [(route, which, word) for word in TELLTALES if word in said]
    assert not told


@pytest.mark.parametrize("role", ["administrator", "user"])
def test_what_is_anothers_is_as_what_there_is_not(stage: Stage, role: str) -> None:
    """Every route with a parameter, whatever its method: the same status and words for another's as for nobody's."""
    wrong, refused = [], 0
    for method, route, is_page in ROUTES:
        if not PARAMETER.search(route) or f"{method} {route}" in MAKES:
            continue
        both = whose(stage)
        status, said, body = ask(stage, role, method, route, both["other"], is_page)
        again, _, nobody = ask(stage, role, method, route, both["unknown"], is_page)
        refused += status == 404
        if (status, body) != (again, nobody) or any(word in said for word in TELLTALES):
            wrong.append((method, route, status, again, body[-300:], nobody[-300:]))
    assert not wrong, "\n".join(map(str, wrong))
    assert role != "administrator" or refused > 100


def test_own_things_are_there(stage: Stage) -> None:
    """The matrix asks for what there is: looks at one's own succeed."""
    for method, route, is_page in ROUTES:
        shown = [kind for _, kind in kinds(route, PAGE_KINDS if is_page else API_KINDS)]
        if method == "GET" and shown and not {"fork", "node", "swap", "setting", "outcome", "tenant"} & set(shown):
            if route.endswith(("/output", "/exceptions/new")):  # nothing printed yet; says an instant beside
                continue
            status, said, _ = ask(stage, "administrator", method, route, stage.ids["acme"], is_page)
            assert status < 400, (route, status, said[-300:])


@pytest.mark.parametrize("path", sorted(LISTINGS))
def test_lists_are_filtered_by_names_of_others_in_vain(stage: Stage, path: str) -> None:
    """Filters of a list find nothing of another tenant, in the page, in CSV and in JSON."""
    by, other = stage.visitor("acme"), stage.ids["bravo"]
    for suffix in ("", ".csv", ".json"):
        for filters in (f"match={other['job']}", f"job={other['job']}", f"agent={other['agent']}", "tag=zebra-tag"):
            answers = [
                by.ask("GET", f"{path}{suffix}?{one}", accept="text/html") for one in (filters, renamed(filters))
            ]
            assert [answer.status for answer in answers] == [200, 200]
            said, nobody = (
                modulo(answer.body.replace(b"zer", b"zeb").replace(b"zebba", b"zebra"), []) for answer in answers
            )
            assert said == nobody


NAMED_WITHIN = [
    {"prerequisites": "zebra-job completed"},
    {"prerequisites": "bravo:zebra-job completed"},
    {"environment": {"A": "${{ zebra_variable }}"}},
    {"limits": {"resources": {"zebra-resource": 1}}},
    {"job_monitors": {"overrun_s": 9, "notify": ["zebra-list"]}},
    {"uses": {"environment": "zebra-environment"}},
    {"uses": {"command_set": "zebra-command_set"}},
    {"schedules": [{"cron": "0 0 * * *", "zone": "UTC", "calendar": "zebra-calendar"}]},
    {"agent": "zebra-agent"},
    {"agent": "", "group": "zebra-group"},
    {"agent": "", "command": "", "workflow": "zebra-workflow"},
]


@pytest.mark.parametrize("field", NAMED_WITHIN, ids=str)
def test_a_job_names_nothing_of_another(stage: Stage, field: dict[str, object]) -> None:
    """What a job's text names must be of the tenant: another's is not there, as what there is not."""
    by = stage.visitor("acme")
    said = []
    for one in (field, _renamed(field)):
        spec = {"name": "apple-try", "command": "true", "agent": "north", **one}
        answer = by.ask("POST", "/api/v1/jobs", spec)
        assert answer.status in (400, 404), answer
        said.append(answer.body.replace(b"zerba", b"zebra").replace(b"brvao", b"bravo"))
    assert said[0] == said[1]


def _renamed(value: object) -> object:
    if isinstance(value, dict):
        return {_renamed(key): _renamed(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one) for one in value]
    return renamed(value) if isinstance(value, str) else value


def test_a_workflow_names_nothing_of_another(stage: Stage) -> None:
    """Steps name jobs, agents and workflows of the tenant alone."""
    by = stage.visitor("acme")
    for step in ('"job": "zebra-job"', '"command": "true", "agent": "zebra-agent"', '"workflow": "zebra-workflow"'):
        said = []
        for text in (step, renamed(step)):
            flow = f'{{"name": "apple-try", "agent": "north", "steps": [{{"name": "one", {text}}}]}}'
            answer = by.ask("POST", "/api/v1/workflows", {"text": flow, "format": "json"})
            assert answer.status in (400, 404), answer
            said.append(answer.body.replace(b"zerba", b"zebra"))
        assert said[0] == said[1]
