"""Checkpoints at the master: kept, pruned, gone on from; suspend and resume; what follows an interruption by itself."""

from __future__ import annotations

import hashlib

import pytest

from server.actions import agents, checkpoints, jobs, reconciliation, requests, runs, silence
from server.actions import happenings as follow_up
from server.core import agent_wire as wire
from server.core.checkpoints import TRIES_MAX, CheckpointRule, Way, go_on, wrong_checkpoints
from server.core.model import SYSTEM, Run
from server.errors import Conflict
from server.storage import checkpoints as rows
from server.storage import requests as request_rows
from server.storage import runs as run_rows
from tests.unit.group_site import NAMES, Site
from tests.unit.ledger import START_US


class Running:
    """A group's job with one run that a member has begun."""

    def __init__(self, **job: object) -> None:
        self.site = Site()
        self.site.job(**job)
        (self.run,) = self.site.submit("one")
        self.number = 1
        self.name = self.start(self.run)

    @property
    def connection(self) -> object:
        return self.site.ledger.connection

    def start(self, run: Run) -> str:
        """Place, send, begin: the name of the member that has it now."""
        self.site.place()
        self.site.send()
        name, _ = self.site.at(run)
        self.tell(name, run, wire.Begun(wire.Specification(job_id=1, job_name="serve", command="true"), None, 1))
        return name

    def tell(self, name: str, run: Run, body: wire.Body) -> None:
        self.number += 1
        self.site.report(name, run.key, body, self.number)
        while self.site.ledger.do(follow_up.follow(self.site.now_us)):
            pass

    def save(self, number: int, run: Run | None = None, name: str = "") -> None:
        data = f"state {number}".encode()
        body = wire.Checkpointed(number, data, hashlib.sha256(data).hexdigest())
        self.tell(name or self.name, run or self.run, body)

    def end(self, cause: str, code: int | None = None, run: Run | None = None, name: str = "") -> None:
        body = wire.Ended(code, None, START_US, START_US + 1, 0, False, cause, "serve")
        self.tell(name or self.name, run or self.run, body)

    def row(self, run: Run | None = None) -> Run:
        return self.site.run(run or self.run)

    def attempts(self) -> list[Run]:
        lines = run_rows.attempts(self.site.ledger.connection, self.run.key)
        return [self.site.run(line) for line in lines]  # type: ignore[arg-type]  # a line has the number of its run

    def given(self) -> dict[str, wire.Dispatch]:
        """What the members are sent now, by name."""
        self.site.place()
        ids = self.site.ids.items()
        found = {n: self.site.ledger.do(reconciliation.dispatch(i, 1, self.site.now_us)) for n, i in ids}
        return {name: given[0].dispatch for name, given in found.items() if given}


def test_an_interrupted_run_goes_on_from_its_latest_checkpoint_at_any_member() -> None:
    """SMA-2: the next attempt of the same key, with the bytes and the number in what the agent is sent."""
    site = Running()
    site.save(1)
    site.save(2)
    site.site.connected.discard(site.site.ids[site.name])
    site.end("interrupted")
    first, second = site.attempts()
    assert (first.state, second.key) == ("interrupted", first.key.replace(".a1", ".a2"))
    assert (second.resumed_run, second.resumed_checkpoint) == (first.number, 2)
    ((name, sent),) = site.given().items()
    assert name != site.name
    assert (sent.key, sent.attempt, sent.resume) == (second.key, 2, wire.Resume(2, b"state 2"))


def test_one_that_is_told_twice_is_one() -> None:
    """The report comes again after a takeover; so does the end, and there is one attempt."""
    site = Running()
    site.save(1)
    site.save(1)
    site.end("interrupted")
    site.end("interrupted")
    site.save(2)
    assert [one.number for one in rows.of_run(site.site.ledger.connection, site.run.number)] == [2, 1]
    assert len(site.attempts()) == 2


def test_the_latest_are_kept_and_those_of_a_finished_run_let_go() -> None:
    """As many as the job says; after success what they were stays on record, without the bytes."""
    site = Running(checkpoints=CheckpointRule(keep=2))
    for number in (1, 2, 3, 4):
        site.save(number)
    connection = site.site.ledger.connection
    assert [one.number for one in rows.of_run(connection, site.run.number)] == [4, 3]
    assert site.site.ledger.count("checkpoint_data") == 2
    site.end("", 0)
    assert [(one.number, one.held) for one in rows.of_run(connection, site.run.number)] == [(4, False), (3, False)]
    assert site.site.ledger.count("checkpoint_data") == 0


@pytest.mark.parametrize("restartable", [True, False])
def test_without_a_checkpoint_it_begins_anew_only_if_its_job_says_so(restartable: bool) -> None:
    """Else it waits for a decision and says so, until somebody dismisses it."""
    site = Running(checkpoints=CheckpointRule(restartable=restartable))
    site.end("interrupted")
    assert len(site.attempts()) == (2 if restartable else 1)
    connection = site.site.ledger.connection
    assert checkpoints.needs_decision(connection, site.row()) is not restartable
    if not restartable:
        site.site.ledger.do(checkpoints.dismiss(site.run.number, SYSTEM, START_US))
        assert not checkpoints.needs_decision(connection, site.row())


def test_it_does_not_go_on_from_one_checkpoint_for_ever() -> None:
    """What ends its machine each time would: after some attempts a person decides, and the reason says why."""
    site = Running()
    site.save(1)
    for _ in range(10):
        run = site.attempts()[-1]
        if run.state == "interrupted":
            break
        name = site.name if run.number == site.run.number else site.start(run)
        site.end("interrupted", None, run, name)
    assert len(site.attempts()) == TRIES_MAX + 1
    assert "decide how it goes on: 3 attempts from the same checkpoint were interrupted" in site.attempts()[-1].reason


def test_what_somebody_wanted_ended_does_not_go_on_by_itself() -> None:
    """A cancel was on its way when the machine went down."""
    site = Running()
    site.save(1)
    site.site.ledger.do(runs.cancel(site.run.number, SYSTEM, START_US))
    site.end("interrupted")
    assert len(site.attempts()) == 1


def test_suspend_is_asked_told_and_ends_in_suspended_at_a_checkpoint() -> None:
    """SMA-3: suspending is durable at once, can be taken back until it is sent, and the end says where it stopped."""
    site = Running()
    ledger, number = site.site.ledger, site.run.number
    ledger.do(checkpoints.suspend(number, SYSTEM, START_US))
    assert site.row().state == "suspending"
    agent = agents.find(ledger.connection, site.name)
    assert "suspend" in [one.kind for one in request_rows.of_agent(ledger.connection, agent)]
    ledger.do(requests.withdraw(site.name, "suspend", number, SYSTEM, START_US))
    assert site.row().state == "running"
    ledger.do(checkpoints.suspend(number, SYSTEM, START_US))
    assert [run.number for run in ledger.do(checkpoints.mark_suspends_sent([number], START_US))] == [number]
    with pytest.raises(Conflict):
        ledger.do(requests.withdraw(site.name, "suspend", number, SYSTEM, START_US))
    site.save(1)
    site.end("suspended")
    assert (site.row().state, site.row().dispatched_epoch) == ("suspended", None)
    assert site.row().reason == "at checkpoint 1, asked by system"


def test_a_suspended_run_goes_on_as_another_attempt_and_ends_when_that_begins() -> None:
    """Suspended, resuming, interrupted; its agent may be gone meanwhile without making it unknown."""
    site = Running()
    site.save(1)
    site.save(2)
    site.end("suspended")
    ledger = site.site.ledger
    ledger.do(reconciliation.fall_silent(site.site.ids[site.name], START_US, START_US))
    assert site.row().state == "suspended"
    again = ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US, back=1))
    assert (site.row().state, again.resumed_checkpoint) == ("resuming", 1)
    site.start(again)
    assert (site.row().state, site.row().reason) == ("interrupted", f"it went on as run {again.number}")
    assert len(site.attempts()) == 2


def test_a_resume_that_is_cancelled_before_it_begins_cancels_what_made_way() -> None:
    """Nothing is left resuming for ever."""
    site = Running()
    site.save(1)
    site.end("suspended")
    ledger = site.site.ledger
    again = ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US))
    ledger.do(runs.cancel(again.number, SYSTEM, START_US))
    ledger.do(follow_up.follow(START_US))
    assert (site.row(again).state, site.row().state) == ("cancelled", "cancelled")


def test_a_suspended_run_of_a_removed_member_goes_on_at_another() -> None:
    """SMA-5: the deployment is replaced while it is suspended."""
    site = Running()
    site.save(1)
    site.end("suspended")
    site.site.deploy(*(name for name in NAMES if name != site.name))
    site.site.ledger.do(follow_up.follow(START_US))
    again = site.attempts()[-1]
    site.site.place()
    name, state = site.site.at(again)
    assert (state, name != site.name, again.resumed_checkpoint) == ("starting", True, 1)


def test_what_a_lost_agent_had_goes_on_once_that_is_certain_and_not_before() -> None:
    """Silent: unknown, and it stays so. Declared dead by an operator: the next attempt begins at another member."""
    site = Running()
    site.save(1)
    ledger, agent_id = site.site.ledger, site.site.ids[site.name]
    ledger.do(lambda t: t.connection.execute("UPDATE agents SET ticket = 1, version = '1' WHERE id = ?", (agent_id,)))
    ledger.do(reconciliation.fall_silent(agent_id, START_US, START_US))
    ledger.do(follow_up.follow(START_US))
    with pytest.raises(Conflict):
        ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US))
    assert (site.row().state, len(site.attempts())) == ("unknown", 1)
    ledger.do(silence.declare_dead(site.name, SYSTEM, START_US))
    ledger.do(follow_up.follow(START_US))
    assert [run.resumed_checkpoint for run in site.attempts()] == [None, 1]


def test_a_checkpoint_that_comes_late_from_a_former_attempt_changes_nothing_of_the_next() -> None:
    """It is on record with its attempt; the chain of the one that goes on is its own."""
    site = Running()
    site.save(1)
    site.end("interrupted")
    second = site.attempts()[-1]
    name = site.start(second)
    site.save(2)
    site.save(2, second, name)
    found = rows.chain(site.site.ledger.connection, site.row(second))
    assert [(one.run, one.number) for one in found] == [(second.number, 2), (site.run.number, 1)]


def test_a_failed_run_is_gone_on_with_only_by_a_person_and_from_where_he_says() -> None:
    """Roll back by number; a number that is not there names those that are."""
    site = Running()
    for number in (1, 2, 3):
        site.save(number)
    site.end("", 4)
    assert (site.row().state, len(site.attempts())) == ("failed", 1)
    with pytest.raises(Conflict, match="it has 3, 2, 1"):
        site.site.ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US, checkpoint=9))
    again = site.site.ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US, checkpoint=1))
    assert again.resumed_checkpoint == 1
    with pytest.raises(Conflict):
        site.site.ledger.do(checkpoints.resume(site.run.number, SYSTEM, START_US))


def test_progress_is_the_last_word_of_a_run_that_runs() -> None:
    """An earlier word that arrives late does not replace a later one."""
    site = Running()
    for percent, at_us in ((40, 5), (20, 3)):
        site.site.ledger.do(lambda t, p=percent, a=at_us: checkpoints.said(
            t.connection, site.site.ids[site.name], wire.Progress(site.run.key, p, "copying", a)))  # fmt: skip
    found = rows.progress(site.site.ledger.connection, site.run.number)
    assert found is not None
    assert (found.percent, found.text) == (40, "copying")


@pytest.mark.parametrize(
    ("restartable", "has_checkpoint", "tries", "was_to_stop", "way"),
    [
        (False, True, 0, False, Way.RESUME),
        (True, False, 1, False, Way.RESTART),
        (False, False, 1, False, Way.DECISION),
        (True, True, 0, True, Way.DECISION),
        (True, True, TRIES_MAX, False, Way.DECISION),
        (True, True, TRIES_MAX - 1, False, Way.RESUME),
    ],
)
def test_how_it_goes_on(restartable: bool, has_checkpoint: bool, tries: int, was_to_stop: bool, way: Way) -> None:
    """The whole rule; a decision always has its reason."""
    found, why = go_on(CheckpointRule(restartable=restartable), has_checkpoint, tries, was_to_stop)
    assert (found, bool(why)) == (way, way is Way.DECISION)


def test_a_rule_that_is_not_right_is_refused_by_name() -> None:
    """The bounds of what is kept; a job with such a rule is not made."""
    assert wrong_checkpoints(CheckpointRule(keep=0)) == {"checkpoints.keep": "must be from 1 to 100"}
    with pytest.raises(Exception, match=r"checkpoints\.keep"):
        jobs.create(jobs.JobSpec(name="x", command="y", agent="z", checkpoints=CheckpointRule(keep=0)), SYSTEM, 1)
