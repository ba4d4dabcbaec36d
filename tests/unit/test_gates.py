"""core.gates and core.access: why work waits, and who may do what."""

from __future__ import annotations

import msgspec
import pytest

from server.core import access, gates
from server.core.gates import Verdict
from server.core.model import Gate, Job, Principal


def gate(kind: str, agent_id: str = "") -> Gate:
    return Gate(kind=kind, agent_id=agent_id, set_by="ann", set_at_us=1)


def job(name: str, held: bool = False) -> Job:
    given = {field.name: 0 for field in msgspec.structs.fields(Job) if field.required}
    return Job(**given | {"name": name, "held": held})  # type: ignore[arg-type]  # nothing else of it is read


def test_the_gate_of_a_tenant_concerns_what_is_of_it_alone() -> None:
    """UIP-8: whose a run is, the name of its job says; a gate of all goes before one of the tenant."""
    of_acme = gates.of_tenant("acme", "maintenance_suspended")
    standing = [gate(of_acme), gate("queue_locked", "a")]
    assert gates.reason(standing, "a", job("acme:backup")) == "maintenance"
    assert gates.reason(standing, "b", job("acme:backup")) == "maintenance"
    assert gates.reason(standing, "a", job("backup")) == "queue locked"
    assert gates.reason(standing, "b", job("bravo:backup")) is None
    assert gates.on_occurrence([of_acme], "acme") == (Verdict.MISS, "maintenance")
    assert gates.on_occurrence([of_acme], "bravo") == gates.on_occurrence([of_acme]) == (Verdict.START, "")
    assert gates.holds([of_acme], "acme") == "maintenance"
    assert gates.holds([of_acme], "") == ""
    both = gates.standing([gate("maintenance"), gate("acme:maintenance")], "a", "acme")
    assert [found.kind for found in both.values()] == ["maintenance"]


def test_an_agent_that_cannot_tell_tenants_apart_is_told_of_none() -> None:
    """It would stop everybody, or say that it obeys and not do it."""
    kinds = ["queue_locked", "acme:maintenance"]
    assert gates.for_protocol(kinds, 3) == ("queue_locked", "acme:maintenance")
    assert gates.for_protocol(kinds, 2) == gates.for_protocol(kinds, 1) == ("queue_locked",)


def test_no_gate_no_reason() -> None:
    """Nothing in force: work starts."""
    assert gates.reason([], "a") is None


def test_a_lock_of_one_agent_stops_that_one_only() -> None:
    """SKY-2: the lock of one agent's queue lets the others go on."""
    standing = [gate("queue_locked", "a")]
    assert gates.reason(standing, "a") == "queue locked"
    assert gates.reason(standing, "b") is None


def test_host_wide_gates_stop_everybody() -> None:
    """A stopped scheduler and a host-wide lock concern every agent."""
    assert gates.reason([gate("scheduler_stopped")], "b") == "scheduler stopped"
    assert gates.reason([gate("queue_locked")], "b") == "queue locked"


def test_hold_comes_last() -> None:
    """A held job waits for its release when no gate is in force."""
    held = job("backup", held=True)
    assert gates.reason([], "a", held) == "job held"
    assert gates.reason([gate("queue_locked")], "a", held) == "queue locked"


@pytest.mark.parametrize(
    ("kinds", "verdict", "why"),
    [
        ([], Verdict.START, ""),
        (["queue_locked"], Verdict.WAIT, "queue locked"),
        (["scheduler_stopped"], Verdict.MISS, "scheduler stopped"),
        (["queue_locked", "scheduler_stopped"], Verdict.MISS, "scheduler stopped"),
        (["swap"], Verdict.WAIT, "swap"),
    ],
)
def test_a_due_instant_under_gates(kinds: list[str], verdict: Verdict, why: str) -> None:
    """SKY-3: a stopped scheduler makes it missed, also while locked; a lock alone lets it wait."""
    assert gates.on_occurrence(kinds) == (verdict, why)


def test_roles() -> None:
    """Auditors read and change nothing; users start runs; operators lock; administrators do everything."""
    assert access.may(Principal("somebody", "auditor"), "audit.read")
    assert not access.may(Principal("somebody", "auditor"), "runs.start")
    assert access.may(Principal("somebody", "user"), "runs.start")
    assert not access.may(Principal("somebody", "user"), "gates.change")
    assert access.may(Principal("somebody", "operator"), "gates.change")
    assert not access.may(Principal("somebody", "operator"), "users.manage")
    assert all(access.may(Principal("somebody", "administrator"), permission) for permission in access.PERMISSIONS)
    assert not access.may(Principal("somebody", "stranger"), "read")


@pytest.mark.parametrize(
    ("kinds", "verdict", "why"),
    [
        (["draining"], Verdict.WAIT, "agent draining"),
        (["maintenance"], Verdict.WAIT, "maintenance"),
        (["maintenance_suspended"], Verdict.MISS, "maintenance"),
        (["draining", "queue_locked"], Verdict.WAIT, "agent draining"),
        (["draining", "scheduler_stopped"], Verdict.MISS, "scheduler stopped"),
        (["maintenance", "draining", "queue_locked"], Verdict.WAIT, "maintenance"),
    ],
)
def test_gates_add_up_to_one_reason(kinds: list[str], verdict: Verdict, why: str) -> None:
    """Several gates, one verdict and one reason; the order in which they were set does not matter."""
    for order in (kinds, kinds[::-1]):
        assert gates.on_occurrence(order) == (verdict, why)


def test_what_was_given_before_goes_on_under_a_stop_but_waits_in_maintenance() -> None:
    """A stopped scheduler submits nothing more; a suspended maintenance also holds what was given."""
    assert gates.holds(["scheduler_stopped"]) == ""
    assert gates.holds(["maintenance_suspended"]) == "maintenance"


def test_the_gate_that_people_are_told_of() -> None:
    """Of several that stop an agent one is named, with who set it; a drain of another agent is none of its own."""
    found = [gate("queue_locked"), gate("draining", "a")]
    told = gates.in_the_way(found, "a")
    assert told is not None
    assert (told.kind, told.set_by) == ("draining", "ann")
    other = gates.in_the_way(found, "b")
    assert other is not None
    assert other.kind == "queue_locked"


def test_who_may_be_chosen() -> None:
    """A group gives nothing to a member that drains, is in maintenance, is locked, or is being stopped."""
    assert gates.takes_runs([], "a")
    for kind in ("draining", "maintenance", "maintenance_suspended", "queue_locked"):
        assert not gates.takes_runs([gate(kind, "a")], "a")
        assert gates.takes_runs([gate(kind, "a")], "b")
    assert not gates.takes_runs([], "a", stopping={"a"})


def test_people_of_a_tenant_never_have_what_concerns_the_host() -> None:
    """A tenant's administrator manages its people and no machine, gate of the host or swap (UIP-8)."""
    theirs = Principal("somebody", "administrator", tenant="acme")
    assert access.may(theirs, "users.manage")
    assert not any(access.may(theirs, permission) for permission in access.HOST_ONLY)


def test_granted_permissions_take_the_place_of_the_roles() -> None:
    """A role of the cluster's own or a scoped token has what it was granted, and nothing else (SKY-19)."""
    scoped = Principal("somebody", "administrator", granted=frozenset({"runs.start"}))
    assert access.may(scoped, "runs.start")
    assert not access.may(scoped, "jobs.change")
