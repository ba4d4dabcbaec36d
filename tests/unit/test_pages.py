"""What pages decide before a template sees it: verdicts, charts, gates as acknowledged, forms. Pure."""

from __future__ import annotations

from pathlib import Path

import pytest

from replication.core.types import Role, State
from server.core.model import Gate, Schedule
from server.errors import Invalid
from server.web.pages.agents import view
from server.web.pages.chart import SPAN_US, Sample, chart
from server.web.pages.contacts import Contact
from server.web.pages.flow import Sampler, mark
from server.web.pages.job_schedules import instants_of
from server.web.pages.jobs import EMPTY, JobFormPage, spec_from, values_of
from server.web.pages.nodes import replication_from
from server.web.pages.pair import Flow, agrees, page_pair, verdict
from server.web.pages.runs import tail
from server.web.pages.sign_in import local_path
from server.web.pages.standby import page_from as standby_from
from server.web.render import age, ago, render, seconds, size
from server.web.states import RUNS, badge
from tests.storybook.fixture import (
    COPY_WAITS,
    DAY_US,
    MASTER,
    NAMES,
    NOW_US,
    SECOND_US,
    WEB,
    catching_up,
    changed,
    frame,
    lost,
    peer,
    proof,
    proven,
    status,
)
from tests.storybook.witnesses import witnesses
from tests.storybook.work import agent, job


@pytest.mark.parametrize(
    ("change", "tone", "word"),
    [
        ({}, "ok", "Active"),
        ({"in_sync": False}, "warn", "Catching up"),
        ({"peers": (peer(connected=False),), "in_sync": True}, "bad", "Lost"),
        ({"peers": ()}, "warn", "None yet"),
    ],
)
def test_green_only_while_in_sync_and_connected(change: dict[str, object], tone: str, word: str) -> None:
    """SKY-8: green needs both the in-sync set and a link; the word changes with the colour."""
    verdict = page_pair(status(**change), Flow(), NAMES, NOW_US, WEB).verdict
    assert (verdict.tone, verdict.word) == (tone, word)
    assert verdict.icon


def test_an_unknown_backlog_is_never_zero() -> None:
    """SKY-4: with the link down the number is unknown, even when the status still carries an old 0."""
    stale = changed(status(), peers=(peer(connected=False),))
    assert stale.backlog is not None
    pair = page_pair(stale, Flow((), 5.0, True), NAMES, NOW_US, WEB)
    assert pair.requests is None
    assert pair.left_s is None
    assert not pair.moving


def test_time_left_follows_from_the_rate() -> None:
    """SKY-4: time left is backlog by rate, and absent without a rate."""
    found, _ = catching_up(1240)
    assert page_pair(found, Flow((), 310.0, True), NAMES, NOW_US, WEB).left_s == pytest.approx(4.0)
    assert page_pair(found, Flow((), 0.0, False), NAMES, NOW_US, WEB).left_s is None


def test_a_lost_standby_says_what_to_type() -> None:
    """Writes that wait name go-alone; a master that is alone names the standby's command."""
    waiting, _ = lost(False)
    alone, _ = lost(True)
    assert page_pair(waiting, Flow(), NAMES, NOW_US, WEB).command == "understudy go-alone"
    assert page_pair(alone, Flow(), NAMES, NOW_US, WEB).command == "understudy serve"


def test_the_standbys_page_tells_every_state_apart() -> None:
    """SKY-9: active, catching up and lost have different words and headlines; a copy cannot take over."""
    whole = frame("Standby", "/", role="standby")
    active = standby_from(whole, status(role=Role.STANDBY, state=State.IN_SYNC), NAMES)
    behind = standby_from(whole, status(role=Role.STANDBY, state=State.SYNCING), NAMES)
    silent = standby_from(whole, status(role=Role.STANDBY, state=State.IN_SYNC, peers=(peer(connected=False),)), NAMES)
    assert len({page.verdict.word for page in (active, behind, silent)}) == 3
    assert len({page.headline for page in (active, behind, silent)}) == 3
    assert not standby_from(whole, status(role=Role.STANDBY, state=State.COPYING), NAMES).can_take_over


def test_the_chart_breaks_where_nothing_is_known() -> None:
    """A gap in knowledge is a gap in the line, and the table says unknown, not 0."""
    at = [NOW_US - minute * 60 * SECOND_US for minute in (9, 8, 5, 1)]
    samples = (Sample(at[0], 4), Sample(at[1], 2), Sample(at[2], None), Sample(at[3], 8))
    drawn = chart(samples, NOW_US)
    assert len(drawn.lines) == 2
    assert drawn.top == 8
    assert dict(drawn.minutes)[5] is None
    assert dict(drawn.minutes)[1] == 8


def test_the_chart_leaves_out_what_is_old_and_stays_inside() -> None:
    """Only ten minutes are drawn, and no point lies outside of the picture."""
    drawn = chart(tuple(Sample(NOW_US - n * SPAN_US // 4, n * 1000) for n in range(9, -1, -1)), NOW_US)
    points = [tuple(map(float, point.split(","))) for line in drawn.lines for point in line.split()]
    assert len(points) == 5
    assert all(0 <= x <= drawn.width and 0 <= y <= drawn.height for x, y in points)


def test_the_rate_is_what_became_durable() -> None:
    """The sampler's rate counts requests that the standby fsynced, and nothing while the link is down."""
    sampler = Sampler()
    for second in range(5):
        sampler.add(mark(status(peers=(peer(fsynced=1000 + 30 * second),)), NOW_US + second * SECOND_US))
    assert sampler.flow().rate == pytest.approx(30.0)
    assert sampler.flow().moving
    down = mark(status(peers=(peer(connected=False),)), NOW_US)
    assert (down.requests, down.fsynced) == (None, None)


@pytest.mark.parametrize(
    ("acknowledged", "host", "own", "word"),
    [
        (7, None, None, "Open"),
        (6, None, None, "Unlock not acknowledged"),
        (7, 7, None, "Locked"),
        (6, 7, None, "Lock not acknowledged"),
        (5, None, 5, "Locked"),
        (4, None, 5, "Lock not acknowledged"),
    ],
)
def test_locked_means_acknowledged(acknowledged: int, host: int | None, own: int | None, word: str) -> None:
    """SKY-2: a row says Locked once its agent has persisted that lock, and not acknowledged until then."""
    gate = Gate(kind="queue_locked", set_by="admin", set_at_us=NOW_US, revision=host) if host else None
    line = agent("dock", acknowledged=acknowledged, locked_by="operator" if own else None, locked_revision=own)
    assert view(line, gate, 7, Contact()).queue.word == word


def test_a_quarantined_agent_is_not_called_active() -> None:
    """Quarantine outranks the connection; an agent without a link is unreachable, or was never seen."""
    assert view(agent("a", quarantined_at_us=NOW_US), None, 0, Contact()).state.word == "Quarantined"
    assert view(agent("a"), None, 0, None).state.word == "Unreachable"
    assert view(agent("a", ticket=0), None, 0, None).state.word == "Never seen"


def test_the_job_form_gives_back_the_job_it_was_filled_from() -> None:
    """What the form shows of a job is, sent back unchanged, the same job: zones, environment and numbers included."""
    when = [
        Schedule(id=1, job_id=3, cron="30 1 * * *", zone="Europe/Berlin", created_at_us=0),
        Schedule(id=2, job_id=3, cron="0 12 * * 6", zone="UTC", created_at_us=0),
        Schedule(id=3, job_id=3, cron="*/5 * * * *", zone="Europe/Berlin", created_at_us=0),
    ]
    spec = spec_from(values_of(job(), "dock-1", when, {}))
    assert [(one.cron, one.zone) for one in spec.schedules] == [(one.cron, one.zone) for one in when]
    assert (spec.name, spec.command, spec.environment) == (job().name, job().command, job().environment)
    assert (spec.timeout_s, spec.skip_if_running, spec.may_run_twice) == (3600, True, False)


def test_the_job_form_names_every_wrong_field_at_once() -> None:
    """Three wrong fields are three errors, each under its own name."""
    values = {**EMPTY, "timeout_s": "soon", "misfire_grace_s": "-1", "environment": "NAME"}
    with pytest.raises(Invalid) as refused:
        spec_from(values)
    assert set(refused.value.fields) == {"timeout_s", "misfire_grace_s", "environment"}


def test_the_job_form_folds_what_is_not_used_and_hides_no_error() -> None:
    """A new job's form is folded; what holds something or is wrong is open, and no error is without a place."""
    closed = JobFormPage(frame("New job", "/jobs"), 0, "", ("dock-1",), {**EMPTY, "agent": "dock-1"})
    assert "open><summary>" not in render(closed)
    errors = {"retry_delay_s_max": "too long", "instants": "not possible"}
    page = JobFormPage(frame("New job", "/jobs"), 0, "", ("dock-1",), {**EMPTY, "tags": "shop"}, errors)
    html = render(page)
    assert "open><summary>Success and retries" in html
    assert "open><summary>Shared environment" in html
    assert html.count("open><summary>") == 2
    assert "too long" in html
    assert "instants: not possible" in html


def test_a_daily_schedule_is_not_taken_for_a_zone() -> None:
    """`*/5 * * * *` ends in a star, and `@daily` has one word: neither loses its last field to a zone."""
    for text in ("*/5 * * * *", "@daily", "0 0 * * */2"):
        assert [(one.cron, one.zone) for one in spec_from({**EMPTY, "cron": text}).schedules] == [(text, "UTC")]


def test_next_instants_are_in_order_of_time() -> None:
    """Instants of several schedules are merged in order, each with the schedule that makes it."""
    when = [
        Schedule(id=1, job_id=3, cron="0 * * * *", zone="UTC", created_at_us=0),
        Schedule(id=2, job_id=3, cron="30 * * * *", zone="UTC", created_at_us=0),
    ]
    found = instants_of(when, NOW_US, 4)
    assert [one.due_us for one in found] == sorted(one.due_us for one in found)
    assert {one.cron for one in found} == {"0 * * * *", "30 * * * *"}


@pytest.mark.parametrize("elsewhere", ["//evil.example", "https://evil.example", "/\\evil.example", "", "swap"])
def test_signing_in_leads_nowhere_else(elsewhere: str) -> None:
    """The `next` of the sign-in page is a path of this node or Home."""
    assert local_path(elsewhere) == "/"
    assert local_path("/swap?x=1") == "/swap?x=1"


def test_the_tail_of_an_output_says_what_is_hidden(tmp_path: Path) -> None:
    """A long output shows its end and counts what is before it; none is no error."""
    path = tmp_path / "output"
    path.write_bytes(b"a" * 70 + b"end")
    assert tail(path, 10) == ("a" * 7 + "end", 63)
    assert tail(path, 100) == ("a" * 70 + "end", 0)
    assert tail(path.with_name("none")) == ("", 0)
    assert tail(None) == ("", 0)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 s"),
        (0.02, "under 0.1 s"),
        (0.44, "0.4 s"),
        (12.2, "12 s"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (187_200, "2 d 4 h"),
        (-3, "-3 s"),
        (-0.02, "under 0.1 s"),
    ],
)
def test_durations_in_two_units(value: float, text: str) -> None:
    """Durations are said in at most two units."""
    assert seconds(value) == text


def test_sizes_and_ages_in_words() -> None:
    """Bytes get one decimal below 100 of a unit; an instant to come is `in`, a past one `ago`."""
    assert [size(n) for n in (17, 1200, 999_499, 81_000_000_000)] == ["17 B", "1.2 kB", "999 kB", "81.0 GB"]
    assert ago(NOW_US + 5 * SECOND_US, NOW_US) == "in 5 s"
    assert ago(NOW_US - DAY_US, NOW_US) == "1 d ago"
    assert age(NOW_US + 5, NOW_US) == "0 s"


def test_a_state_from_a_newer_version_is_shown_not_hidden() -> None:
    """An unknown state keeps its word, with the icon of a question."""
    shown = badge(RUNS, "time_travelling")
    assert (shown.word, shown.icon) == ("Time travelling", "circle-question-mark")


def test_a_standby_that_differs_is_never_green() -> None:
    """In sync by number, but with another checksum at the same request: red, and no stale comparison of a lost one."""
    differs = changed(status(), peers=(peer(checksum=1),))
    assert verdict(differs).word == "Differs"
    assert page_pair(differs, Flow((), 5.0, True), NAMES, NOW_US, WEB).command == "understudy verify"
    silent = peer(checksum=1, connected=False)
    assert agrees(status(), silent) is None
    assert verdict(changed(status(), peers=(silent,))).word == "Lost"


def test_a_copy_without_room_says_what_to_do() -> None:
    """While the copy waits for room, the master's pages do not say that there is nothing to do."""
    found = status(in_sync=False, peers=(peer(state=State.COPYING, copy=COPY_WAITS),))
    page = page_pair(found, Flow(), NAMES, NOW_US, WEB)
    assert (page.headline, page.advice) == (
        "The copy waits for room on the standby's disk.",
        "Free some there, then it goes on by itself.",
    )


def test_an_observer_is_shown_as_one() -> None:
    """Its badge has word, icon and tone in their places, and axe and CSS know the tone."""
    found = status(role=Role.STANDBY, state=State.SYNCING, in_sync=False, observer=True, master=MASTER)
    found = changed(found, peers=(peer(node=MASTER, role=Role.MASTER, state=State.MASTER),))
    shown = standby_from(frame("Standby", "/"), found, NAMES).verdict
    assert (shown.word, shown.icon, shown.tone) == ("Observer", "eye", "busy")


def test_no_page_advises_to_swap_to_a_damaged_standby() -> None:
    """Where both nodes found damage the page says so; with one of them whole it does not."""
    at = frame("Replication", "/replication")
    own = status(proof=proof(True, 4_711))
    pairs = [(changed(own, peers=(peer(**proven(proof(False, *bad))),)), bool(bad)) for bad in ((17,), ())]
    for found, both in pairs:
        html = render(replication_from(at, found, Flow(), [], witnesses("dock-1")))
        assert ("Both nodes have damaged pages" in html) is both
