"""core.swap_plan: what the preflight says of two releases (BEY-12)."""

from __future__ import annotations

from server.core.swap_plan import check
from server.web.pages.pair import Flow, page_pair
from tests.storybook import fixture


def test_a_standby_of_the_next_release_is_safe() -> None:
    """One schema newer: each opens what the other writes, and the verdict says so."""
    peer = fixture.peer(schema_latest=4, schema_max=5)
    verdict = check(fixture.status(schema=3, schema_max=4), peer, "south", [])
    assert verdict.safe
    assert "Each node's release opens what the other one's writes." in [reason.text for reason in verdict.reasons]


def test_a_standby_two_releases_ahead_is_named_before_the_swap() -> None:
    """This node could not come back as its standby: only `--yes` goes on, and the text says what to install."""
    peer = fixture.peer(version="0.3.0", schema_latest=5, schema_max=6)
    verdict = check(fixture.status(schema=3, schema_max=4), peer, "south", [])
    (said,) = verdict.accepted_by_yes
    assert not verdict.safe
    assert "release 0.3.0 brings the database to schema 5, and this node's release opens up to 4" in said


def test_a_standby_that_cannot_open_the_database_is_refused() -> None:
    """No flag accepts a swap to a node that could not begin; its page says the same and what to install."""
    peer = fixture.peer(version="0.1.0", schema_max=1, cannot_take_over="Release 0.1.0 cannot take over.")
    status = fixture.status(schema=3, schema_max=4, in_sync=False, peers=(peer,))
    assert "Release 0.1.0 cannot take over." in check(status, peer, "south", []).refusals
    page = page_pair(status, Flow(), {}, 0, {})
    assert (page.headline, page.advice) == ("The standby cannot take over.", "Release 0.1.0 cannot take over.")


def test_nothing_is_said_of_a_schema_that_is_not_known() -> None:
    """Before office has opened the database its schema is 0, and no release is blamed."""
    assert check(fixture.status(), fixture.peer(schema_latest=9, schema_max=10), "south", []).safe
