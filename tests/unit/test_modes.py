"""Modes of the role machine: when a standby is lost, who lets the master go on, how long until it counts again."""

from __future__ import annotations

from typing import Any

import pytest

from replication.core import effects, events
from replication.core.machine import RELAPSE_STEADIES, RELAPSES_MAX, Machine
from replication.core.messages import Hello
from replication.core.types import Epoch, Mode, State
from replication.core.witness import Claim, Sight, WitnessVerdict
from tests.unit.role_world import A, B, epoch, found, hello, machine, place, step

MASTER: dict[str, Any] = {"office": epoch(5), "seen": epoch(5), "standby": B}
AGREED = WitnessVerdict(asked=3, answered=2, granted=2, highest=epoch(5))
UTC_US = 1_767_233_000_000_000


def master(mode: Mode = Mode.AVAILABLE, **memory: Any) -> Machine:
    """In office with B counted on; at 100.0 everything was confirmed."""
    it = machine(State.MASTER, is_open=True, in_sync=(B,), **MASTER | memory)
    it.mode, it.standby_timeout_s = mode, 10.0
    step(it, events.Ticked(), place(5, 7), 100.0, confirmed=7)
    return it


def ticks(it: Machine, until: float, confirmed: int = 7) -> list[effects.Effect]:
    """Quarters of a second pass with one request outstanding; what the machine asked for meanwhile."""
    asked: list[effects.Effect] = []
    while it.now < until:
        asked += step(it, events.Ticked(), place(5, 8), it.now + 0.25, confirmed=confirmed)
    return asked


def test_a_standby_without_progress_is_left_once_the_witnesses_recorded_it() -> None:
    """Invariant 12: asked after the timeout, recorded with a durable counter, and only then out of the set."""
    it = master()
    assert not found(ticks(it, 110.0), effects.AskWitnesses)
    claim = found(ticks(it, 110.5), effects.AskWitnesses)[0].claim
    assert claim.epoch == epoch(5)
    said = step(it, events.WitnessesAnswered(claim, AGREED), place(5, 8), 110.6, confirmed=7)
    assert [type(one) for one in said] == [effects.Persist, effects.RecordAlone]
    assert (it.state, it.memory.in_sync) == (State.MASTER, (B,))
    told = events.AloneRecorded(epoch(5), A, said[1].counter, True)  # type: ignore[attr-defined]  # RecordAlone
    after = step(it, told, place(5, 8), 110.7, confirmed=7, utc_us=UTC_US)
    assert [type(one) for one in after] == [effects.Persist, effects.RequireAcks, effects.Announce]
    assert (it.state, it.memory.in_sync, it.memory.alone_since_utc_us) == (State.ALONE, (), UTC_US)


def test_a_slow_standby_that_moves_is_not_lost() -> None:
    """Each confirmed request begins the time anew, however many are outstanding; a silent link is no reason either."""
    it = master()
    step(it, events.PeerLost(B), place(5, 99), 100.1, confirmed=7)
    for number in range(8, 20):
        assert not found(step(it, events.Ticked(), place(5, 99), it.now + 0.9, confirmed=number), effects.AskWitnesses)


def test_an_idle_standby_is_not_lost() -> None:
    """Nothing is outstanding: silence costs nobody anything."""
    it = master()
    step(it, events.PeerLost(B), place(5, 7), 100.1, confirmed=7)
    for number in range(1, 100):
        assert not step(it, events.Ticked(), place(5, 7), 100.1 + number / 2, confirmed=7)


def test_time_that_this_node_slept_is_not_the_standbys() -> None:
    """After a minute of SIGSTOP the acknowledgement lies in the socket: a second is left to read it."""
    it = master()
    step(it, events.Ticked(), place(5, 8), 100.25, confirmed=7)
    assert not found(step(it, events.Ticked(), place(5, 8), 160.0, confirmed=7), effects.AskWitnesses)
    assert not found(step(it, events.Ticked(), place(5, 8), 160.5, confirmed=8), effects.AskWitnesses)


def test_strict_never_asks_by_itself() -> None:
    """SKY-6: writes wait until a person says go-alone, and the page says what to type."""
    it = master(Mode.STRICT)
    assert not found(ticks(it, 140.0), effects.AskWitnesses)
    assert it.waiting_for().endswith("understudy go-alone")
    asked = step(it, events.GoAloneRequested(1, b""), place(5, 8), 140.0, confirmed=7)
    assert found(asked, effects.RecordAlone)


def test_without_a_witness_it_waits_and_says_what_to_type() -> None:
    """No third vote, no automatic way: a person may say it, and the sentence names the command."""
    it = master()
    claim = found(ticks(it, 110.5), effects.AskWitnesses)[0].claim
    none = step(it, events.WitnessesAnswered(claim, WitnessVerdict(0, 0, 0)), place(5, 8), 110.6, confirmed=7)
    assert not found(none, effects.RecordAlone)
    assert "No witness is enrolled" in it.pending.text
    assert it.pending.text.endswith("understudy go-alone")
    again = ticks(it, 113.0)
    assert found(again, effects.AskWitnesses), "it gives up asking"


def test_a_standby_that_was_promoted_is_not_left_but_looked_for() -> None:
    """The witnesses granted the standby a higher number: it may be master, so this node acknowledges nothing."""
    it = master()
    claim = found(ticks(it, 110.5), effects.AskWitnesses)[0].claim
    refused = WitnessVerdict(asked=1, answered=1, granted=0, highest=epoch(6, B))
    assert not found(
        step(it, events.WitnessesAnswered(claim, refused), place(5, 8), 110.6, confirmed=7), effects.RecordAlone
    )
    assert "may be master" in it.pending.text


def test_the_wish_is_withdrawn_when_the_standby_moves_again() -> None:
    """The late word that it was recorded changes nothing; the witnesses are told with a higher counter."""
    it = master()
    claim = found(ticks(it, 110.5), effects.AskWitnesses)[0].claim
    wish = found(
        step(it, events.WitnessesAnswered(claim, AGREED), place(5, 8), 110.6, confirmed=7), effects.RecordAlone
    )
    step(it, events.StandbyProgressed(B, 8, 8, 0, 0.0), place(5, 8), 110.7, confirmed=8)
    nobody = found(step(it, events.Ticked(), place(5, 8), 110.75, confirmed=8), effects.RecordAlone)
    assert (nobody[0].alone, nobody[0].counter) == ("", wish[0].counter + 1)
    step(it, events.AloneRecorded(epoch(5), A, wish[0].counter, True), place(5, 8), 110.8, confirmed=8)
    assert it.state is State.MASTER


def test_no_hand_off_while_a_wish_is_under_way() -> None:
    """A target that may be left at any moment is no target."""
    it = master()
    step(it, events.PeerHeard(B, hello(epoch=epoch(5))), place(5, 8), 100.2, confirmed=7)
    ticks(it, 110.5)
    answer = found(step(it, events.SwapRequested(4, B, 5.0, b""), place(5, 8), 110.6, confirmed=7), effects.Answer)
    assert answer[0].code == "conflict"


@pytest.mark.parametrize(("mode", "asks"), [(Mode.STRICT, False), (Mode.AVAILABLE, True)])
def test_a_restarted_master_asks_the_witnesses_by_itself_only_in_available(mode: Mode, asks: bool) -> None:
    """Restart, case 2: after ten seconds of silence, above every number seen, and into ALONE by the record only."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    it.mode = mode
    step(it, events.Started(), place(5, 8), 100.0)
    early = [one for n in range(39) for one in step(it, events.Ticked(), place(5, 8), 100.0 + n / 4)]
    assert not found(early, effects.AskWitnesses)
    late = [one for n in range(12) for one in step(it, events.Ticked(), place(5, 8), 110.0 + n / 4)]
    assert bool(found(late, effects.AskWitnesses)) is asks
    if not asks:
        return
    claim = found(late, effects.AskWitnesses)[0].claim
    recorded = step(it, events.WitnessesAnswered(claim, AGREED), place(5, 8), 113.1)
    assert found(recorded, effects.RecordAlone)[0].epoch == epoch(6)
    step(it, events.AloneRecorded(epoch(6), A, found(recorded, effects.RecordAlone)[0].counter, True), place(5, 8))
    assert (it.state, it.memory.office, it.memory.leave) == (State.ALONE, epoch(6), False)


def test_a_single_witness_that_knows_a_later_office_keeps_a_restarted_master_waiting() -> None:
    """A majority granted, and the third granted another node a higher number: without a person nothing goes on."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    step(it, events.Started(), place(5, 8), 100.0)
    late = [one for n in range(60) for one in step(it, events.Ticked(), place(5, 8), 100.0 + n / 4)]
    claim = found(late, effects.AskWitnesses)[0].claim
    verdict = WitnessVerdict(asked=3, answered=3, granted=2, highest=epoch(6, B))
    answered = step(it, events.WitnessesAnswered(claim, verdict), place(5, 8), 116.0)
    assert not found(answered, effects.RecordAlone)
    assert "later master" in it.pending.text


def steady_after(it: Machine, now: float) -> float:
    """Let B keep up from `now` on; how long it takes until it is counted on."""
    begun = now
    while it.state is State.ALONE:
        step(it, events.StandbyProgressed(B, 8, 8, 0, 0.0), place(5, 8), now, confirmed=0)
        now += 0.25
    return now - begun


def lose(it: Machine, now: float) -> None:
    """An operator lets it write alone."""
    wish = found(step(it, events.GoAloneRequested(1, b""), place(5, 8), now, confirmed=8), effects.RecordAlone)[0]
    step(it, events.AloneRecorded(epoch(5), A, wish.counter, True), place(5, 8), now + 0.1, confirmed=8)


def test_each_relapse_doubles_the_time_until_the_standby_counts_again() -> None:
    """Invariant 12: 1 s, 2, 4, 8 …, at most 32; after a long time in the set 1 s again; a restart does not forget."""
    it = master()
    it.steady_s = 1.0
    it.counted_since = 100.0
    times, now = [], 101.0
    for _ in range(RELAPSES_MAX + 2):
        lose(it, now)
        times.append(round(steady_after(it, now + 1.0)))
        now = it.now + 5.0
    assert times == [2, 4, 8, 16, 32, 32, 32]
    assert Machine(A, it.memory, steady_s=1.0).steady_needed_s == 32.0
    lose(it, now + RELAPSE_STEADIES * it.steady_s)
    assert round(steady_after(it, it.now + 1.0)) == 1


def promotion(it: Machine, verdict: WitnessVerdict, *, force: bool, now: float) -> list[effects.Effect]:
    """An operator wants this standby to take over, and the witnesses answer."""
    facts = {"utc_us": UTC_US}
    asked = step(it, events.PromoteRequested(9, force, True, b""), place(5, 1200), now, **facts)
    claim = found(asked, effects.AskWitnesses)[0].claim
    return step(it, events.WitnessesAnswered(claim, verdict), place(5, 1200), now + 0.1, **facts)


def heard_master(in_sync: list[str]) -> Hello:
    """The last heartbeat of A: 34 requests ahead."""
    return hello(A, state=State.MASTER, epoch=epoch(5), last=place(5, 1234), in_sync=in_sync)


def test_the_bound_of_loss_is_printed_before_anything_is_lost() -> None:
    """BEY-6: the refusal, the success with the flag, and what is kept, say the same numbers."""
    said = []
    for force in (False, True):
        it = machine(State.SYNCING, B, enlisted=False)
        step(it, events.PeerHeard(A, heard_master([]), 0.0, 12_200), place(5, 1200), 100.0)
        step(it, events.PeerLost(A), place(5, 1200), 105.0)
        alone = WitnessVerdict(asked=1, answered=1, granted=1, highest=epoch(5), alone=A)
        got = promotion(it, alone, force=force, now=142.0)
        if force:
            record = found(got, effects.RecordAlone)[0]
            got = step(it, events.AloneRecorded(record.epoch, B, record.counter, True), place(5, 1200), 142.5)
            assert found(got, effects.OpenOffice)[0].report == found(got, effects.Answer)[0].text
            assert it.memory.leave
        said.append(found(got, effects.Answer)[0].text)
    bound = (
        "The master was last heard 42 s ago at request 1,234; this node holds up to 1,200: 34 requests (12 KiB) and "
        "whatever came after are at stake."
    )
    assert all(bound in text for text in said)
    assert "was recorded as writing alone" in said[0]
    assert said[0].endswith("standby-to-master --allow-data-loss")


def test_without_a_majority_it_is_unknown_since_the_last_proof() -> None:
    """No majority: the clock time since when nobody knows, which is when the master last counted on this node."""
    it = machine(State.IN_SYNC, B, enlisted=True)
    step(it, events.PeerHeard(A, heard_master([B])), place(5, 1200), 100.0)
    step(it, events.PeerLost(A), place(5, 1200), 105.0)
    got = promotion(it, WitnessVerdict(asked=3, answered=1, granted=1), force=False, now=160.0)
    text = found(got, effects.Answer)[0].text
    assert "Only 1 of 3 witnesses answered" in text
    assert "unknown since 02:02:19 UTC" in text, text
    assert it.state is State.IN_SYNC


def fenced(force: bool = False) -> tuple[Machine, effects.Fence]:
    """A standby with a hook whose operator wants it to take over."""
    it = machine(State.IN_SYNC, B, enlisted=True)
    it.has_fence = True
    step(it, events.PeerHeard(A, heard_master([B])), place(5, 1234), 100.0)
    step(it, events.PeerLost(A), place(5, 1234), 105.0)
    asked = step(it, events.PromoteRequested(9, force, True, b""), place(5, 1234), 110.0)
    assert not found(asked, effects.AskWitnesses)
    return it, found(asked, effects.Fence)[0]


def test_the_old_master_is_fenced_before_the_grant_is_asked() -> None:
    """Unplanned, step 2: the hook gets node and epoch; only its success makes the witnesses hear of the promotion."""
    it, fence = fenced()
    assert (fence.old, fence.epoch) == (A, epoch(5))
    asked = step(it, events.FenceEnded(9, True, "off"), place(5, 1234), 111.0)
    assert found(asked, effects.AskWitnesses)[0].claim.epoch == Epoch(6, B)


def test_a_hook_that_fails_refuses_the_promotion_also_a_forced_one() -> None:
    """Its last line is said with what to do; no number is used up, and the node stands by as before."""
    it, _ = fenced(force=True)
    seen = it.memory.seen
    said = step(it, events.FenceEnded(9, False, "it exited with 3. Its last line: no route."), place(5, 1234), 111.0)
    answer = found(said, effects.Answer)[0]
    assert (answer.code, it.state, it.memory.seen) == ("unfenced", State.IN_SYNC, seen)
    assert "no route" in answer.text
    assert "standby-to-master" in answer.text


def test_the_end_of_an_earlier_hook_is_not_this_ones() -> None:
    """Only the hook of the wish under way counts."""
    it, _ = fenced()
    assert not step(it, events.FenceEnded(8, True, "off"), place(5, 1234), 111.0)
    assert it.state is State.PROMOTING


def test_go_alone_with_leave_to_lose_passes_a_later_number_of_a_node_that_is_gone() -> None:
    """The witnesses granted B a number in a promotion that was refused; B is gone for good: a person may go on."""
    it = machine(State.RESUMING, in_sync=(B,), **MASTER)
    later = WitnessVerdict(asked=1, answered=1, granted=0, highest=epoch(8, B))
    asked = found(step(it, events.GoAloneRequested(1, b""), place(5, 8)), effects.AskWitnesses)[0].claim
    refused = found(step(it, events.WitnessesAnswered(asked, later), place(5, 8)), effects.Answer)[0]
    assert refused.text.endswith("understudy go-alone --allow-data-loss")
    asked = found(step(it, events.GoAloneRequested(2, b"", True), place(5, 8)), effects.AskWitnesses)[0].claim
    later = WitnessVerdict(asked=1, answered=1, granted=0, highest=epoch(11, B))
    claim = found(step(it, events.WitnessesAnswered(asked, later), place(5, 8)), effects.AskWitnesses)[0].claim.epoch
    assert claim == epoch(12)
    granted = step(it, events.WitnessesAnswered(Claim(claim, epoch(5), 8, True), AGREED), place(5, 8))
    counter = found(granted, effects.RecordAlone)[0].counter
    step(it, events.AloneRecorded(claim, A, counter, True), place(5, 8))
    assert (it.state, it.memory.office, it.memory.leave) == (State.ALONE, epoch(12), True)


def test_a_standby_that_counts_again_grants_the_number_that_witnesses_would_not_confirm() -> None:
    """While a number is being raised the standby becomes steady: the pair opens a higher one together."""
    it = machine(State.ALONE, is_open=True, **MASTER)
    step(it, events.EpochHeard(epoch(9, B)), place(5, 8), 100.0)
    steady_after(it, 100.0)
    assert (it.state, it.memory.in_sync) == (State.RESUMING, (B,))
    claim = step(it, events.PeerHeard(B, hello(epoch=epoch(5))), place(5, 8), it.now + 5)
    assert found(claim, effects.Send)[0].message.epoch == epoch(10)


@pytest.mark.parametrize(
    ("sequence", "words"),
    [
        (
            2570,
            "acknowledged request 2,570; this node holds up to 1,200: 1,370 requests and whatever came after are at",
        ),
        (1200, "acknowledged request 1,200; this node holds that and all before: whatever came after is at stake."),
    ],
)
def test_what_a_witness_heard_bounds_the_loss_of_a_standby_that_was_away(sequence: int, words: str) -> None:
    """BEY-6: this node started after the master had died; the agents heard it until then."""
    it = machine(State.SYNCING, B, enlisted=True)
    sight = Sight(epoch(5), sequence, 75.4)
    verdict = WitnessVerdict(asked=1, answered=1, granted=1, highest=epoch(5), alone=A, sight=sight)
    text = found(promotion(it, verdict, force=False, now=142.0), effects.Answer)[0].text
    assert f"A witness last heard the master 75 s ago: it had {words}" in text, text


@pytest.mark.parametrize(
    ("number", "sequence", "may"), [(5, 1201, False), (6, 1201, False), (4, 1300, True), (5, 1200, True)]
)
def test_no_takeover_is_lossless_that_lacks_what_a_witness_saw_acknowledged(
    number: int, sequence: int, may: bool
) -> None:
    """A standby put back from a snapshot was counted on, and nobody writes alone: yet a witness knows better."""
    it = machine(State.IN_SYNC, B, enlisted=True)
    sight = Sight(epoch(number), sequence, 3.0)
    verdict = WitnessVerdict(asked=1, answered=1, granted=1, highest=epoch(5), alone="", sight=sight)
    said = promotion(it, verdict, force=False, now=142.0)
    assert (it.state is State.PROMOTING) is may
    if not may:
        answer = found(said, effects.Answer)[0]
        assert answer.code == "data_loss"
        assert "put back from an older copy" in answer.text
        assert "this node holds up to 1,200: 1 request and" in answer.text
        assert "--allow-data-loss" in answer.text


def test_witnesses_hear_that_the_pair_is_whole_once_the_standby_holds_what_was_written_alone() -> None:
    """Invariant 12: counted on at request 8 with only 6 held; 9 was acknowledged alone before that was durable."""
    it = machine(State.ALONE, is_open=True, **MASTER)
    for now in (100.0, 102.0):
        step(it, events.StandbyProgressed(B, 6, 6, 0, 0.0), place(5, 8), now)
    assert it.memory.in_sync == (B,)
    for last, confirmed in ((9, 6), (10, 8)):
        said = step(it, events.Ticked(), place(5, last), it.now + 0.25, confirmed=confirmed)
        assert not found(said, effects.RecordAlone), f"told when the standby held {confirmed}"
    told = found(step(it, events.Ticked(), place(5, 11), it.now + 0.25, confirmed=9), effects.RecordAlone)
    assert told[0].alone == ""


def test_a_resumed_master_tells_the_witnesses_once_the_standby_has_fsynced_what_it_granted_upon() -> None:
    """A GRANT names the standby's last request, which it may have journaled and not fsynced (invariant 6)."""
    it = machine(State.RESUMING, **MASTER, in_sync=(B,))
    step(it, events.PeerHeard(B, hello(epoch=epoch(5))), place(5, 8))
    opening = step(it, events.GrantReceived(B, epoch(6), place(5, 8)), place(5, 8))
    assert it.state is State.MASTER
    assert not found(opening, effects.RecordAlone)
    step(it, events.OfficeOpened(), place(6, 9))
    for confirmed, times in ((8, 0), (9, 1)):
        told = found(step(it, events.Ticked(), place(6, 9), it.now + 0.25, confirmed=confirmed), effects.RecordAlone)
        assert len(told) == times, confirmed
