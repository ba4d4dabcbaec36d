"""core.maintenance: tables of cases by feature id; no rows, no clock."""

from __future__ import annotations

import msgspec
import pytest

from server.core.access import PERMISSIONS, may
from server.core.gates import MAINTENANCE, SUSPENDED
from server.core.maintenance import (
    CRYOSPARC,
    PRESETS,
    UIPATH,
    Answer,
    Asks,
    Pages,
    Phase,
    Policy,
    Running,
    Session,
    Submissions,
    Wish,
    answer,
    become,
    gate_kind,
    is_to_end,
    is_to_suspend,
    meaning,
    refusal,
    suspended,
    wrong,
)
from server.core.model import Principal

NOW_US = 1_000_000


def session(phase: Phase, policy: Policy = UIPATH, **more: object) -> Session:
    made = Session(
        id=1,
        scope="",
        agent_id="",
        phase=phase,
        running=policy.running,
        submissions=policy.submissions,
        pages=policy.pages,
        reason="",
        started_at_us=0,
        started_by="ann",
        ended_at_us=None,
        ended_by="",
        stops_attempted=0,
        kills_attempted=0,
        suspend_at_us=None,
        suspend_when_idle=False,
        suspend_kill=False,
        end_at_us=None,
    )
    return msgspec.structs.replace(made, **more)


@pytest.mark.parametrize(
    ("wish", "field", "says"),
    [
        (Wish(phase="draining"), "", ""),
        (Wish(phase="suspended"), "", ""),
        (Wish(phase="suspended", force=True), "", ""),
        (Wish(phase="suspended", kill_runs=True), "", ""),
        (Wish(phase="suspended", kill_runs=True, force=True), "", ""),
        (Wish(phase="draining", kill_runs=True), "kill_jobs", "Suspended"),
        (Wish(phase="draining", force=True), "force", "Suspended"),
        (Wish(phase="none"), "phase", "End"),
        (Wish(phase=""), "phase", "Draining or Suspended"),
        (Wish(phase="draining", end_at_us=NOW_US), "end_at", "future"),
        (Wish(phase="suspended", suspend_when_idle=True), "suspend_at", "at once"),
        (Wish(phase="draining", suspend_kill=True), "suspend_kill", "when"),
    ],
)
def test_uip_4_what_cannot_be_asked_for_says_what_can(wish: Wish, field: str, says: str) -> None:
    """UIP-4: killJobs only with Suspended, force not with Draining; each refusal names the way that there is."""
    found = wrong(wish, NOW_US)
    assert list(found) == ([field] if field else [])
    assert says in " ".join(found.values())


@pytest.mark.parametrize(
    ("now", "wish", "count", "refused"),
    [
        (None, Wish(phase="draining"), 3, ""),
        (None, Wish(phase="suspended"), 0, ""),
        (None, Wish(phase="suspended"), 3, "run 1 (a on north), run 2 (b on north), run 3 (c on north)"),
        (None, Wish(phase="suspended", force=True), 3, ""),
        (None, Wish(phase="suspended", kill_runs=True), 3, ""),
        (Phase.DRAINING, Wish(phase="draining"), 3, ""),
        (Phase.DRAINING, Wish(phase="suspended"), 1, "1 run is"),
        (Phase.DRAINING, Wish(phase="suspended"), 0, ""),
        (Phase.SUSPENDED, Wish(phase="suspended", kill_runs=True), 1, ""),
        (Phase.SUSPENDED, Wish(phase="draining"), 0, "End it first"),
        (Phase.SUSPENDED, Wish(phase="draining", policy=CRYOSPARC, keeps=True), 9, ""),
    ],
)
def test_uip_3_suspended_names_the_runs_that_stand_against_it(
    now: Phase | None, wish: Wish, count: int, refused: str
) -> None:
    """UIP-3: a Conflict with the runs, unless force or killJobs; Draining always; never back from Suspended."""
    names = ["run 1 (a on north)", "run 2 (b on north)", "run 3 (c on north)"]
    why = refusal(session(now) if now else None, wish, names, count)
    assert bool(why) == bool(refused)
    assert refused in why


def test_a_refusal_names_ten_runs_and_counts_the_others() -> None:
    """A thousand running runs make no sentence of a thousand names."""
    why = refusal(None, Wish(phase="suspended"), [f"run {n}" for n in range(20)], 1000)
    assert "run 9 and 990 more" in why
    assert "run 10" not in why


def test_kill_jobs_makes_the_policy_kill() -> None:
    """UIP-4: with killJobs what runs is killed, also what is reported later."""
    step = become(session(Phase.DRAINING), Wish(phase="suspended", kill_runs=True))
    assert (step.phase, step.policy.running) == (Phase.SUSPENDED, Running.KILL)


@pytest.mark.parametrize(
    ("now", "running"),
    [
        (None, Running.FINISH),
        (session(Phase.DRAINING, CRYOSPARC), Running.FINISH),
        (session(Phase.DRAINING, UIPATH), Running.STOP),
        (session(Phase.SUSPENDED, Policy(Running.KILL)), Running.KILL),
    ],
)
def test_uip_3_force_leaves_what_runs_as_it_is(now: Session | None, running: Running) -> None:
    """UIP-3: Suspended by force stops nobody; what Draining had begun to end is ended on."""
    step = become(now, Wish(phase="suspended", force=True))
    assert (step.phase, step.policy) == (Phase.SUSPENDED, msgspec.structs.replace(UIPATH, running=running))


@pytest.mark.parametrize("phase", [Phase.DRAINING, Phase.SUSPENDED])
def test_cry_1_on_leaves_what_is_on(phase: Phase) -> None:
    """CRY-1, CRY-6: `on` during a maintenance that UiPath's call began changes nothing of it."""
    open_now = session(phase, UIPATH)
    step = become(open_now, Wish(phase="draining", policy=CRYOSPARC, keeps=True))
    assert (step.phase, step.policy) == (phase, UIPATH)


@pytest.mark.parametrize(
    ("name", "running", "submissions", "pages", "draining_gate"),
    [
        ("cryosparc", Running.FINISH, Submissions.QUEUE, Pages.NOTICE, MAINTENANCE),
        ("uipath", Running.STOP, Submissions.REJECT, Pages.CLOSED, SUSPENDED),
    ],
)
def test_cry_6_two_presets_of_one_state(
    name: str, running: Running, submissions: Submissions, pages: Pages, draining_gate: str
) -> None:
    """CRY-6: *on* is Draining with queueing and no stop; what is due waits, in UiPath's it is missed."""
    policy = PRESETS[name]
    assert policy == Policy(running, submissions, pages)
    assert gate_kind(Phase.DRAINING, policy) == draining_gate
    assert gate_kind(Phase.SUSPENDED, policy) == SUSPENDED


ADMINISTRATOR, OTHER = True, False
PAGE, CALL = True, False


@pytest.mark.parametrize(
    ("phase", "policy", "asks", "who", "is_page", "expected"),
    [
        (Phase.NONE, UIPATH, Asks.WORK, OTHER, CALL, Answer.PASS),
        # UIP-2
        (Phase.DRAINING, UIPATH, Asks.WORK, OTHER, CALL, Answer.NOT_ALLOWED),
        (Phase.DRAINING, UIPATH, Asks.WORK, ADMINISTRATOR, CALL, Answer.NOT_ALLOWED),
        (Phase.DRAINING, UIPATH, Asks.LOOK, OTHER, CALL, Answer.PASS),
        (Phase.DRAINING, UIPATH, Asks.CHANGE, OTHER, CALL, Answer.PASS),
        (Phase.DRAINING, UIPATH, Asks.LOOK, OTHER, PAGE, Answer.UNAVAILABLE),
        (Phase.DRAINING, UIPATH, Asks.LOOK, ADMINISTRATOR, PAGE, Answer.PASS),
        (Phase.DRAINING, UIPATH, Asks.ALWAYS, OTHER, PAGE, Answer.PASS),
        # UIP-3
        (Phase.SUSPENDED, UIPATH, Asks.LOOK, OTHER, CALL, Answer.UNAVAILABLE),
        (Phase.SUSPENDED, UIPATH, Asks.WORK, OTHER, CALL, Answer.UNAVAILABLE),
        (Phase.SUSPENDED, UIPATH, Asks.WORK, ADMINISTRATOR, CALL, Answer.UNAVAILABLE),
        (Phase.SUSPENDED, UIPATH, Asks.LOOK, ADMINISTRATOR, CALL, Answer.PASS),
        (Phase.SUSPENDED, UIPATH, Asks.CHANGE, ADMINISTRATOR, CALL, Answer.PASS),
        (Phase.SUSPENDED, UIPATH, Asks.ALWAYS, OTHER, CALL, Answer.PASS),
        # CRY-2
        (Phase.DRAINING, CRYOSPARC, Asks.WORK, OTHER, CALL, Answer.PASS),
        (Phase.DRAINING, CRYOSPARC, Asks.LOOK, OTHER, PAGE, Answer.PASS),
        (Phase.SUSPENDED, CRYOSPARC, Asks.WORK, OTHER, CALL, Answer.UNAVAILABLE),
        (Phase.SUSPENDED, CRYOSPARC, Asks.LOOK, OTHER, PAGE, Answer.UNAVAILABLE),
    ],
)
def test_what_is_answered_in_which_phase(
    phase: Phase, policy: Policy, asks: Asks, who: bool, is_page: bool, expected: Answer
) -> None:
    """UIP-2, UIP-3, CRY-2: who asks for what, by phase and policy."""
    assert answer(phase, policy, asks, who, is_page) is expected


def test_bey_5_no_phase_keeps_an_administrator_from_ending_it() -> None:
    """BEY-5: in every phase and policy an administrator's look, change and sign-in pass."""
    for phase in Phase:
        for policy in PRESETS.values():
            for asks in (Asks.ALWAYS, Asks.LOOK, Asks.CHANGE):
                for is_page in (PAGE, CALL):
                    assert answer(phase, policy, asks, ADMINISTRATOR, is_page) is Answer.PASS


def test_uip_9_to_look_and_to_change_are_two_permissions() -> None:
    """UIP-9: an operator and an auditor read the log and change nothing; a user does neither."""
    allowed = {
        role: (may(Principal("p", role), "maintenance.read"), may(Principal("p", role), "maintenance.change"))
        for role in ("administrator", "operator", "auditor", "user")
    }
    assert allowed == {
        "administrator": (True, True),
        "operator": (True, False),
        "auditor": (True, False),
        "user": (False, False),
    }
    assert "maintenance.read" in PERMISSIONS


@pytest.mark.parametrize(
    ("found", "is_idle", "expected"),
    [
        (session(Phase.DRAINING), True, False),
        (session(Phase.DRAINING, suspend_when_idle=True), False, False),
        (session(Phase.DRAINING, suspend_when_idle=True), True, True),
        (session(Phase.DRAINING, suspend_at_us=NOW_US + 1), True, False),
        (session(Phase.DRAINING, suspend_at_us=NOW_US), False, True),
        (session(Phase.SUSPENDED, suspend_at_us=NOW_US, suspend_when_idle=True), True, False),
    ],
)
def test_it_goes_on_by_itself_when_idle_or_at_its_time(found: Session, is_idle: bool, expected: bool) -> None:
    """Draining becomes Suspended once nothing runs or its time has come, and never twice."""
    assert is_to_suspend(found, is_idle, NOW_US) is expected


def test_what_it_becomes_by_itself() -> None:
    """What runs at that time goes on, or is killed where it was said; the end comes at its time."""
    assert suspended(session(Phase.DRAINING, CRYOSPARC)).policy == CRYOSPARC
    assert suspended(session(Phase.DRAINING, CRYOSPARC, suspend_kill=True)).policy.running is Running.KILL
    assert is_to_end(session(Phase.SUSPENDED, end_at_us=NOW_US), NOW_US)
    assert not is_to_end(session(Phase.SUSPENDED, end_at_us=NOW_US + 1), NOW_US)


def test_cry_3_every_phase_and_policy_says_what_it_means() -> None:
    """CRY-3: with queueing people hear that runs wait, with refusing that they are refused."""
    said = {meaning(phase, policy) for phase in (Phase.DRAINING, Phase.SUSPENDED) for policy in PRESETS.values()}
    assert len(said) == 3
    assert "they wait" in meaning(Phase.DRAINING, CRYOSPARC)
    assert "refused" in meaning(Phase.DRAINING, UIPATH)
    assert meaning(Phase.NONE, UIPATH) == ""
