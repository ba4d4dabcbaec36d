"""The judgement of one seed: both nodes equal, every acknowledged entry there once, no fork lost."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from replication.core.request import DATABASE_FILE
from replication.files import OBJECT_DIRECTORY, Disk
from replication.fork import list_forks, read_requests
from replication.page_sums import PageSums
from replication.redo import Applier, open_node, read_copy
from tests.simulation.ledger import Clients, content, entries, has_object
from tests.simulation.world import SEGMENT_BYTES, A, B, World


class Left:
    """What a stopped node holds, after the shipped redo has brought its files to the end of its journal."""

    def __init__(self, root: Path) -> None:
        disk = Disk(root)
        applier = open_node(disk, segment_bytes=SEGMENT_BYTES)
        applier.apply_all()
        self.chain = self._chain(applier)
        self.first = applier.journal.first_sequence
        self.last = applier.journal.last
        self.checksum = applier.checksum
        scanned = PageSums(applier.sums.page_size)
        scanned.scan(disk.keep(DATABASE_FILE))
        self.scanned = scanned.sum
        self.keys, self.total = read_copy(applier, entries)[0]
        self.integrity = read_copy(applier, lambda rows: str(rows.execute("PRAGMA integrity_check").fetchone()[0]))[0]
        self.database = disk.path(DATABASE_FILE).read_bytes()
        self.objects = {path.name: path.read_bytes() for path in sorted((root / OBJECT_DIRECTORY).glob("*"))}
        self.forks = {fork.name for fork in list_forks(disk)}
        self.numbered = {(each["epoch"], each["sequence"]) for name in self.forks for each in read_requests(disk, name)}
        self.in_forks = {bytes.fromhex(each["hash"]) for name in self.forks for each in read_requests(disk, name)}
        applier.close()
        disk.close()

    @staticmethod
    def _chain(applier: Applier) -> dict[int, bytes]:
        journal = applier.journal
        found = {}
        for sequence in range(journal.first_sequence, journal.last.sequence + 1):
            place = journal.position(sequence)
            found[sequence] = place.hash if place is not None else b""
        return found


def judge(world: World, clients: Clients) -> list[str]:
    """Everything that is wrong with what is left."""
    left = {name: Left(world.lives[name].disk.root) for name in (A, B)}
    one, other = left[A], left[B]
    wrong = []
    for what in ("last", "checksum", "database", "objects", "keys", "total"):
        if getattr(one, what) != getattr(other, what):
            wrong.append(f"the nodes differ in {what}")
    common = one.chain.keys() & other.chain.keys()
    if any(one.chain[sequence] != other.chain[sequence] for sequence in common):
        wrong.append("the journals differ")
    for name, each in left.items():
        wrong += [f"{name[0]}: {text}" for text in _judge_one(each, clients, world.kept_forks[name])]
        wrong += [f"{name[0]}: {text}" for text in _judge_losses(each, clients, world, one.numbered | other.numbered)]
    chain = world.observer.chain(one.last.hash)
    if len(chain) != one.last.sequence:
        wrong.append(f"{one.last.sequence} requests, a chain of {len(chain)}")
    for name, each in left.items():
        durable = world.observer.durable[name[0]]
        gone = sorted(sequence for digest, sequence in durable.items() if digest not in chain | each.in_forks)
        if gone and name not in world.set_aside:
            wrong.append(f"{name[0]}: durable requests are in no fork and not in force: {gone}")
    return wrong


def _judge_losses(left: Left, clients: Clients, world: World, forked: set[tuple[int, int]]) -> list[str]:
    """Nothing acknowledged or shown is gone; after an operator accepted a loss, it is in a fork."""
    held = set(left.keys)
    lost = [each for each in clients.acknowledged if each.key not in held]
    if world.loss_accepted:
        world.lost += len(lost)
        lost = [each for each in lost if (each.epoch.number, each.sequence) not in forked]
    wrong = []
    if lost:
        wrong.append(f"{len(lost)} acknowledged entries are lost, among them {lost[0]}")
    if clients.shown - held and not world.loss_accepted:
        wrong.append(f"entries were shown as confirmed and are gone: {sorted(clients.shown - held)}")
    return wrong


def _judge_one(left: Left, clients: Clients, kept: set[str]) -> list[str]:
    wrong = []
    if left.integrity != "ok":
        wrong.append(f"integrity_check: {left.integrity}")
    if left.scanned != left.checksum:
        wrong.append("the pages are not those of the checksum")
    counted = Counter(left.keys)
    double = [key for key, times in counted.items() if times > 1]
    if double:
        wrong.append(f"entries are there twice: {double}")
    if set(counted) - clients.tried:
        wrong.append(f"entries that nobody wrote: {set(counted) - clients.tried}")
    if left.total != len(left.keys):
        wrong.append(f"the total says {left.total}, there are {len(left.keys)}")
    expected = {f"out-{key}": content(key) for key in left.keys if has_object(key)}
    if left.objects != expected:
        missing, extra = expected.keys() - left.objects.keys(), left.objects.keys() - expected.keys()
        wrong.append(f"objects: missing {sorted(missing)}, extra {sorted(extra)}, or other bytes")
    if kept - left.forks:
        wrong.append(f"forks are gone: {kept - left.forks}")
    return wrong
