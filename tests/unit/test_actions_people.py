"""actions.users, sessions, agents, nodes, settings, outcomes: members, people and answers given once."""

from __future__ import annotations

import msgspec
import pytest

from server.actions import agents, gates, messages, nodes, outcomes, sessions, settings, swap, tokens, users, witnesses
from server.core.model import DAY_US, HOUR_US, SYSTEM, JoinToken, NodeRow, Principal
from server.errors import Conflict, Forbidden, Invalid, KeyReused, Unauthenticated
from server.storage import agents as agent_rows
from server.storage import jobs as job_rows
from server.storage import nodes as node_rows
from server.storage import orders as order_rows
from server.storage import outcomes as outcome_rows
from server.storage import runs as run_rows
from tests.unit.ledger import START_US, Ledger

PHC = "$argon2id$v=19$first"
ADMIN = Principal("root", "administrator", "192.0.2.9")


@pytest.fixture
def ledger() -> Ledger:
    made = Ledger()
    made.do(users.create("root", PHC, "administrator", SYSTEM, START_US))
    made.do(users.create("bob", PHC, "user", SYSTEM, START_US))
    return made


def sign_in(ledger: Ledger, name: str, token: str, now_us: int = START_US) -> None:
    ledger.do(sessions.create(name, PHC, token, Principal(name, "user", "192.0.2.1"), now_us, "browser"))


def test_a_session_ends_by_time_by_sign_out_and_by_password(ledger: Ledger) -> None:
    """A session is good until it expires, is ended, or the password is changed; the browser that changed it stays."""
    for token in ("one", "two", "three"):
        sign_in(ledger, "bob", token)
    who = sessions.authenticate(ledger.connection, "one", START_US + 1, "192.0.2.1")
    assert who == Principal("bob", "user", "192.0.2.1")
    assert sessions.authenticate(ledger.connection, "one", START_US + 12 * HOUR_US, "") is None
    assert ledger.do(sessions.end("one", Principal("bob", "user"), START_US))
    assert sessions.authenticate(ledger.connection, "one", START_US, "") is None
    new = "$argon2id$v=19$second"
    assert ledger.do(users.change_password("bob", new, Principal("bob", "user"), START_US, keep="two")) == 1
    assert sessions.authenticate(ledger.connection, "three", START_US, "") is None
    assert sessions.authenticate(ledger.connection, "two", START_US, "") is not None


def test_a_password_changed_while_it_was_checked_signs_nobody_in(ledger: Ledger) -> None:
    """The password is hashed outside of the writer: the change looks again at what it was checked against."""
    ledger.do(users.change_password("bob", "$argon2id$v=19$second", ADMIN, START_US))
    with pytest.raises(Unauthenticated):
        sign_in(ledger, "bob", "one")


def test_sign_out_all_keeps_who_asked(ledger: Ledger) -> None:
    """SKY-13: everybody is signed out but the session that asked."""
    for name, token in (("root", "one"), ("bob", "two"), ("bob", "three")):
        sign_in(ledger, name, token)
    assert ledger.do(sessions.end_all(ADMIN, START_US, keep="one")) == 2
    assert sessions.authenticate(ledger.connection, "one", START_US, "") is not None
    with pytest.raises(Forbidden):
        sessions.end_all(Principal("bob", "user"), START_US)


def test_only_administrators_sign_in_while_a_swap_runs(ledger: Ledger) -> None:
    """SKY-13: sign-in is closed to the others until the swap has ended."""
    opened = ledger.do(swap.begin("planned", "a", "b", ["lock"], [], ADMIN, START_US))
    with pytest.raises(Conflict, match="only administrators"):
        sign_in(ledger, "bob", "one")
    sign_in(ledger, "root", "two")
    ledger.do(swap.finish(opened.id, "done", "", ADMIN, START_US))
    sign_in(ledger, "bob", "one")


def test_the_last_administrator_stays(ledger: Ledger) -> None:
    """Nobody can lock everybody out: neither by role nor by closing the account."""
    with pytest.raises(Conflict, match="this is the last one"):
        ledger.do(users.disable("root", ADMIN, START_US))
    with pytest.raises(Conflict, match="this is the last one"):
        ledger.do(users.update_role("root", "user", ADMIN, START_US))


def test_a_closed_account_opens_nothing(ledger: Ledger) -> None:
    """Disabling ends sessions and tokens for good: opened again, the account has neither."""
    sign_in(ledger, "bob", "one")
    bob = Principal("bob", "user")
    ledger.do(tokens.create("bob", "script", "hash", None, bob, START_US))
    bearer = tokens.authenticate(ledger.connection, "hash", START_US, "")
    assert bearer is not None
    assert bearer.principal == bob
    ledger.do(users.disable("bob", ADMIN, START_US))
    for _ in range(2):
        assert tokens.authenticate(ledger.connection, "hash", START_US, "") is None
        assert sessions.authenticate(ledger.connection, "one", START_US, "") is None
        ledger.do(users.enable("bob", ADMIN, START_US))


def test_tokens_expire_and_belong_to_somebody(ledger: Ledger) -> None:
    """A token ends at its time; nobody but an administrator makes one for another."""
    ledger.do(tokens.create("bob", "script", "hash", START_US + 10, ADMIN, START_US))
    assert tokens.authenticate(ledger.connection, "hash", START_US + 9, "") is not None
    assert tokens.authenticate(ledger.connection, "hash", START_US + 10, "") is None
    with pytest.raises(Forbidden):
        tokens.create("root", "mine", "other", None, Principal("bob", "user"), START_US)


def token(name: str, expires_at_us: int = START_US + DAY_US) -> JoinToken:
    return JoinToken(
        id=f"id-{name}",
        secret_hash="right",
        name=name,
        created_by="root",
        created_at_us=START_US,
        expires_at_us=expires_at_us,
    )


def test_a_join_token_is_good_once_and_for_a_while(ledger: Ledger) -> None:
    """Wrong secret, second use and expiry are refused, each saying to make a new one."""
    ledger.do(agents.invite(token("north"), ADMIN, START_US))
    with pytest.raises(Forbidden, match="not known here"):
        ledger.do(agents.enrol("id-north", "wrong", "a" * 32, START_US))
    ledger.do(agents.enrol("id-north", "right", "a" * 32, START_US))
    with pytest.raises(Forbidden, match="used already"):
        ledger.do(agents.enrol("id-north", "right", "b" * 32, START_US))
    ledger.do(agents.invite(token("south", START_US + 5), ADMIN, START_US))
    with pytest.raises(Forbidden, match="has expired"):
        ledger.do(agents.enrol("id-south", "right", "b" * 32, START_US + 5))


def test_the_first_agent_is_the_witness(ledger: Ledger) -> None:
    """The first enrolled agent becomes the witness by itself; the second one does not."""
    assert ledger.add_agent("north").witness
    assert not ledger.add_agent("south").witness
    with pytest.raises(Conflict, match="witness"):
        ledger.do(agents.remove("north", ADMIN, START_US))
    ledger.do(witnesses.choose(["south"], ADMIN, START_US))
    ledger.do(agents.remove("north", ADMIN, START_US))


def test_a_replaced_agent_hands_over_its_jobs(ledger: Ledger) -> None:
    """SKY-20: the name and the jobs go to the new machine; what the old one had is unknown.

    The new one has no memory of grants, so it is no witness by itself.
    """
    old = ledger.add_agent("north")
    job = ledger.add_job()
    number = run_rows.insert(ledger.connection, "j1.rx.a1", job.id, old.id, "true", "running", START_US)
    ledger.do(agents.replace("north", token("any"), ADMIN, START_US))
    new = ledger.do(agents.enrol("id-any", "right", "b" * 32, START_US))
    assert (new.name, new.witness) == ("north", 0)
    moved = job_rows.get(ledger.connection, job.id)
    assert moved is not None
    assert moved.agent_id == new.id
    run = run_rows.get(ledger.connection, number)
    assert run is not None
    assert (run.state, run.reason) == ("unknown", "agent replaced")
    assert order_rows.of_agent(ledger.connection, old.id) == []


def test_quarantine_ends_by_a_person(ledger: Ledger) -> None:
    """BEY-4: a cloned agent stays out until it is accepted; its ticket is then forgotten."""
    agent = ledger.add_agent("north")
    agent_rows.update(
        ledger.connection, agent.id, ticket=9, ticket_confirmed=8, quarantined_at_us=START_US, quarantine_reason="twice"
    )
    ledger.do(agents.accept_restored("north", ADMIN, START_US))
    back = agent_rows.get(ledger.connection, agent.id)
    assert back is not None
    assert (back.quarantined_at_us, back.ticket) == (None, 0)
    with pytest.raises(Conflict, match="not quarantined"):
        ledger.do(agents.accept_restored("north", ADMIN, START_US))


def test_a_node_is_added_once_and_moved(ledger: Ledger) -> None:
    """A node that says the same again changes nothing; another address is a change; a taken name is refused."""
    node = NodeRow(
        id="a" * 32, name="left", address="127.0.0.1", web_port=8008, cluster_port=8009, enrolled_at_us=START_US
    )
    assert ledger.do(nodes.put(node, SYSTEM, START_US))
    assert not ledger.do(nodes.put(node, SYSTEM, START_US + 5))
    assert ledger.do(nodes.put(msgspec.structs.replace(node, address="127.0.0.2"), SYSTEM, START_US))
    with pytest.raises(Invalid, match="Choose another --name"):
        ledger.do(nodes.put(msgspec.structs.replace(node, id="b" * 32), SYSTEM, START_US))


def test_a_machine_set_up_anew_takes_the_place_of_the_old_one(ledger: Ledger) -> None:
    """SKY-6: the same name at the same place replaces the node whose directory is gone; removed names are free."""
    node = NodeRow(
        id="a" * 32, name="left", address="127.0.0.1", web_port=8008, cluster_port=8009, enrolled_at_us=START_US
    )
    ledger.do(nodes.put(node, SYSTEM, START_US))
    anew = msgspec.structs.replace(node, id="b" * 32)
    assert ledger.do(nodes.put(anew, SYSTEM, START_US + 5))
    assert node_rows.page(ledger.connection) == [anew]
    ledger.do(nodes.remove(anew.id, SYSTEM, START_US + 6))
    third = msgspec.structs.replace(node, id="c" * 32, address="127.0.0.2")
    assert ledger.do(nodes.put(third, SYSTEM, START_US + 7))
    assert node_rows.page(ledger.connection) == [third]


def test_settings_are_checked(ledger: Ledger) -> None:
    """A known setting takes whole numbers within its bounds."""
    assert ledger.do(settings.put("session_hours", "1", ADMIN, START_US)) == "12"
    with pytest.raises(Invalid, match="from 1 to 720"):
        settings.put("session_hours", "0", ADMIN, START_US)


def test_the_same_key_is_answered_once(ledger: Ledger) -> None:
    """The answer is kept in the change itself and given again; another body or person with the key is refused."""

    def lock(body: str, by: Principal = ADMIN) -> tuple[int, str]:
        change = gates.lock_all(by, START_US)
        return ledger.do(outcomes.once("key", by, body, 200, change, lambda s: {"changed": s.changed}, START_US))

    assert lock("body") == lock("body") == (200, '{"changed":true}')
    with pytest.raises(KeyReused):
        lock("another")
    with pytest.raises(Forbidden):
        lock("body", Principal("ann", "operator"))


def test_a_failed_change_keeps_no_answer(ledger: Ledger) -> None:
    """What raised may be tried again with the same key: nothing of it stays."""
    with pytest.raises(Conflict):
        ledger.do(outcomes.once("key", ADMIN, "b", 200, swap.request_abort(ADMIN, START_US), str, START_US))
    assert outcome_rows.get(ledger.connection, "key") is None


def test_answers_are_kept_seven_days(ledger: Ledger) -> None:
    """Pruning forgets what is older than 7 days and nothing else."""
    for key, at_us in (("old", START_US - 8 * DAY_US), ("new", START_US)):
        ledger.do(outcomes.once(key, ADMIN, "b", 200, gates.lock_all(ADMIN, at_us), lambda s: s.changed, at_us))
    assert ledger.do(outcomes.prune(START_US)) == 1
    assert outcome_rows.get(ledger.connection, "new") is not None


def test_a_message_is_said_once_until_it_is_acknowledged(ledger: Ledger) -> None:
    """The same text twice is one open message; after somebody has read it, it may be said again."""
    first = ledger.do(messages.add("alarm", "the disk is full", START_US))
    assert ledger.do(messages.add("alarm", "the disk is full", START_US)) == first
    ledger.do(messages.acknowledge(first, ADMIN, START_US))
    assert ledger.do(messages.add("alarm", "the disk is full", START_US)) != first
