"""Checkpoints at the agent: durable before they are answered, once for each request, and where a run ends at one."""

from __future__ import annotations

import pytest

from server.core import agent_checkpoints
from server.core import agent_wire as wire
from server.core.agent_ledger import BYTES_IN_FLIGHT, CheckpointAnswer, Outcome
from server.core.checkpoint_messages import CHECKPOINT_BYTES_MAX
from tests.unit.agent_world import A, World, specification

KEY = "j1.rone.a1"


@pytest.fixture
def world() -> World:
    made = World()
    connect(made)
    made.hear(wire.Dispatch(KEY, specification()))
    return made


def connect(world: World, ticket: int = 1, protocol: int = 2) -> None:
    world.do(world.session.link_closed(A))
    world.do(world.session.link_opened(A))
    world.hear(wire.Office(A, "master", wire.Epoch(1, A), world.wall_us, {}, protocol))
    world.hear(wire.Admitted(ticket))


def save(world: World, data: bytes | None, request: str, suspends: bool = False, key: str = KEY) -> Outcome:
    return world.session.checkpoint(7, key, data, request, suspends, world.now)


def told(outcome: Outcome) -> CheckpointAnswer:
    ((_, answer),) = outcome.answers
    assert isinstance(answer, CheckpointAnswer)
    return answer


def numbers(world: World) -> list[int]:
    """Numbers of the checkpoints that the agent's disk still has to report."""
    return [r.body.number for r in world.disk.reports.values() if isinstance(r.body, wire.Checkpointed)]


def test_a_checkpoint_is_in_the_spool_before_it_is_answered_and_one_for_each_request(world: World) -> None:
    """The saves that are made durable ahead of the answer hold the bytes; the same request again makes no second."""
    outcome = save(world, b"state", "one")
    assert told(outcome).number == 1
    assert outcome.stops == []
    world.do(outcome)
    assert told(save(world, b"state", "one")).number == 1
    world.do(save(world, b"more", "two"))
    assert [(b.number, b.data) for _, b in world.bodies(wire.Checkpointed)] == [(1, b"state"), (2, b"more")]


def test_a_kill_before_the_fsync_leaves_nothing_and_one_after_it_leaves_the_checkpoint(world: World) -> None:
    """The job asks again with its key: it is number 1 both times."""
    world.do(save(world, b"state", "one"), crash_before_saves=True)
    assert numbers(world) == []
    world.do(save(world, b"state", "one"), crash_after_saves=True)
    assert numbers(world) == [1]
    assert told(save(world, b"state", "one")).number == 1
    assert numbers(world) == [1]


@pytest.mark.parametrize(
    ("key", "data", "code"),
    [
        ("j1.rother.a1", b"", "not_found"),
        (KEY, bytes(CHECKPOINT_BYTES_MAX + 1), "invalid"),
        (KEY, bytes(CHECKPOINT_BYTES_MAX), ""),
    ],
)
def test_what_cannot_be_kept_is_refused_with_the_reason(world: World, key: str, data: bytes, code: str) -> None:
    """An unknown run, and bytes beyond the limit; the limit itself is kept."""
    assert told(save(world, data, "one", key=key)).code == code


def test_a_run_that_is_over_and_a_full_disk_are_refused(world: World) -> None:
    """Nothing is kept then, and what was kept stands."""
    world.do(save(world, b"state", "one"))
    world.session.work.disk_full = True
    assert told(save(world, b"more", "two")).code == "unavailable"
    world.session.work.disk_full = False
    world.do(world.session.ended(KEY, world.end(0), world.now))
    assert told(save(world, b"more", "three")).code == "conflict"
    assert len(world.bodies(wire.Checkpointed)) == 1


def test_without_a_master_the_latest_ones_are_kept_and_older_ones_make_room() -> None:
    """As many as the job keeps: a day without a master does not fill the disk."""
    world = World()
    connect(world)
    world.hear(wire.Dispatch(KEY, specification(checkpoints_kept=3)))
    world.do(world.session.link_closed(A))
    for number in range(6):
        world.do(save(world, b"state", f"r{number}"))
    assert numbers(world) == [4, 5, 6]
    world.start()
    connect(world, 2)
    assert [body.number for _, body in world.bodies(wire.Checkpointed)] == [4, 5, 6]


def test_too_much_that_waits_for_a_master_is_refused(monkeypatch: pytest.MonkeyPatch, world: World) -> None:
    """All runs together have a bound; the job is told, and its earlier checkpoints stand."""
    monkeypatch.setattr(agent_checkpoints, "PENDING_BYTES_MAX", 3000)
    world.do(save(world, bytes(2000), "one"))
    assert told(save(world, bytes(2000), "two")).code == "unavailable"
    assert numbers(world) == [1]


def test_checkpoints_go_out_a_few_megabytes_at_a_time(world: World) -> None:
    """Heartbeats find their way between them on a slow line; an acknowledgement lets the next ones go."""
    world.do(world.session.link_closed(A))
    for number in range(5):
        world.do(save(world, bytes(CHECKPOINT_BYTES_MAX), f"r{number}"))
    connect(world, 2)
    sent = world.bodies(wire.Checkpointed)
    assert len(sent) * CHECKPOINT_BYTES_MAX == BYTES_IN_FLIGHT
    ids = tuple(r.id for r in world.told(wire.Report) if isinstance(r.body, wire.Checkpointed))
    world.hear(wire.Kept(ids, 9, True))
    assert len(world.bodies(wire.Checkpointed)) == 4


def test_it_is_replicated_when_a_master_with_a_standby_has_acknowledged_it(world: World) -> None:
    """Not when it is sent, nor when a master acknowledged it alone; then as soon as the standby has that position."""
    world.do(save(world, b"state", "one"))
    (report,) = [r for r in world.told(wire.Report) if isinstance(r.body, wire.Checkpointed)]
    is_replicated = world.session.checkpoints.is_replicated
    assert not is_replicated(KEY, 1)
    world.hear(wire.Kept((report.id,), 9, False))
    assert not world.session.checkpoints.is_replicated(KEY, 1)
    world.hear(wire.NodeHeartbeat(world.wall_us, 9, 9))
    assert world.session.checkpoints.is_replicated(KEY, 1)
    assert not world.session.checkpoints.is_replicated(KEY, 2)


def test_a_suspended_run_ends_at_its_next_checkpoint_and_is_not_answered(world: World) -> None:
    """The wish alone ends nothing; the checkpoint is durable with the wish's effect, and only then it is stopped."""
    world.hear(wire.Suspend(KEY))
    assert world.stops == []
    outcome = save(world, b"state", "one")
    assert (outcome.answers, [stop.key for stop in outcome.stops]) == ([], [KEY])
    world.do(outcome)
    assert (numbers(world), world.disk.runs[KEY].stop) == ([1], "suspended")
    ended = world.session.ended(KEY, world.end(143), world.now)
    assert told(ended).code == "unavailable"
    world.do(ended)
    assert [end.cause for _, end in world.bodies(wire.Ended)] == ["suspended"]


def test_a_kill_between_the_checkpoint_and_the_stop_ends_the_run_after_the_restart_once(world: World) -> None:
    """The process still waits for its answer; it is ended when the agent finds it again, and not again each time."""
    world.hear(wire.Suspend(KEY))
    world.do(save(world, b"state", "one"), crash_after_saves=True)
    assert world.stops == [KEY]
    world.do(world.session.began(KEY))
    assert world.stops == [KEY]
    assert save(world, b"state", "one").answers == [], "asked again it is still not answered"


def test_a_wish_to_suspend_that_is_taken_back_ends_nothing(world: World) -> None:
    """The next checkpoint is answered as any other."""
    world.hear(wire.Suspend(KEY))
    world.hear(wire.Suspend(KEY, False))
    assert told(save(world, b"state", "one")).number == 1


def test_a_run_suspends_itself_at_the_checkpoint_that_it_has(world: World) -> None:
    """Without bytes nothing new is kept; a run that has none at all gets an empty one."""
    world.do(save(world, b"state", "one"))
    world.do(save(world, None, "two", True))
    assert (numbers(world), world.stops) == ([1], [KEY])
    other = "j1.rother.a1"
    world.hear(wire.Dispatch(other, specification()))
    world.do(save(world, None, "one", True, other))
    assert (other, 1, b"") in [(key, body.number, body.data) for key, body in world.bodies(wire.Checkpointed)]


def test_a_kill_that_a_person_asks_for_wins_over_a_suspension(world: World) -> None:
    """It was being suspended; the end says killed, so nothing goes on from it by itself."""
    world.hear(wire.Suspend(KEY))
    world.do(save(world, b"state", "one"))
    world.hear(wire.StopRun(KEY, True))
    world.do(world.session.ended(KEY, world.end(137), world.now))
    assert [end.cause for _, end in world.bodies(wire.Ended)] == ["killed"]


def test_a_resumed_run_counts_on_and_forgets_what_it_went_on_from_once_it_runs(world: World) -> None:
    """Its bytes are durable with the intent, so that a kill before the start loses nothing."""
    key = "j1.rone.a2"
    outcome = world.session.received(
        A, wire.Dispatch(key, specification(), None, 2, "", wire.Resume(4, b"s")), world.now
    )
    assert [run.resume for run in outcome.starts] == [wire.Resume(4, b"s")]
    world.do(outcome)
    assert world.disk.runs[key].resume is None
    assert told(save(world, b"more", "one", key=key)).number == 5


def test_progress_goes_with_a_heartbeat_and_only_the_last_word(world: World) -> None:
    """However often a job says it; without a master it is kept for later, and nothing of it is durable."""
    before = len(world.disk.reports)
    for percent in (10, 20, 30):
        assert world.session.checkpoints.note_progress(KEY, percent, "so far", world.now).code == ""
    world.do(world.session.heartbeat(world.now))
    world.do(world.session.heartbeat(world.now))
    assert [(p.percent, p.text) for p in world.told(wire.Progress) if isinstance(p, wire.Progress)] == [(30, "so far")]
    assert len(world.disk.reports) == before
    assert world.session.checkpoints.note_progress(KEY, 101, "", world.now).code == "invalid"


def test_a_master_of_protocol_1_is_sent_nothing_of_it() -> None:
    """It stays in the spool until one that understands it is there."""
    world = World()
    connect(world, protocol=1)
    world.hear(wire.Dispatch(KEY, specification()))
    world.do(save(world, b"state", "one"))
    world.session.checkpoints.note_progress(KEY, 10, "", world.now)
    world.do(world.session.heartbeat(world.now))
    assert (world.bodies(wire.Checkpointed), world.told(wire.Progress)) == ([], [])
    connect(world, 2)
    assert len(world.bodies(wire.Checkpointed)) == 1
