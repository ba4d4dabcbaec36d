"""BEY-12 with two builds on real processes: N and N-1 as master and as standby, and the way from an old one to this.

Protocol: docs/protocol.md, section 7.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from server.storage import migrate
from tests.process.cluster import Node
from tests.versions.builds import Build, following, former, present
from tests.versions.rolling import Rolling, rolling

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where builds are put: what two tests run is compiled once."""
    return tmp_path_factory.mktemp("builds")


def build_or_skip(name: str, into: Path) -> Build:
    """A former build; without the history the promise is NOT TESTED, and says so."""
    found = Build(name, into / name) if (into / name).exists() else former(name, into)
    if found is None:
        pytest.skip(f"NOT TESTED: two builds in one pair; no commit for `{name}` here: git fetch --unshallow")
    return found


def upgrade_rolling(pair: Rolling, old: Build, new: Build) -> None:
    """Standby first, swap, back again on the newer schema, swap, then the other: rows at every step, all on both."""
    north = pair.found(old)
    south = pair.join(new)
    pair.wait_in_sync(north, south)
    pair.write(north)
    pair.swap(north, south)
    pair.wait_in_sync(south, north)
    pair.write(south)
    pair.make_group(south)
    pair.swap(south, north)
    pair.wait_in_sync(north, south)
    pair.write(north)
    pair.see_group(north)
    pair.swap(north, south)
    pair.see_group(south)
    pair.again("north", new)
    pair.wait_in_sync(south, north)
    pair.write(south)
    pair.check_all_held()
    assert_only_streamed(north)


def assert_only_streamed(node: Node) -> None:
    """No master ever had the node copied: it came back by STREAM each time."""
    log = node.program.log.read_text()
    assert "decided stream" in log
    assert "decided compare" not in log, f"{node.name} was copied to\n{node.program.tail()}"


def test_the_build_before_and_this_one(tmp_path: Path, folder: Path) -> None:
    """Each is master of the other as its standby in sync; nothing acknowledged is missing on either."""
    old = build_or_skip("before", folder)
    with rolling(tmp_path) as pair:
        upgrade_rolling(pair, old, present())


def test_this_build_and_one_that_is_newer(tmp_path: Path, folder: Path) -> None:
    """A made build with one more migration, protocol + 1 and further fields: this one runs on its schema."""
    with rolling(tmp_path) as pair:
        upgrade_rolling(pair, present(), following(folder))
        (peer,) = pair.pair.nodes["south"].status()["peers"]
        assert pair.pair.nodes["south"].status()["schema"] == migrate.latest() + 1
        assert peer["protocol"] == 3


def test_from_protocol_1_to_this_build(tmp_path: Path, folder: Path) -> None:
    """The oldest is master, then a standby that cannot take over: writes wait until its new build rejoins by stream."""
    old = build_or_skip("oldest", folder)
    with rolling(tmp_path) as pair:
        north = pair.found(old)
        south = pair.join(present())
        pair.wait_in_sync(north, south)
        pair.write(north)
        pair.swap(north, south)
        said = pair.pair.wait("writes to wait and say why", lambda: _reason(south.status(), "Writes wait for it"))
        assert f"opens databases up to schema 1, and this one has schema {migrate.latest()}" in said
        (peer,) = south.status()["peers"]
        assert (peer["protocol"], peer["connected"], south.status()["in_sync"]) == (1, True, False)
        assert peer["cannot_take_over"]
        pair.again("north", present())
        pair.wait_in_sync(south, north)
        pair.write(south)
        pair.check_all_held()
        assert_only_streamed(north)


def test_a_standby_of_protocol_1_under_this_build(tmp_path: Path, folder: Path) -> None:
    """It is copied to and streams in its protocol, holds every row, and is never counted on until it is upgraded."""
    old = build_or_skip("oldest", folder)
    with rolling(tmp_path) as pair:
        north = pair.found(present())
        south = pair.join(old)
        pair.write(north)
        pair.pair.wait("it is said", lambda: _reason(north.status()["peers"][0], "cannot take over"))
        pair.check_all_held()
        status = north.status()
        assert (status["state"], status["in_sync"], status["peers"][0]["protocol"]) == ("ALONE", False, 1)
        pair.again("south", present())
        pair.wait_in_sync(north, south)
        pair.write(north)
        pair.check_all_held()


def _reason(said: dict[str, object], text: str) -> str:
    found = str(said.get("waiting_for") or said.get("cannot_take_over") or "")
    return found if text in found else ""
