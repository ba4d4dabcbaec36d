"""The pages of workflows, as a browser asks for them: what is typed stays, what is wrong is said beside its line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.ledger import Ledger
from tests.unit.test_workflow_commands import OTHER, ROOT, SMALL
from tests.unit.web_desk import Desk, open_desk


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    ledger = Ledger()
    ledger.add_agent()
    with open_desk(ledger, tmp_path) as opened:
        yield opened


def test_a_workflow_lives_in_a_browser(desk: Desk) -> None:
    """Written, looked at, changed, compared, rolled back, held, released and deleted, by forms alone."""
    assert "There are no workflows yet" in desk.page("/workflows")[1]
    assert "name: nightly" in desk.page("/workflows/new")[1]
    assert desk.page("/workflows/new", {"text": SMALL, "what": "save"}) == (303, "/workflows/1?done=workflow-saved")
    assert '<a href="/workflows/1">nightly</a>' in desk.page("/workflows?match=night")[1]
    assert 'value="1"' in desk.page("/workflows/1/edit")[1]
    changed = {"text": OTHER.replace("\n", "\r\n"), "version": "1", "reason": "also copy"}
    assert desk.page("/workflows/1/edit", changed)[0] == 303
    assert desk.client.get(f"{ROOT}/nightly")["text"] == OTHER
    status, text = desk.page("/workflows/1")
    assert status == 200
    assert text.count('<g class="step') == 2
    assert "also copy" in text
    assert "Added" in desk.page("/workflows/1/diff")[1]
    assert "This is an old version" in desk.page("/workflows/1/versions/1")[1]
    assert desk.page("/workflows/1/versions/1/roll-back", {"reason": "was better"})[0] == 303
    assert desk.client.get(f"{ROOT}/nightly")["version"] == 3
    assert desk.page("/workflows/1/hold", {"reason": "x"}) == (303, "/workflows/1?done=workflow-held")
    assert "Held" in desk.page("/workflows/1")[1]
    assert desk.page("/workflows/1/release", {}) == (303, "/workflows/1?done=workflow-released")
    assert desk.page("/workflows/1/delete", {"reason": "over"}) == (303, "/workflows?done=workflow-deleted")
    assert "Deleted" in desk.page("/workflows/1")[1]


def test_what_is_wrong_is_said_beside_its_line(desk: Desk) -> None:
    """The form comes back with what was typed, markup in it included, and nothing is saved."""
    typed = SMALL + "  - {name: copy, command: 'a <b> & c', after: dumb}\n"
    status, text = desk.page("/workflows/new", {"text": typed, "reason": "because <i>"})
    assert status == 422
    assert "Nothing is saved: one mistake is in the text" in text
    place = text.index('<li value="5" class="wrong">')
    assert "line 5: step &#39;dumb&#39; is not a step; did you mean &#39;dump&#39;?" in text[place : place + 600]
    area = text[text.index("<textarea") : text.index("</textarea>")]
    assert "command: &#39;a &lt;b&gt; &amp; c&#39;" in area
    assert 'value="because &lt;i&gt;"' in text
    assert desk.client.get(ROOT) == []


def test_a_text_is_drawn_before_it_is_saved(desk: Desk) -> None:
    """*Check and draw* shows the picture; what it names is looked up; nothing is saved."""
    status, text = desk.page("/workflows/new", {"text": OTHER, "what": "check"})
    assert (status, text.count('<g class="step')) == (200, 2)
    assert "It is not saved yet" in text
    status, text = desk.page("/workflows/new", {"text": OTHER.replace("north", "nort"), "what": "check"})
    assert (status, "line 2: there is no agent" in text) == (422, True)
    assert desk.client.get(ROOT) == []


def test_a_change_of_an_old_version_is_refused(desk: Desk) -> None:
    """Somebody else saved meanwhile: what was typed stays, and it says so."""
    desk.client.post(ROOT, {"text": SMALL})
    desk.client.ask("PUT", f"{ROOT}/nightly", {"text": OTHER})
    mine = SMALL.replace("dump}", "dump --all}")
    status, text = desk.page("/workflows/1/edit", {"text": mine, "version": "1"})
    assert (status, "at version 2 by now" in text, "dump --all" in text) == (422, True, True)


def test_what_is_not_there_is_said_as_such(desk: Desk) -> None:
    """No workflow, no version, no comparison."""
    desk.client.post(ROOT, {"text": SMALL})
    for path in ("/workflows/7", "/workflows/1/versions/9", "/workflows/1/diff?from=1&to=9"):
        assert desk.page(path)[0] == 404
