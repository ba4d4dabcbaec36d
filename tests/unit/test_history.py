"""SKY-11: a completion that no run explains becomes a run of a job here, exactly once."""

from __future__ import annotations

import pytest

from server.actions import forks, history, jobs, missed, reports, runs
from server.core import agent_wire as wire
from server.core.forks import WHOLE, ForkRow, ForkRun
from server.core.model import SYSTEM, Principal, ServerHistoryEntry, Specification
from server.core.run_keys import occurrence_key
from server.errors import Conflict, Forbidden, Invalid, NotFound
from server.storage import agents as agent_rows
from server.storage import audit, server_history
from server.storage import missed as missed_rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US
from tests.unit.test_reports import DUE_US, NORTH, SOUTH, Master, ended

MARIA = Principal("maria", "operator")
ALEX = Principal("alex", "user")
LOST = "j999.rabc.a1"


def tell(master: Master, key: str = LOST, output: bytes = b"printed", agent: str = NORTH, **more: object) -> int:
    """The agent tells of a run from begin to end; returns the entry that it makes."""
    specification = Specification(job_id=999, job_name="backup", command="tar -c /srv")
    master.report(wire.Begun(specification, None, 1), key, agent)
    if output:
        master.take(wire.Output(key, 0, output, len(output)), agent=agent)
    master.report(ended(**more), key, agent)  # type: ignore[arg-type]  # test values
    found = server_history.by_key(master.connection, key)
    assert found is not None
    return found.id


def adopt(master: Master, entry: int, job: str = "") -> history.Adopted:
    return master.do(history.adopt(entry, job, MARIA, START_US + 99, "asked by the owner"))


def test_an_entry_becomes_a_run_with_all_that_is_known_of_it() -> None:
    """Agent, times, exit code, command and output; the key is kept; who adopted it is on record."""
    master = Master()
    made = adopt(master, tell(master, code=3))
    run = run_rows.by_key(master.connection, LOST)
    assert run is not None
    assert made == history.Adopted(1, run.number, LOST, "backup", True)
    assert (run.job_id, run.agent_id, run.state, run.exit_code, run.attempt) == (master.job.id, NORTH, "failed", 3, 1)
    assert (run.started_at_us, run.ended_at_us, run.command) == (START_US + 5, START_US + 9, "tar -c /srv")
    assert master.objects[reports.output_object(run.number)] == b"printed"
    assert run.output_bytes == 7
    entry = server_history.get(master.connection, 1)
    assert entry is not None
    assert (entry.adopted_run, entry.adopted_by) == (LOST, "maria")
    (record,) = [line for line in audit.page(master.connection) if line.action == "history.adopt"]
    assert (record.who, record.reason, record.before) == ("maria", "asked by the owner", LOST)


def test_adopted_twice_or_told_again_it_is_one_run() -> None:
    """In Job History exactly once: the button again, and the agent again from its first report on."""
    master = Master()
    entry = tell(master, code=0)
    first = adopt(master, entry)
    again = adopt(master, entry)
    assert (again.run, again.made) == (first.run, False)
    rows = master.count("runs")
    tell(master, code=0)
    tell(master, code=1)
    adopt(master, entry)
    assert master.count("runs") == rows
    assert run_rows.get(master.connection, first.run).exit_code == 0  # type: ignore[union-attr]  # it is there
    assert master.count("server_history") == 1
    assert master.count("audit", "action = 'history.adopt'") == 1


def test_an_occurrence_finds_its_instant_and_closes_the_missed_row() -> None:
    """The key names a schedule of the job: the run is that occurrence, which is not missed any more."""
    master = Master()
    master.do(jobs.delete("backup", SYSTEM, START_US))
    master.job = master.add_job("backup", now_us=START_US + 1)
    schedule = master.connection.execute("SELECT max(id) FROM schedules").fetchone()[0]
    missed_rows.record(master.connection, master.job.id, schedule, DUE_US, "agent was not running", START_US)
    key = occurrence_key(master.job.id, schedule, DUE_US)
    entry = ServerHistoryEntry(
        id=0, run_key=key, agent_id=SOUTH, job_name="backup", started_at_us=DUE_US, ended_at_us=DUE_US + 5,
        exit_code=0, signal=None, output=b"", why="no job here has this run", recorded_at_us=DUE_US,
    )  # fmt: skip
    made = adopt(master, server_history.insert(master.connection, entry))
    run = run_rows.get(master.connection, made.run)
    assert run is not None
    assert (run.schedule_id, run.scheduled_for_us, run.state) == (schedule, DUE_US, "succeeded")
    row = missed_rows.of_occurrence(master.connection, schedule, DUE_US)
    assert row is not None
    assert row.resolution == "run"
    with pytest.raises(Conflict):
        master.do(missed.run(row.id, SYSTEM, START_US))


def test_a_key_that_another_agents_run_has_becomes_its_next_attempt() -> None:
    """It did run twice: both runs are in Job History, and what the agent says again belongs to the adopted one."""
    master = Master()
    there = master.do(runs.run_now("backup", "here", SYSTEM, START_US))
    entry = tell(master, there.key, agent=SOUTH, code=4)
    made = adopt(master, entry)
    run = run_rows.get(master.connection, made.run)
    assert run is not None
    assert (run.key, run.attempt, run.agent_id, run.exit_code) == (there.key[:-1] + "2", 2, SOUTH, 4)
    rows = master.count("runs")
    tell(master, there.key, agent=SOUTH, code=4)
    adopt(master, entry)
    assert master.count("runs") == rows


def test_a_run_of_a_fork_and_the_same_told_by_its_agent_is_one_run() -> None:
    """A fork and an agent may tell of the same run: whoever is adopted second leads to the first one's run."""
    master = Master()
    fork = ForkRow(
        name="5-9-abc", node="n" * 32, epoch=3, first=5, last=9, requests=5, bytes=400, kept_at_us=START_US,
        why="A tail.", contents=WHOLE, problem="", runs=1, edits=0, recorded_at_us=START_US,
    )  # fmt: skip
    run = ForkRun(
        fork="", number=7, key=LOST, job="backup", agent_id=NORTH, agent="north", state="killed", reason="",
        exit_code=None, signal=9, submitted_at_us=START_US, started_at_us=START_US, ended_at_us=START_US + 5,
        requested_by="maria", output_bytes=7, output_kept=3,
    )  # fmt: skip
    assert master.do(forks.begin(fork))
    master.do(forks.add(fork.name, [run], []))
    master.do(forks.complete(fork.name, "south", START_US))
    from_fork = master.do(forks.adopt(fork.name, 7, b"pri", MARIA, START_US))
    told = tell(master, code=None, signal=9)
    first, second = adopt(master, from_fork), adopt(master, told)
    assert (first.run, first.made, second.run, second.made) == (second.run, True, first.run, False)
    found = run_rows.get(master.connection, first.run)
    assert found is not None
    assert (found.state, found.signal, found.output_cut) == ("killed", 9, True)


def test_which_job_is_meant_and_what_to_type_when_none_is() -> None:
    """By the job's name; else the operator names one; an unknown name is refused."""
    master = Master()
    master.do(jobs.delete("backup", SYSTEM, START_US))
    entry = tell(master, "nonsense", code=0)
    with pytest.raises(Invalid, match="--job NAME"):
        adopt(master, entry)
    with pytest.raises(NotFound):
        adopt(master, entry, "nothing-like-it")
    other = master.add_job("archive")
    made = adopt(master, entry, "archive")
    assert (made.job, made.key) == ("archive", f"j{other.id}.rhistory-{entry}.a1")


def test_what_has_no_end_yet_is_not_adopted() -> None:
    """Its agent may still run it: nothing is guessed. With the end it can be adopted, with its cause."""
    master = Master()
    specification = Specification(job_id=999, job_name="backup", command="true")
    master.report(wire.Begun(specification, None, 1), LOST)
    with pytest.raises(Conflict, match="may still run it"):
        adopt(master, 1)
    master.report(ended(None, "timeout", 15), LOST)
    made = adopt(master, 1)
    assert run_rows.get(master.connection, made.run).state == "killed"  # type: ignore[union-attr]  # it is there


def test_who_may_adopt_and_what_is_not_there() -> None:
    """A user may not; an entry that does not exist names the command that lists them."""
    master = Master()
    with pytest.raises(Forbidden):
        history.adopt(1, "", ALEX, START_US)
    with pytest.raises(NotFound, match="understudy history list"):
        adopt(master, 1)


def test_an_agent_that_was_never_enrolled_here_is_still_listed() -> None:
    """A fork may tell of an agent that only the lost master knew: its run is in the list, under the start of its id."""
    master = Master()
    made = adopt(master, tell(master, agent="f" * 32, code=0))
    line = run_rows.line(master.connection, made.run)
    assert line is not None
    assert line.agent == "ffffffff"
    assert agent_rows.get(master.connection, "f" * 32) is None


def test_a_run_older_than_the_job_that_has_its_number_is_not_taken_for_it() -> None:
    """After a loss another job may have got the number: the report goes to Server History, not to that job."""
    master = Master()
    young = master.add_job("young", now_us=START_US + 3600 * 1_000_000)
    master.report(
        wire.Begun(Specification(job_id=young.id, job_name="old", command="x"), None, 1), f"j{young.id}.rq.a1"
    )
    assert run_rows.by_key(master.connection, f"j{young.id}.rq.a1") is None
    strange = occurrence_key(master.job.id, 4711, DUE_US)
    master.report(wire.Begun(Specification(job_id=1, job_name="backup", command="x"), DUE_US, 1), strange)
    assert run_rows.by_key(master.connection, strange) is None
    assert master.count("server_history") == 2
