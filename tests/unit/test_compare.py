"""Block hashes: what differs is found and nothing else, and writing it makes two nodes equal."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from replication import compare
from replication.errors import BadName
from replication.files import Disk

BLOCK = 1024


def node(root: Path, files: dict[str, bytes]) -> Disk:
    """Return a data directory with these files."""
    disk = Disk(root)
    disk.make_directory("objects")
    for name, data in files.items():
        (root / name).write_bytes(data)
    return disk


def contents(root: Path) -> dict[str, bytes]:
    """Return the database and objects of a node."""
    names = ["scheduler.db", *(f"objects/{path.name}" for path in (root / "objects").iterdir())]
    return {name: (root / name).read_bytes() for name in names}


def make_equal(master: Disk, other: Disk) -> compare.Difference:
    """Do what COMPARE does, without a wire."""
    difference = compare.differing(compare.block_hashes(master, BLOCK), compare.block_hashes(other, BLOCK))
    for name, number in difference.fetch:
        data = compare.read_block(master, name, number, BLOCK)
        assert data is not None
        compare.write_block(other, name, number, data, difference.sizes[name], BLOCK)
    for name in difference.remove:
        compare.remove_object(other, name)
    compare.set_sizes(other, difference.sizes)
    compare.sync_blocks(other, difference.sizes)
    return difference


def test_an_empty_node_becomes_equal(tmp_path: Path) -> None:
    """The first copy is a comparison with an empty node: every block is fetched, empty files too."""
    files = {"scheduler.db": random.Random(1).randbytes(5000), "objects/a": b"x" * 3000, "objects/empty": b""}
    master, other = node(tmp_path / "master", files), node(tmp_path / "other", {})
    assert make_equal(master, other).blocks == 5 + 3 + 1
    assert contents(tmp_path / "other") == files


def test_only_what_differs_is_fetched(tmp_path: Path) -> None:
    """One changed byte costs one block; longer, shorter and additional files are set right."""
    rng = random.Random(2)
    files = {"scheduler.db": rng.randbytes(10 * BLOCK), "objects/short": b"ab", "objects/same": rng.randbytes(2000)}
    changed = dict(files)
    changed["scheduler.db"] = files["scheduler.db"][: 5 * BLOCK + 7] + b"!" + files["scheduler.db"][5 * BLOCK + 8 :]
    changed["objects/short"] = b"ab" + rng.randbytes(BLOCK * 2)
    changed["objects/extra"] = b"only here"
    difference = make_equal(node(tmp_path / "master", files), node(tmp_path / "other", changed))
    assert difference.fetch == [("scheduler.db", 5), ("objects/short", 0)]
    assert difference.remove == ["objects/extra"]
    assert contents(tmp_path / "other") == files


def test_a_database_that_shrank_is_cut(tmp_path: Path) -> None:
    """A block behind the master's end is no block to fetch but a size to set."""
    data = random.Random(3).randbytes(4 * BLOCK)
    master = node(tmp_path / "master", {"scheduler.db": data[: 2 * BLOCK]})
    other = node(tmp_path / "other", {"scheduler.db": data})
    assert make_equal(master, other).blocks == 0
    assert contents(tmp_path / "other")["scheduler.db"] == data[: 2 * BLOCK]


def test_blocks_of_other_files_are_refused(tmp_path: Path) -> None:
    """A peer can neither read nor write outside the database and objects."""
    disk = node(tmp_path, {"scheduler.db": b""})
    for name in ("control", "node.key", "../x", "objects/../node.key"):
        with pytest.raises(BadName):
            compare.read_block(disk, name, 0)
        with pytest.raises(BadName):
            compare.write_block(disk, name, 0, b"x", 1)


def test_an_object_that_vanished_has_no_block(tmp_path: Path) -> None:
    """Objects come and go while a copy runs: a missing one is said to be missing."""
    assert compare.read_block(node(tmp_path, {"scheduler.db": b""}), "objects/gone", 0) is None
