"""BEY-3: what a fork holds, told by the request that wrote each row; its rows, adoption and deletion."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from server.actions import forks, jobs, reports, runs
from server.core import agent_wire as wire
from server.core.forks import EDITS_MAX, PART, UNKNOWN, WHOLE, Contents, ForkRow, ForkRun, output_object
from server.core.model import Principal
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.integrity import forks as folders
from server.integrity.fork_reader import CONTENTS, ForkReader, output_file
from server.storage import forks as rows
from server.storage import runs as run_rows
from server.storage import server_history, system_messages
from tests.unit.ledger import START_US, Ledger

BOSS = Principal("boss", "administrator")
MARIA = Principal("operator", "operator")
ALEX = Principal("alex", "user")
NAME = "5-9-abc"
NODE = "n" * 32


class Master(Ledger):
    """A ledger with objects whose changes are numbered as the replication numbers them."""

    def __init__(self) -> None:
        super().__init__()
        self.objects: dict[str, bytes] = {}
        self.add_agent("north")

    def at(self, sequence: int) -> None:
        """The next changes belong to this request."""
        query = "INSERT OR REPLACE INTO replication_position (id, sequence) VALUES (1, ?)"
        self.connection.execute(query, (sequence,))

    def write_object(self, name: str, offset: int, data: bytes) -> None:
        """As the store's transaction."""
        self.objects[name] = self.objects.get(name, b"")[:offset] + data

    def remove_object(self, name: str) -> None:
        """As the store's transaction."""
        self.objects.pop(name, None)

    def listed(self, after: int) -> tuple[Contents, dict[str, bytes]]:
        """What the reader says lies beyond `after`."""
        read = lambda name, length: self.objects.get(name, b"")[:length]  # noqa: E731  # one expression, used once
        files = dict(ForkReader().describe(NAME, after, self.connection, read))
        return msgspec.json.decode(files.pop(CONTENTS), type=Contents), files

    def keep(self, **more: object) -> None:
        """A fork with one run that failed, as the collection writes it."""
        whole = msgspec.structs.replace(fork(), **more)
        assert self.do(forks.begin(whole))
        self.do(forks.add(NAME, [run(7), run(8, state="starting", ended_at_us=None, exit_code=None)], []))
        self.do(forks.add_output(NAME, 7, b"printed"))
        self.do(forks.complete(NAME, "south", START_US))


def fork() -> ForkRow:
    return ForkRow(
        name=NAME, node=NODE, epoch=3, first=5, last=9, requests=5, bytes=400, kept_at_us=START_US, why="A tail.",
        contents=WHOLE, problem="", runs=2, edits=0, recorded_at_us=START_US,
    )  # fmt: skip


def run(number: int, **more: object) -> ForkRun:
    base = ForkRun(
        fork="", number=number, key=f"j1.rabc{number}.a1", job="backup", agent_id="north" * 6, agent="north",
        state="failed", reason="", exit_code=3, signal=None, submitted_at_us=START_US, started_at_us=START_US,
        ended_at_us=START_US + 5, requested_by="operator", output_bytes=7, output_kept=7 if number == 7 else 0,
    )  # fmt: skip
    return msgspec.structs.replace(base, **more)


def test_rows_are_told_apart_by_their_request_not_by_their_time() -> None:
    """Old rows that a later request changed are in it, rows that the other node has are not, whatever the clocks."""
    master = Master()
    master.at(4)
    job = master.add_job("backup")
    before = master.do(runs.run_now("backup", "r1", BOSS, START_US + 900))
    untouched = master.do(runs.run_now("backup", "r2", BOSS, START_US + 901))
    assert master.listed(4)[0].runs == 0
    master.at(5)
    agent = untouched.agent_id
    ended = wire.Ended(3, None, START_US - 50, START_US - 9, 5, False, "", "backup")
    master.do(reports.record(agent, [wire.Report(1, before.key, START_US - 50, ended)], 3, START_US - 9))
    master.do(reports.record(agent, [wire.Output(before.key, 0, b"hello", 5)], 3, START_US - 9))
    master.at(6)
    master.do(jobs.hold("backup", BOSS, START_US - 1, "month end"))
    held, files = master.listed(4)
    assert (held.contents, held.problem) == (WHOLE, "")
    assert [(r.number, r.job, r.state, r.exit_code, r.output_kept) for r in held.run_list] == [
        (before.number, job.name, "failed", 3, 5)
    ]
    assert [(e.action, e.object, e.reason) for e in held.edit_list] == [("jobs.hold", "backup", "month end")]
    assert files == {output_file(before.number): b"hello"}


def test_a_list_that_is_too_long_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """The count is of all, the list has its bound, and the sentence names the rest."""
    master = Master()
    master.at(1)
    for number in range(3):
        master.add_job(f"backup-{number}")
    monkeypatch.setattr("server.integrity.fork_reader.EDITS_MAX", 1)
    held, _ = master.listed(0)
    assert EDITS_MAX > 1
    assert held.contents == PART
    assert held.edits == len(held.edit_list) + held.edits - 1 > 1
    assert f"{held.edits - 1:,} further edits" in held.problem


def test_rows_of_an_older_release_are_not_guessed() -> None:
    """Where rows do not say which request wrote them, nothing is listed rather than something wrong."""
    master = Master()
    master.connection.execute("PRAGMA user_version = 2")
    with pytest.raises(ValueError, match="did not note"):
        master.listed(0)
    assert msgspec.json.decode(ForkReader().unknown("why"), type=Contents).contents == UNKNOWN


def test_a_fork_is_told_once_when_its_list_is_whole() -> None:
    """The alarm comes with the list, not before, and again is nothing."""
    master = Master()
    assert master.do(forks.begin(fork()))
    assert system_messages.page(master.connection) == []
    master.do(forks.complete(NAME, "south", START_US))
    master.do(forks.complete(NAME, "south", START_US))
    assert not master.do(forks.begin(fork()))
    (message,) = system_messages.page(master.connection)
    assert message.severity == "alarm"
    assert "south returned with 2 runs and 0 edits that this master never had" in message.text


def test_adoption_is_a_record_and_twice_is_once() -> None:
    """SKY-11: the entry says from where and by whom, brings the output, is no run, and no agent's report changes it."""
    master = Master()
    master.keep()
    entry = master.do(forks.adopt(NAME, 7, b"printed", MARIA, START_US + 1, "the books"))
    assert master.do(forks.adopt(NAME, 7, b"printed", BOSS, START_US + 2)) == entry
    (found,) = server_history.page(master.connection)
    assert (found.id, found.from_fork, found.adopted_by, found.output) == (entry, NAME, "operator", b"printed")
    assert (found.exit_code, found.ended_at_us) == (3, START_US + 5)
    assert "the books" in found.why
    assert run_rows.page(master.connection) == []
    assert server_history.by_key(master.connection, found.run_key) is None
    assert master.count("audit", "action = 'forks.adopt'") == 1


def test_a_record_without_output_can_be_read() -> None:
    """An entry whose output is empty is shown like any other."""
    master = Master()
    master.keep()
    master.do(forks.adopt(NAME, 8, b"", MARIA, START_US))
    assert [entry.output for entry in server_history.page(master.connection)] == [b""]


def test_deletion_needs_the_word_and_leaves_a_record() -> None:
    """Invariant 14: the refusal names export and flag; what was adopted stays; the row says who let it go."""
    master = Master()
    master.keep()
    master.do(forks.adopt(NAME, 7, b"printed", MARIA, START_US))
    with pytest.raises(Invalid, match=r"only copy of 2 runs and 0 edits.*export.*--yes-delete-the-only-copy"):
        master.do(forks.delete(NAME, BOSS, START_US, False))
    master.do(forks.deleted(NAME, START_US))
    assert rows.get(master.connection, NAME).state == forks.KEPT  # type: ignore[union-attr]  # it is there
    master.do(forks.delete(NAME, BOSS, START_US, True, "read"))
    assert output_object(NAME, 7) in master.objects
    master.do(forks.deleted(NAME, START_US + 3))
    kept = rows.get(master.connection, NAME)
    assert kept is not None
    assert (kept.state, kept.deleted_by, kept.deleted_at_us, kept.deleted_reason) == (
        "deleted",
        "boss",
        START_US + 3,
        "read",
    )
    assert (rows.runs(master.connection, NAME), rows.page(master.connection), master.objects) == ([], [], {})
    assert master.count("server_history") == 1
    with pytest.raises(NotFound, match="deleted by boss"):
        master.do(forks.adopt(NAME, 7, b"", MARIA, START_US))


@pytest.mark.parametrize("by", [ALEX, MARIA, Principal("ada", "auditor")])
def test_only_an_administrator_deletes(by: Principal) -> None:
    """The last copy goes by an administrator's word; a user adopts nothing either."""
    with pytest.raises(Forbidden):
        forks.delete(NAME, by, START_US, True)
    if by is not MARIA:
        with pytest.raises(Forbidden):
            forks.adopt(NAME, 7, b"", by, START_US)


def test_a_fork_that_is_still_arriving_is_not_deleted() -> None:
    """Half a list would outlive it."""
    master = Master()
    master.do(forks.begin(fork()))
    with pytest.raises(Conflict, match="arriving"):
        master.do(forks.delete(NAME, BOSS, START_US, True))


def test_a_folder_is_removed_whole_and_a_name_leads_nowhere_else(tmp_path: Path) -> None:
    """A crash in the middle leaves no half fork in the list; no name reaches beyond `forks/`."""
    path = tmp_path / "forks" / NAME
    path.mkdir(parents=True)
    (path / "requests").write_bytes(b"x")
    half = tmp_path / "forks" / f"{folders.REMOVING}4-4-x"
    half.mkdir()
    for name in ("..", "../forks", "a/b", ".removing-4-4-x", ""):
        with pytest.raises(NotFound):
            folders.folder(tmp_path, name)
        assert not folders.remove(tmp_path, name)
    assert [line.name for line in folders.listed(tmp_path)] == [NAME]
    assert folders.remove(tmp_path, NAME)
    assert list((tmp_path / "forks").iterdir()) == []
    assert tmp_path.is_dir()
