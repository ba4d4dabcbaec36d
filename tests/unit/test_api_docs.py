"""`/api/docs`: the description of the API for people is whole, searchable, and needs no sign-in."""

from __future__ import annotations

import shlex
from pathlib import Path

from server.web.api.openapi import document
from server.web.manual import Operation, operations
from server.web.routes import ENDPOINTS
from tests.unit.ledger import Ledger
from tests.unit.web_door import open_door

EVERY = operations(document(ENDPOINTS))


def named(operation_id: str) -> Operation:
    """The operation of that name."""
    return next(one for one in EVERY if one.id == operation_id)


def test_every_operation_is_there_once() -> None:
    """As many as there are endpoints, each with its permission and what it answers."""
    assert {(one.method, one.path) for one in EVERY} == {(one.method, one.path) for one in ENDPOINTS}
    assert len({one.id for one in EVERY}) == len(ENDPOINTS)
    assert all(one.permission and one.answer.status.startswith("2") for one in EVERY)


def test_an_operation_says_what_it_takes_and_answers() -> None:
    """Types in words, what has to be there, and the statuses of refusals."""
    made = named("jobs.create_job")
    assert made.permission == "jobs.change"
    assert [(one.name, one.words, one.required) for one in made.body][:2] == [
        ("name", "text", True),
        ("command", "text", False),
    ]
    assert [one.name for one in made.answer.fields] == ["id", "name", "version"]
    assert "409" in {one.status for one in made.refusals}
    listed = named("jobs.list_jobs")
    assert ("limit", "whole number 1 to 1000") in {(one.name, one.words) for one in listed.parameters}
    assert listed.answer.words == "list of JobLine"
    assert "name" in {one.name for one in listed.answer.fields}


def test_an_example_can_be_typed() -> None:
    """A shell reads each as one command with an address that has no gaps."""
    for one in EVERY:
        words = shlex.split(one.curl.replace("\\\n", " "))
        assert words[:2] == ["curl", "--cacert"]
        assert "{" not in next(word for word in words if word.startswith("https://")), one.id


def test_a_search_finds_all_words() -> None:
    """In any order and case; a word that is nowhere finds nothing."""
    assert [one.id for one in EVERY if one.has("POST /jobs/{name}/run now")] == ["runs.run_now"]
    assert not [one for one in EVERY if one.has("teapot")]


async def test_the_page_needs_no_sign_in_and_no_script(tmp_path: Path) -> None:
    """The list, a topic, a search; what is typed is escaped, and the policy of other pages holds."""
    async with open_door(Ledger(), tmp_path, {}) as door:
        answer = await door.ask("GET", "/api/docs", html=True)
        assert answer.status == 200
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert f"{len(EVERY)} of {len(EVERY)} operations" in await answer.text()
        topic = await (
            await door.ask("GET", "/api/docs?about=calendars&one=calendars.list_calendars", html=True)
        ).text()
        assert 'id="calendars.list_calendars" open' in topic
        assert "/api/v1/jobs" not in topic.partition("<main")[2]
        found = await (await door.ask("GET", "/api/docs?match=%3Cscript%3E", html=True)).text()
        assert "<script>" not in found
        assert "No operation has all of these words." in found
