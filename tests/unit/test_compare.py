"""COMPARE between two directories: what differs is found, kept and sent, nothing else, whenever it is interrupted."""

from __future__ import annotations

import asyncio
import random
import threading
from pathlib import Path
from typing import Any

import pytest

from replication import compare, copy_source, copy_target, threads
from replication.core.codec import FrameError
from replication.core.copy_progress import CopyMeter
from replication.core.messages import Block, CopyState, Hashes, Want
from replication.errors import BadName, DiskFull
from replication.files import Disk
from replication.fork import BlockKeeper, Fork, read_blocks
from replication.tasks import run_beside
from replication.threads import finished
from tests.unit.copying import BLOCK, SEQUENCE, Copy, contents, node

FORK = Fork("1-2-ab", 1, "a", 1, 2, 2, 10, 0, "a test")


def keeper(disk: Disk) -> BlockKeeper:
    """A keeper of blocks on a node, as after its suffix was kept."""
    disk.make_directory("forks")
    disk.make_directory(f"forks/{FORK.name}")
    return BlockKeeper(disk, FORK)


def large(seed: int, blocks: int) -> bytes:
    """Bytes of a few blocks and a piece of one."""
    return random.Random(seed).randbytes(blocks * BLOCK + 1000)


@pytest.mark.parametrize("protocol", [1, 2])
async def test_an_empty_node_becomes_equal(tmp_path: Path, protocol: int) -> None:
    """The first copy is a comparison with an empty node: every block is sent, empty files are made too."""
    files = {"scheduler.db": large(1, 70), "objects/a": b"x" * 3000, "objects/empty": b""}
    copy = Copy(node(tmp_path / "m", files), node(tmp_path / "o", {}), protocol=protocol)
    assert await copy.run() == SEQUENCE
    assert contents(tmp_path / "o") == files
    assert copy.moved == sum(map(len, files.values()))


async def test_for_a_node_that_holds_nothing_nothing_is_hashed(tmp_path: Path) -> None:
    """What is sent anyway is not compared; a node that says nothing of itself gets hashes."""
    master = node(tmp_path / "m", {"scheduler.db": large(1, 3)})
    for unknown in (False, True):
        copy = Copy(master, node(tmp_path / str(unknown), {}), unknown=unknown)
        await copy.run()
        assert [bool(sent.hashes) for sent in copy.near.sent if isinstance(sent, Hashes)] == [unknown]


@pytest.mark.parametrize("protocol", [1, 2])
async def test_only_what_differs_is_fetched(tmp_path: Path, protocol: int) -> None:
    """One changed byte costs one block; longer, shorter and additional files are set right."""
    rng = random.Random(2)
    files = {"scheduler.db": large(3, 40), "objects/short": b"ab", "objects/same": rng.randbytes(2000)}
    changed = dict(files)
    at = 35 * BLOCK + 7
    changed["scheduler.db"] = files["scheduler.db"][:at] + b"!" + files["scheduler.db"][at + 1 :]
    changed["objects/short"] = b"ab" + rng.randbytes(BLOCK * 2)
    changed["objects/extra"] = b"only here"
    copy = Copy(node(tmp_path / "m", files), node(tmp_path / "o", changed), protocol=protocol)
    await copy.run()
    assert contents(tmp_path / "o") == files
    wanted = [(sent.file, sent.blocks) for sent in copy.far.sent if isinstance(sent, Want) and sent.blocks]
    assert sorted(wanted) == [("objects/short", [0]), ("scheduler.db", [35])]
    assert copy.moved == BLOCK + 2


async def test_what_is_replaced_cut_or_removed_is_kept_first(tmp_path: Path) -> None:
    """Invariant 14: the node's own versions are in its fork, those behind the master's end too."""
    mine = {"scheduler.db": large(4, 3), "objects/mine": b"m" * (BLOCK + 5)}
    theirs = {"scheduler.db": b"t" * 100}
    other = node(tmp_path / "o", mine)
    keeps = keeper(other)
    await Copy(node(tmp_path / "m", theirs), other, keeper=keeps).run()
    keeps.close()
    kept = {(name, number): data for name, number, data in read_blocks(other, FORK.name)}
    for name, data in mine.items():
        blocks = [kept[name, number] for number in range(-(-len(data) // BLOCK))]
        assert b"".join(blocks) == data
    assert contents(tmp_path / "o") == theirs


async def test_a_copy_that_was_interrupted_sends_only_the_rest(tmp_path: Path) -> None:
    """What was written stays; what stands behind its end is not even hashed."""
    files = {"scheduler.db": large(5, 100)}
    master, other = node(tmp_path / "m", files), node(tmp_path / "o", {})
    first = Copy(master, other)
    first.near.allow = lambda message: not (isinstance(message, Block) and message.number == 60)
    first.near.until = lambda: other.size_of("scheduler.db") > 0
    with pytest.raises(ConnectionError):
        await first.run()
    there = other.size_of("scheduler.db")
    assert 0 < there <= 60 * BLOCK
    second = Copy(master, other)
    await second.run()
    assert contents(tmp_path / "o") == files
    assert second.moved == len(files["scheduler.db"]) - there
    hashed = [sent.first * BLOCK for sent in second.near.sent if isinstance(sent, Hashes) and sent.hashes]
    assert max(hashed) < there


async def test_only_the_first_version_of_a_block_is_kept(tmp_path: Path) -> None:
    """A second COMPARE of the same fork finds blocks of a master in the place: they are not the node's own."""
    other = node(tmp_path / "o", {"scheduler.db": b"mine" * 10})
    for content in (b"first", b"second"):
        keeps = keeper(other)
        await Copy(node(tmp_path / content.decode(), {"scheduler.db": content * 20}), other, keeper=keeps).run()
        keeps.close()
    assert list(read_blocks(other, FORK.name)) == [("scheduler.db", 0, b"mine" * 10)]


@pytest.mark.parametrize("cut", [1, 2, 20])
def test_a_record_that_was_torn_is_kept_again(tmp_path: Path, cut: int) -> None:
    """A node that died while it kept a block has not replaced it: what is torn goes, what comes then is whole."""
    disk = node(tmp_path, {})
    keeps = keeper(disk)
    keeps.keep("scheduler.db", 0, b"zero")
    keeps.keep("scheduler.db", 1, b"one" * 10)
    keeps.close()
    path = tmp_path / "forks" / FORK.name / "blocks"
    path.write_bytes(path.read_bytes()[:-cut])
    again = keeper(disk)
    again.keep("scheduler.db", 1, b"one" * 10)
    again.keep("scheduler.db", 0, b"later")
    again.close()
    assert list(read_blocks(disk, FORK.name)) == [("scheduler.db", 0, b"zero"), ("scheduler.db", 1, b"one" * 10)]


async def test_blocks_of_a_file_that_grew_meanwhile_lie_where_they_belong(tmp_path: Path) -> None:
    """The last block was short when it was read and the next one came later: nothing moves up."""
    other = node(tmp_path, {})
    copy = Copy(node(tmp_path / "m", {"scheduler.db": b""}), other)
    copy.target._write([Block(file="scheduler.db", number=n, size=BLOCK + 9, data=b"x" * 9) for n in (0, 1)])
    assert other.size_of("scheduler.db") == BLOCK + 9


async def test_without_room_nothing_is_asked_for_and_the_master_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A copy under way waits while the disk is full, says how much is missing, and goes on by itself."""
    files = {"scheduler.db": large(6, 4)}
    monkeypatch.setattr(copy_target, "REPORT_S", 0.01)
    free = 1024 * 1024
    monkeypatch.setattr(Disk, "free_bytes", lambda disk: free)
    copy = Copy(node(tmp_path / "m", files), node(tmp_path / "o", {}))
    running = asyncio.ensure_future(copy.run())
    while not (copy.source.state and copy.source.progress.waiting):
        await asyncio.sleep(0.005)
    assert "needs 33 MiB more" in copy.target.waiting
    assert copy.source.state.disk_free_bytes == free
    assert copy.far.count(Want) == 0
    free = 1 << 40
    await running
    assert copy.target.waiting == ""
    assert contents(tmp_path / "o") == files


def test_room_is_checked_before_a_copy_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sentence names what is needed and what is there; what an interrupted copy has is not needed again."""
    disk = node(tmp_path, {"scheduler.db": b"x" * (50 << 20)})
    monkeypatch.setattr(Disk, "free_bytes", lambda disk: 100 << 20)
    copy_target.check_room(disk, 80 << 20)
    with pytest.raises(DiskFull, match=r"needs 11[34] MiB more and 100 MiB are free"):
        copy_target.check_room(disk, 100 << 20)


async def test_the_rate_is_kept_and_may_change(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is sent takes its time at the rate of that moment; without a limit it takes none."""
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(threads, "monotonic", lambda: 100.0 + sum(slept))
    monkeypatch.setattr(asyncio, "sleep", sleep)
    rate = 1000.0
    pace = copy_source.Pace(lambda: rate)
    for _ in range(5):
        await pace.wait(100)
    assert sum(slept) == pytest.approx(0.5)
    rate = 0.0
    await pace.wait(1_000_000)
    assert sum(slept) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "want",
    [
        Want(file="scheduler.db", blocks=[1, 0]),
        Want(file="scheduler.db", blocks=[9]),
        Want(file="objects/other", blocks=[0]),
    ],
)
async def test_a_want_that_answers_nothing_ends_the_link(tmp_path: Path, want: Want) -> None:
    """Blocks that were not offered, or a second time, are not sent."""
    copy = Copy(node(tmp_path / "m", {"scheduler.db": large(7, 2)}), node(tmp_path / "o", {}))
    copy.source._offered.extend(compare.ranges(copy.source._disk, compare.Held(), compare.SHA256))
    with pytest.raises(FrameError):
        copy.source._take(want)


async def test_frames_that_nobody_asked_for_end_the_link(tmp_path: Path) -> None:
    """A block that was not wanted, hashes of an unknown kind or of nothing: no byte of them is written."""
    target = Copy(node(tmp_path / "m", {}), node(tmp_path / "o", {})).target
    with pytest.raises(FrameError):
        target._take_block(Block(file="scheduler.db", number=0, size=1, data=b"x"))
    good: dict[str, Any] = {"file": "a", "size": 1, "block_bytes": BLOCK, "first": 0, "hashes": b"", "last": True}
    for bad in ({"blocks": 0}, {"algorithm": "md5", "blocks": 1}, {"block_bytes": 5, "blocks": 1}, {"hashes": b"x"}):
        with pytest.raises(FrameError):
            target._take_hashes(Hashes(**(good | bad)))


def test_blocks_of_other_files_are_refused(tmp_path: Path) -> None:
    """A peer can neither read nor write outside the database and objects."""
    disk = node(tmp_path, {"scheduler.db": b""})
    for name in ("control", "node.key", "../x", "objects/../node.key"):
        with pytest.raises(BadName):
            compare.read_block(disk, name, 0)
        with pytest.raises(BadName):
            compare.write_blocks(disk, name, 0, [b"x"])


async def test_an_object_that_vanishes_while_it_is_copied_is_left_out(tmp_path: Path) -> None:
    """It was offered, then removed: its block says so, and redo brings what the journal has of it."""
    master = node(tmp_path / "m", {"scheduler.db": b"d", "objects/gone": b"g"})
    copy = Copy(master, node(tmp_path / "o", {}))

    def allow(message: Any) -> bool:
        if isinstance(message, Hashes) and message.file == "objects/gone":
            master.unlink("objects/gone")
        return True

    copy.near.allow = allow
    await copy.run()
    assert contents(tmp_path / "o") == {"scheduler.db": b"d"}


async def test_both_sides_show_the_same_end(tmp_path: Path) -> None:
    """Everything is done at the end, on both sides; only what was missing was moved."""
    files = {"scheduler.db": large(8, 10), "objects/a": b"1"}
    copy = Copy(node(tmp_path / "m", files), node(tmp_path / "o", {"scheduler.db": files["scheduler.db"][: 5 * BLOCK]}))
    await copy.run()
    total = sum(map(len, files.values()))
    for shown in (copy.source.progress, copy.target.progress):
        assert (shown.bytes_total, shown.bytes_done, shown.bytes_moved) == (total, total, total - 5 * BLOCK)
    assert copy.far.count(CopyState) >= 1


def test_time_left_is_that_of_the_last_seconds() -> None:
    """It is unknown at first, then what is left at the present rate; more than the total is never shown."""
    meter = CopyMeter(1000, 0.0)
    assert meter.reading(0.1).seconds_left is None
    for second in range(1, 31):
        meter.moved(10 if second <= 15 else 20, float(second))
    shown = meter.reading(30.0)
    assert shown.bytes_per_s == pytest.approx(20.0)
    assert shown.seconds_left == pytest.approx((1000 - 450) / 20)
    meter.equal(5000, 31.0)
    assert meter.reading(31.0).share == 1.0


async def test_a_second_cancellation_still_waits_for_the_thread() -> None:
    """Whoever is told that a job has ended may close its files: also when he asked twice."""
    release, done = threading.Event(), threading.Event()

    def work() -> None:
        release.wait(10)
        done.set()

    async def job() -> None:
        await run_beside(finished(work))

    task = asyncio.ensure_future(job())
    for _ in range(3):
        await asyncio.sleep(0.01)
        task.cancel()
    assert not task.done()
    release.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert done.is_set()
