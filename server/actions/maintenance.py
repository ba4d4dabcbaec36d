"""Maintenance: one replicated state for the host, an agent, or a tenant (UIP-1 to UIP-10, CRY-1, CRY-2, CRY-6).

Permissions: maintenance.change; gates.change for that of an agent. Reading it: maintenance.read.

A start and an end change the session and the gates in one change, so that whatever node is in office finds both or
none. Runs that a policy ends are asked in batches, at the start and then by the scheduler (`go_on`): also those that an
agent reports later, and after any failover. The rule is `core.maintenance`.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from server.actions import agents as agent_actions
from server.actions import gates as gate_actions
from server.actions import runs as run_actions
from server.actions.change import Change, Transaction, record, require
from server.actions.gates import GateSummary
from server.core import maintenance as rule
from server.core.gates import MAINTENANCE, SUSPENDED, of_tenant, plain
from server.core.maintenance import AGENT, CRYOSPARC, HOST, TENANT, UIPATH, Next, Phase, Running, Session, Wish
from server.core.model import SYSTEM, Principal
from server.core.tenancy import tenant_of
from server.errors import Conflict, Invalid, NotFound
from server.storage import gates, maintenance, system_messages, tenants

BATCH = 200
"""How many runs one change asks to end."""
KINDS = (MAINTENANCE, SUSPENDED)
IDLE = msgspec.structs.replace(UIPATH, running=Running.FINISH)
"""Refused is what comes; what runs goes on to its end."""
BY = "maintenance"
"""Who ends a run that a policy ends."""
CLOSED = "the tenant is closed"
"""Why a closed tenant is Suspended."""


class Changed(msgspec.Struct, frozen=True):
    """What a start or an end came to: the session now, and whether it changed anything."""

    session: Session | None
    gates: GateSummary

    @property
    def changed(self) -> bool:
        """Whether this call changed anything."""
        return self.gates.changed


def start(wish: Wish, scope: str, by: Principal, now_us: int) -> Change[Changed]:
    """Begin a maintenance, or take an open one further; `scope` is "", `agent:NAME` or `tenant:NAME`.

    Invalid for what cannot be asked for, Conflict for what stands against it now, naming the runs (UIP-3, UIP-4).
    What is so already changes nothing.
    """
    _require(by, scope)
    found = rule.wrong(wish, now_us)
    if found:
        raise Invalid(" ".join(found.values()), fields=found)

    def change(transaction: Transaction) -> Changed:
        connection = transaction.connection
        place = find_place(connection, scope)
        session = maintenance.open_of(connection, scope)
        count = maintenance.count_busy(connection, place) if wish.phase == Phase.SUSPENDED else 0
        names = [f"run {run.number} ({run.job} on {run.agent})" for run in maintenance.busy(connection, place, 20)]
        why_not = rule.refusal(session, wish, names, count)
        if why_not:
            raise Conflict(why_not)
        return _begin(connection, session, wish, place, by, now_us)

    return change


def end(scope: str, by: Principal, now_us: int, reason: str = "", must_be: bool = False) -> Change[Changed]:
    """End the maintenance of a scope, whoever began it. What waits starts in order; of what was missed policies decide.

    Without one nothing changes, or with `must_be` it is a Conflict (UIP-5).
    """
    _require(by, scope)

    def change(transaction: Transaction) -> Changed:
        connection = transaction.connection
        place = find_place(connection, scope)
        session = maintenance.open_of(connection, scope)
        if session is None and must_be:
            raise Conflict("It is not in maintenance. Nothing is left to end.")
        if not tenants.is_open(connection, rule.tenant_of(scope)):
            name = rule.tenant_of(scope)
            raise Conflict(f"The tenant {name} is closed, so it stays Suspended: understudy tenant reopen {name}")
        changed = _end(connection, session, place, by, now_us, reason)
        return _changed(connection, maintenance.latest(connection, scope), changed)

    return change


def go_on(now_us: int) -> Change[int]:
    """Do what open sessions do by themselves: end runs, become Suspended, end; returns what was done."""

    def change(transaction: Transaction) -> int:
        connection = transaction.connection
        return sum(_go_on(connection, session, now_us) for session in maintenance.at_work(connection))

    return change


def suspend_closed(connection: sqlite3.Connection, tenant: str, by: Principal, now_us: int) -> None:
    """A tenant is closed: it is Suspended until it is opened again, and nothing ends that by itself (0139)."""
    place, session = (TENANT + tenant, ""), maintenance.open_of(connection, TENANT + tenant)
    wish = Wish(phase=Phase.SUSPENDED, policy=IDLE, force=True, reason=CLOSED)
    changed = _begin(connection, session, wish, place, by, now_us)
    assert changed.session is not None, "it was begun just now"
    timed = {"suspend_at_us": None, "suspend_when_idle": 0, "suspend_kill": 0, "end_at_us": None}
    maintenance.update(connection, changed.session.id, **timed)


def end_closed(connection: sqlite3.Connection, tenant: str, by: Principal, now_us: int) -> None:
    """A tenant is open again: its maintenance is over, whoever began it."""
    place, session = (TENANT + tenant, ""), maintenance.open_of(connection, TENANT + tenant)
    _end(connection, session, place, by, now_us, "the tenant is open again")


def has_work(connection: sqlite3.Connection, now_us: int) -> bool:
    """A query: would `go_on` do something?"""
    return any(_is_due(connection, session, now_us) for session in maintenance.at_work(connection))


def next_deadline_us(connection: sqlite3.Connection) -> int | None:
    """A query: when something is to be done by itself next, for a time."""
    deadlines = [session.deadline_us for session in maintenance.at_work(connection)]
    return min((at for at in deadlines if at is not None), default=None)


def is_idle(connection: sqlite3.Connection, session: Session) -> bool:
    """Whether nothing of the scope is at work, and nothing can begin any more where an agent answers."""
    if maintenance.count_busy(connection, place_of(session)):
        return False
    return not maintenance.unheard(connection, place_of(session))[0]


def adopt(connection: sqlite3.Connection, kind: str, agent_id: str, name: str, now_us: int, why: str) -> None:
    """A gate of maintenance was adopted from an agent: the session that was lost with it is made again.

    It drains, whichever phase it had, so that nobody is kept out by what nobody here began.
    """
    tenant = tenant_of(kind)
    scope = TENANT + tenant if tenant else AGENT + name if agent_id else HOST
    if plain(kind) in KINDS and maintenance.open_of(connection, scope) is None:
        policy = CRYOSPARC if plain(kind) == MAINTENANCE else IDLE
        wish = Wish(phase=Phase.DRAINING, policy=policy, reason=why)
        _insert(connection, wish, Next(Phase.DRAINING, policy), (scope, agent_id), SYSTEM, now_us)


def find_place(connection: sqlite3.Connection, scope: str) -> tuple[str, str]:
    """The scope with the id of its agent, "" for others; raises NotFound for one that there is not."""
    if scope.startswith(AGENT):
        return scope, agent_actions.find(connection, scope.removeprefix(AGENT)).id
    if scope.startswith(TENANT) and tenants.by_name(connection, rule.tenant_of(scope)) is None:
        raise NotFound(f"There is no tenant {rule.tenant_of(scope)}. See: understudy tenant list")
    if scope != HOST and not scope.startswith(TENANT):
        raise NotFound(f"There is no {scope} to be put into maintenance: write agent:NAME, tenant:NAME, or nothing.")
    return scope, ""


def place_of(session: Session) -> tuple[str, str]:
    """The scope with the id of its agent."""
    return session.scope, session.agent_id


def _require(by: Principal, scope: str) -> None:
    require(by, "gates.change" if scope.startswith(AGENT) else "maintenance.change")


def _begin(
    connection: sqlite3.Connection,
    session: Session | None,
    wish: Wish,
    place: tuple[str, str],
    by: Principal,
    now_us: int,
) -> Changed:
    step = rule.become(session, wish)
    before = Next(session.phase, session.policy) if session is not None else None
    timed = {} if session is not None and wish.keeps else _timed(wish)
    if session is None:
        session_id = _insert(connection, wish, step, place, by, now_us)
    else:
        session_id = session.id
        if step != before:
            _put(connection, session_id, step, by.name, now_us, wish.reason)
        if timed:
            maintenance.update(connection, session_id, **timed)
    is_set = _set_gate(connection, place, rule.gate_kind(step.phase, step.policy), by, now_us, wish.reason)
    fresh = maintenance.get(connection, session_id)
    assert fresh is not None
    changed = step != before or bool(timed) or is_set
    if changed:
        name = place[0] or "all"
        record(connection, by, now_us, "maintenance.start", name, before or "", [step, timed], wish.reason)
    stopped = _end_runs(connection, fresh, now_us)
    return _changed(connection, maintenance.get(connection, session_id), changed or stopped > 0)


def _timed(wish: Wish) -> dict[str, object]:
    """What the wish says of what is to happen by itself."""
    found: dict[str, object] = {}
    if wish.suspend_at_us is not None or wish.suspend_when_idle:
        found |= {"suspend_at_us": wish.suspend_at_us, "suspend_when_idle": int(wish.suspend_when_idle)}
        found |= {"suspend_kill": int(wish.suspend_kill)}
    if wish.end_at_us is not None:
        found["end_at_us"] = wish.end_at_us
    return found


def _insert(
    connection: sqlite3.Connection, wish: Wish, step: Next, place: tuple[str, str], by: Principal, now_us: int
) -> int:
    """A new session with the first rows of its log: what was before, and what it is."""
    session_id = maintenance.insert(
        connection,
        scope=place[0],
        agent_id=place[1],
        phase=str(Phase.NONE),
        running=str(step.policy.running),
        submissions=str(step.policy.submissions),
        pages=str(step.policy.pages),
        reason=wish.reason,
        started_at_us=now_us,
        started_by=by.name,
        **_timed(wish),
    )
    maintenance.add_log(connection, session_id, Next(Phase.NONE, step.policy), now_us, by.name, "")
    _put(connection, session_id, step, by.name, now_us, wish.reason)
    return session_id


def _put(connection: sqlite3.Connection, session_id: int, step: Next, by: str, now_us: int, reason: str) -> None:
    """A session becomes something else, and its log says so."""
    maintenance.update(
        connection,
        session_id,
        phase=str(step.phase),
        running=str(step.policy.running),
        submissions=str(step.policy.submissions),
        pages=str(step.policy.pages),
    )
    maintenance.add_log(connection, session_id, step, now_us, by, reason)


def _set_gate(
    connection: sqlite3.Connection, place: tuple[str, str], kind: str, by: Principal, now_us: int, reason: str
) -> bool:
    """Exactly the gate of `kind` stands for the scope; True when that was not so already."""
    whole = of_tenant(rule.tenant_of(place[0]), kind)
    is_set = gate_actions.put(connection, whole, place[1], by.name, now_us, reason)
    return bool(_lift(connection, place, [one for one in KINDS if one != kind], by, now_us, reason)) or is_set


def _lift(
    connection: sqlite3.Connection,
    place: tuple[str, str],
    kinds: Sequence[str],
    by: Principal,
    now_us: int,
    reason: str,
) -> int:
    tenant = rule.tenant_of(place[0])
    found = [gates.get(connection, of_tenant(tenant, kind), place[1]) for kind in kinds]
    present = [gate for gate in found if gate is not None]
    for gate in present:
        gate_actions.lift(connection, gate, by.name, now_us, reason)
    return len(present)


def _end(
    connection: sqlite3.Connection,
    session: Session | None,
    place: tuple[str, str],
    by: Principal,
    now_us: int,
    reason: str,
) -> bool:
    lifted = _lift(connection, place, KINDS, by, now_us, reason)
    if session is not None:
        maintenance.close(connection, session, by.name, now_us, reason)
    if lifted or session is not None:
        record(connection, by, now_us, "maintenance.end", place[0] or "all", session or "", "", reason)
    return bool(lifted) or session is not None


def _end_runs(connection: sqlite3.Connection, session: Session, now_us: int) -> int:
    """Ask the next runs to stop, or have them killed, as the policy says; returns how many."""
    if session.running is Running.FINISH:
        return 0
    kill = session.running is Running.KILL
    numbers = maintenance.to_end(connection, place_of(session), kill, BATCH)
    for number in numbers:
        run_actions.request_stop(connection, run_actions.find(connection, number), kill, BY, now_us)
        maintenance.add_ended(connection, session.id, number, kill, now_us)
    return len(numbers)


def _is_due(connection: sqlite3.Connection, session: Session, now_us: int) -> bool:
    if rule.is_to_end(session, now_us) or rule.is_to_suspend(session, False, now_us):
        return True
    if session.suspend_when_idle and rule.is_to_suspend(session, is_idle(connection, session), now_us):
        return True
    kill = session.running is Running.KILL
    return session.running is not Running.FINISH and bool(maintenance.to_end(connection, place_of(session), kill, 1))


def _go_on(connection: sqlite3.Connection, session: Session, now_us: int) -> int:
    """What one session does by itself now; 0 for nothing."""
    place = place_of(session)
    if rule.is_to_end(session, now_us):
        _end(connection, session, place, SYSTEM, now_us, "its time is over")
        _tell(connection, session, "has ended by itself: its time is over", now_us)
        return 1
    if rule.is_to_suspend(session, is_idle(connection, session), now_us):
        step = rule.suspended(session)
        why = "its time has come" if session.suspend_at_us is not None else "nothing runs any more"
        _put(connection, session.id, step, SYSTEM.name, now_us, why)
        _set_gate(connection, place, rule.gate_kind(step.phase, step.policy), SYSTEM, now_us, why)
        record(connection, SYSTEM, now_us, "maintenance.start", place[0] or "all", session, step, why)
        _tell(connection, session, f"is Suspended by itself: {why}", now_us)
        return 1
    return _end_runs(connection, session, now_us)


def _tell(connection: sqlite3.Connection, session: Session, what: str, now_us: int) -> None:
    whose = f" of {session.scope.partition(':')[2]}" if session.scope else ""
    system_messages.insert(connection, "info", f"The maintenance{whose} {what}.", now_us)


def _changed(connection: sqlite3.Connection, session: Session | None, changed: bool) -> Changed:
    return Changed(session, gate_actions.summarise(connection, changed))
