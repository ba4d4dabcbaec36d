"""What people are told of two releases in one pair: by the preflight of a swap, the pages and the command (BEY-12)."""

from __future__ import annotations

from replication.core.types import Role, State
from scripts.commands.status import peer_line
from server.core.swap_plan import check
from server.web.pages.pair import Flow, page_pair
from server.web.pages.standby import page_from
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


def test_an_agent_that_has_not_acknowledged_makes_a_swap_unsafe() -> None:
    """SKY-2: connected or not it is named, and only `--yes` accepts it by that name."""
    verdict = check(fixture.status(), fixture.peer(), "south", ["dock-1"], ["dock-2"])
    assert not verdict.safe
    assert [text.split(": ")[1].split(".")[0] for text in verdict.accepted_by_yes] == ["dock-1", "dock-2"]
    assert check(fixture.status(), fixture.peer(), "south", [], []).safe


def test_nothing_is_said_of_a_schema_that_is_not_known() -> None:
    """Before office has opened the database its schema is 0, and no release is blamed."""
    assert check(fixture.status(), fixture.peer(schema_latest=9, schema_max=10), "south", []).safe


def test_the_standby_says_so_of_itself() -> None:
    """Its page offers no takeover and says what to install."""
    why = "Release 0.1.0 opens databases up to schema 1: this node cannot take over."
    status = fixture.status(role=Role.STANDBY, state=State.SYNCING, in_sync=False, cannot_take_over=why)
    page = page_from(fixture.frame("Standby", "/"), status, {})
    assert (page.headline, page.advice, page.can_take_over) == ("This is the standby. It cannot take over.", why, False)


def test_the_command_names_the_release_of_the_peer() -> None:
    """`understudy status` on the master has the reason below the peer's line."""
    line = peer_line(
        {"node": "b" * 32, "address": "b:1", "role": "standby", "state": "SYNCING", "connected": True}
        | {"fsynced": 7, "applied": 7, "version": "0.1.0"}
    )
    assert line.endswith("fsynced 7, applied 7, release 0.1.0")
