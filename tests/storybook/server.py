"""The server's own pages: replication, swaps, properties, people, ledgers, the standby, sign-in and errors."""

from __future__ import annotations

import msgspec

from replication.core.schema import cannot_open
from server.core.audit_chain import NOTHING, Chain
from server.core.model import AuditEntry, Gate, NodeRow, Step, Swap, SystemMessage
from server.core.people import User
from server.core.swap_plan import (
    AGENTS,
    BACKLOG,
    HAND_OFF,
    LOCK,
    PREFLIGHT,
    PROMOTE,
    REJOIN,
    RESTORE,
    SIGN_OUT,
    Reason,
    SwapCheck,
)
from server.storage.sessions import SignedIn
from server.web.pages.ledgers import AuditPage, MessagesPage
from server.web.pages.nodes import PropertiesPage, replication_from
from server.web.pages.people import UsersPage, page_from
from server.web.pages.problems import page_from as problem_from
from server.web.pages.sign_in import SignInPage
from server.web.pages.swap import SwapPage, SwapReportPage, view
from server.web.pages.swap import page_from as swap_from
from tests.storybook.fixture import (
    CLUSTER,
    DAY_US,
    FORKS,
    HEALTHY_FLOW,
    HOUR_US,
    LOCKED,
    MASTER,
    MINUTE_US,
    NOW_US,
    SECOND_US,
    STANDBY,
    STOPPED,
    Story,
    catching_up,
    changed,
    frame,
    lost,
    peer,
    proof,
    proven,
    slot_lost,
    status,
)
from tests.storybook.standby import standby_frame
from tests.storybook.witnesses import ALONE, CHANGING, LOST, witnesses

WHOLE = Chain(
    anchor_id=120, anchor_hash=NOTHING, head_id=4_211, head_hash=NOTHING, removed=120, removed_at_us=NOW_US - DAY_US,
    verified_id=4_190, verified_at_us=NOW_US - 3 * HOUR_US, verified_by="system",
)  # fmt: skip
CHANGED = "Entry 4,002 (2026-10-24 02:11:09 UTC, jobs.update by operator) was changed after it was written."


def changed_chain(name: str, value: object) -> Chain:
    """The chain with one thing else."""
    return msgspec.structs.replace(WHOLE, **{name: value})


ROSTER = [
    NodeRow(
        id=MASTER,
        name="north",
        address="10.20.0.11",
        web_port=8008,
        cluster_port=8009,
        enrolled_at_us=NOW_US - 80 * DAY_US,
    ),
    NodeRow(
        id=STANDBY,
        name="south",
        address="10.20.0.12",
        web_port=8008,
        cluster_port=8009,
        enrolled_at_us=NOW_US - 80 * DAY_US,
    ),
]
FINGERPRINT = "5c1f9e0a7d34b2c8e6f1a09d7b53c4e2810fa96d3e7b5c2190d4f8a6b37e1c05"

DONE = (
    (PREFLIGHT, "In sync, checksums equal, clocks 0.02 s apart, 81 GB free.", 0.3),
    (SIGN_OUT, "3 users signed out; sign-in is for administrators until the end.", 0.1),
    (LOCK, "12 of 12 agents have locked their queue; what falls due waits and starts in order afterwards.", 0.8),
    (BACKLOG, "Both nodes hold request 184,244, checksum 9c4177e052abd318; backlog 0.", 3.6),
    (HAND_OFF, "HANDOFF follows request 184,246, chain hash 5d90c2aa71b04e3f.", 0.2),
    (PROMOTE, "This node is master in epoch 8.", 0.4),
    (REJOIN, "The old master streams: both nodes are at request 184,251, checksum 77e052abd3189c41.", 0.5),
    (AGENTS, "12 of 12 agents that were connected are back.", 1.1),
    (RESTORE, "Queues are locked or open as they were before the swap.", 0.1),
)


def steps(done: int, running: bool = False, undone: bool = False) -> list[Step]:
    """The steps of a swap of which `done` are done."""
    at_us = NOW_US - 8 * SECOND_US
    made = []
    for place, (name, said, took_s) in enumerate(DONE):
        ended_us = at_us + int(took_s * SECOND_US)
        if place < done:
            state = "undone" if undone and place >= 1 else "done"
            made.append(Step(name=name, state=state, started_at_us=at_us, ended_at_us=ended_us, proof=said))
        elif place == done and running:
            made.append(Step(name=name, state="running", started_at_us=at_us, proof="4 requests to go"))
        elif place == done and undone:
            made.append(
                Step(name=name, state="failed", started_at_us=at_us, ended_at_us=ended_us, proof="aborted by admin")
            )
        else:
            made.append(Step(name=name))
        at_us = ended_us
    return made


def swap(number: int, state: str, found: list[Step], ago_us: int = 8 * SECOND_US, **more: object) -> Swap:
    """A swap from north to south."""
    ended_us = None if state == "running" else NOW_US - ago_us + 8 * SECOND_US
    base = Swap(
        id=number,
        requested_by="admin",
        requested_at_us=NOW_US - ago_us,
        kind="planned",
        from_node=MASTER,
        to_node=STANDBY,
        state=state,
        prior_gates=[],
        steps=found,
        accepted=[],
        abort_requested_by="",
        ended_at_us=ended_us,
        report="",
    )
    values = {name: getattr(base, name) for name in base.__struct_fields__}
    return Swap(**values | more)


SAFE = SwapCheck(
    True,
    "south",
    list(
        Reason(True, text)
        for text in (
            "south is in sync: File Replication Requests 0",
            "Both nodes have the checksum 9c4177e052abd318 at request 184,220",
            "12 of 12 agents are connected and will acknowledge",
            "The clocks are 0.02 s apart",
            "South has 81 GB free",
        )
    ),
)
UNSAFE = SwapCheck(
    False,
    "south",
    [
        Reason(False, "south is catching up: 1,234 requests are not on it yet. Wait until it is in sync."),
        Reason(
            False, "warehouse does not answer: a run may still start there. Switch it on, or accept it by name.", True
        ),
        *SAFE.reasons[3:],
    ],
    "1,234 requests (11.5 MB) would be lost if north failed now.",
)
OLD = [swap(6, "done", steps(9), 17 * DAY_US), swap(5, "aborted", steps(3, undone=True), 80 * DAY_US)]


def _swap_page(rows: list[Swap], check: SwapCheck | None, **more: object) -> SwapPage:
    return swap_from(frame("Role Swap", "/swap", **more), rows, ROSTER, MASTER, check, "")


def swap_stories() -> list[Story]:
    """Before, in the middle, aborted, and the report."""
    names = {node.id: node.name for node in ROSTER}
    running = swap(7, "running", steps(3, running=True))
    late = swap(7, "running", steps(5, running=True))
    prior = [Gate(kind="queue_locked", set_by="operator", set_at_us=NOW_US - HOUR_US)]
    report = "Nothing was lost and nothing ran twice. Changes were refused for 1.2 s. 2 runs went on throughout."
    done = swap(7, "done", steps(9), prior_gates=prior, report=report)
    aborted = swap(7, "aborted", steps(3, undone=True), abort_requested_by="admin")
    return [
        Story("swap-safe", _swap_page(OLD, SAFE)),
        Story("swap-not-safe", _swap_page(OLD, UNSAFE)),
        Story(
            "swap-old-release",
            _swap_page(OLD, SwapCheck(False, "south", [Reason(False, cannot_open("0.1.0", 1, 3)), *SAFE.reasons[2:]])),
        ),
        Story("swap-first", _swap_page([], SAFE)),
        Story(
            "swap-running",
            changed(_swap_page([running, *OLD], None, gates=(STOPPED, LOCKED)), waiting_agents=("dock-2",)),
        ),
        Story("swap-late", _swap_page([late, *OLD], None)),
        Story("swap-report", SwapReportPage(frame("Swap 7", "/swap"), view(done, names))),
        Story("swap-aborted", SwapReportPage(frame("Swap 7", "/swap"), view(aborted, names))),
    ]


def node_stories() -> list[Story]:
    """Replication and Server Properties."""
    behind, flow = catching_up()
    alone, silent = lost(True)
    sound = status(proof=proof(True), peers=(peer(**proven(proof(False))),))
    damaged = status(proof=proof(True, 4_711), peers=(peer(**proven(proof(False, 17, 18, 19, 20, 21, 22))),))
    why = cannot_open("0.1.0", 1, 3)
    old_release = changed(behind, peers=tuple(changed(one, cannot_take_over=why) for one in behind.peers))
    differs = status(peers=(peer(checksum=1),), forks=1)
    properties = PropertiesPage(
        frame("Server Properties", "/properties"),
        "10.20.0.11",
        8008,
        8009,
        MASTER,
        CLUSTER,
        "7",
        "strict",
        FINGERPRINT,
        "0.1.0",
        "/var/lib/understudy",
        f"master-to-standby --master 10.20.0.11 --port 8008 --fingerprint {FINGERPRINT}",
        tuple(ROSTER),
        frozenset({STANDBY}),
    )
    unplugged = changed(properties, connected=frozenset())
    at = frame("Replication", "/replication")
    return [
        Story("replication", replication_from(at, status(), HEALTHY_FLOW, ROSTER, witnesses("dock-1"))),
        Story("replication-catching-up", replication_from(at, behind, flow, ROSTER, CHANGING)),
        Story("replication-differs", replication_from(at, differs, HEALTHY_FLOW, ROSTER, LOST, FORKS)),
        Story(
            "replication-slot-lost",
            replication_from(at, changed(alone, slots=(slot_lost(),)), silent, ROSTER, witnesses()),
        ),
        Story("replication-alone", replication_from(at, alone, silent, ROSTER, ALONE)),
        Story("replication-proven", replication_from(at, sound, HEALTHY_FLOW, ROSTER, witnesses("dock-1"))),
        Story("replication-damaged", replication_from(at, damaged, HEALTHY_FLOW, ROSTER, witnesses("dock-1"), FORKS)),
        Story("replication-old-release", replication_from(at, old_release, flow, ROSTER, witnesses("dock-1"))),
        Story("properties", properties),
        Story("properties-lost", unplugged),
    ]


def _given(number: int, name: str, at_us: int) -> User:
    """Somebody who has an administrator's password still."""
    return User(id=number, name=name, password="", role="user", created_at_us=at_us, password_given_at_us=at_us)


def people_stories() -> list[Story]:
    """Sign-in, users and sessions."""
    nobody = frame("Sign in", "/login", user="", user_role="")
    users = [
        User(id=1, name="admin", password="", role="administrator", created_at_us=NOW_US - 80 * DAY_US),
        User(id=2, name="operator", password="", role="operator", created_at_us=NOW_US - 60 * DAY_US),
        User(
            id=3,
            name="night-shift",
            password="",
            role="user",
            created_at_us=NOW_US - 9 * DAY_US,
            disabled_at_us=NOW_US - DAY_US,
        ),
        _given(4, "new-colleague", NOW_US - 2 * DAY_US),
        _given(5, "never-came", NOW_US - 20 * DAY_US),
    ]
    firefox = "Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0"
    signed_in = [
        SignedIn(
            token_hash=f"{n:064x}",
            user_id=n,
            name=name,
            role="operator",
            tenant="",
            created_at_us=NOW_US - n * HOUR_US,
            expires_at_us=NOW_US + DAY_US,
            address=f"10.20.0.{40 + n}",
            user_agent=firefox,
            seen_at_us=NOW_US - n * 7 * MINUTE_US,
            must_change_password=False,
            proved_at_us=NOW_US - n * HOUR_US,
        )
        for n, name in enumerate(("admin", "operator", "operator"))
    ]
    at = frame("Users and Sessions", "/users")
    page = page_from(at, (users, signed_in, []), signed_in[0].token_hash)
    wrong = UsersPage(
        at.with_problem("A password has 10 to 200 characters."),
        page.users,
        page.sessions,
        {"name": "otto", "role": "operator"},
        {"password": "A password has 10 to 200 characters."},
    )
    return [
        Story("sign-in", SignInPage(nobody)),
        Story("sign-in-wrong", SignInPage(nobody, "/swap", "admin", "The name or the password is not right.")),
        Story("users", page),
        Story("users-wrong", wrong),
    ]


def ledger_stories() -> list[Story]:
    """Audit, system messages, Server History."""
    entries = tuple(
        AuditEntry(
            id=9 - n,
            at_us=NOW_US - n * MINUTE_US,
            who="admin",
            address="10.20.0.40",
            action=action,
            object=what,
            before=before,
            after=after,
            reason=reason,
        )
        for n, (action, what, before, after, reason) in enumerate(
            (
                ("gates.stop_scheduler", "all", "", "scheduler_stopped", "planned swap"),
                ("gates.lock_all", "all", "", "queue_locked", "planned swap"),
                ("jobs.update", "nightly-archive", '{"timeout_s":0}', '{"timeout_s":3600}', ""),
            )
        )
    )
    messages = (
        SystemMessage(
            id=2,
            at_us=NOW_US - 5 * MINUTE_US,
            severity="alarm",
            text="gatehouse runs twice under one identity. It is quarantined and starts nothing.",
        ),
        SystemMessage(
            id=1,
            at_us=NOW_US - DAY_US,
            severity="warning",
            text="The clock of dock-3 is 7.2 s off.",
            acknowledged_by="operator",
            acknowledged_at_us=NOW_US - HOUR_US,
        ),
    )
    return [
        Story("audit", AuditPage(frame("Audit", "/audit"), entries, WHOLE)),
        Story("audit-changed", AuditPage(frame("Audit", "/audit"), entries, changed_chain("problem", CHANGED))),
        Story("audit-unverified", AuditPage(frame("Audit", "/audit"), (), changed_chain("verified_at_us", None))),
        Story("messages", MessagesPage(frame("System Messages", "/messages"), messages, open=1)),
        Story(
            "messages-filtered", MessagesPage(frame("System Messages", "/messages"), (), severity="alarm", match="x")
        ),
        Story("messages-empty", MessagesPage(frame("System Messages", "/messages"), ())),
    ]


def problem_stories() -> list[Story]:
    """Each error page."""
    at = frame("Problem", "/jobs")
    elsewhere = standby_frame("This node is not master", path="/jobs")
    taking = "This node is taking office. Try again in a few seconds."
    return [
        Story(
            "problem-403",
            problem_from(at, 403, "operator has the role operator; this needs the role administrator.", "/jobs"),
        ),
        Story("problem-404", problem_from(at, 404, "There is no run 99999. See the list of runs.", "/runs/99999")),
        Story("problem-405", problem_from(at, 405, "GET is not possible on /banner/preview.", "/banner", True)),
        Story("problem-409", problem_from(at, 409, "This run has ended already.", "/runs/9121")),
        Story("problem-421", problem_from(elsewhere, 421, "This node is not master and takes no changes.", "/jobs")),
        Story("problem-503", problem_from(at, 503, taking, "/jobs")),
        Story("problem-500", problem_from(at, 500, "This is a defect. The node's log has the details.", "/jobs")),
    ]


def stories() -> list[Story]:
    """All of them."""
    return [
        *swap_stories(),
        *node_stories(),
        *people_stories(),
        *ledger_stories(),
        *problem_stories(),
    ]
