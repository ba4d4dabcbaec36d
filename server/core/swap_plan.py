"""The planned swap as a plan: its steps, and the verdict whether it would be safe now. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from replication.core.types import PeerStatus, State, Status
from server.core.notices import is_damaged

CLOCK_SKEW_MAX_S = 2.0
DISK_FREE_MIN_BYTES = 128 * 1024 * 1024

PREFLIGHT = "preflight"
SIGN_OUT = "sign out"
LOCK = "lock all queues"
BACKLOG = "backlog 0"
HAND_OFF = "hand off"
PROMOTE = "promote"
REJOIN = "old master rejoins"
AGENTS = "agents are back"
RESTORE = "restore locks"
STEPS = (PREFLIGHT, SIGN_OUT, LOCK, BACKLOG, HAND_OFF, PROMOTE, REJOIN, AGENTS, RESTORE)


class Reason(msgspec.Struct, frozen=True):
    """One line of the verdict. Not `ok` but `acceptable`: `--yes` accepts it by name."""

    ok: bool
    text: str
    acceptable: bool = False


class SwapCheck(msgspec.Struct, frozen=True):
    """Would a swap be safe now. `would_lose` is a sentence, "" when nothing would be lost."""

    safe: bool
    target: str
    reasons: list[Reason]
    would_lose: str = ""

    @property
    def accepted_by_yes(self) -> list[str]:
        """What `--yes` accepts."""
        return [reason.text for reason in self.reasons if not reason.ok and reason.acceptable]

    @property
    def refusals(self) -> list[str]:
        """What nothing accepts."""
        return [reason.text for reason in self.reasons if not reason.ok and not reason.acceptable]


class HandOffNote(msgspec.Struct, frozen=True):
    """What HANDOFF carries to the new master: the steps of the old side with their proofs, and who was connected."""

    swap: int
    steps: list[dict[str, object]]
    agents: list[str]


def check(
    status: Status,
    target: PeerStatus | None,
    target_name: str,
    silent_agents: Sequence[str],
    behind: Sequence[str] = (),
    keys: Sequence[Reason] = (),
) -> SwapCheck:
    """The preflight (design/replication, Planned swap, step 1). `silent_agents` are enrolled but not connected.

    `behind` are connected and have not acknowledged the gates in force: a run may still start there. `keys`: do both
    nodes open what is sealed.
    """
    if target is None or not target.connected:
        text = "The standby is not connected. Start it, or look at its page."
        return SwapCheck(False, target_name, [Reason(False, text)], _loss(status))
    if target.observer:
        text = f"{target_name} is an observer. Give it the seat first: understudy node seat {target_name}"
        return SwapCheck(False, target_name, [Reason(False, text)], _loss(status))
    reasons = [
        Reason(
            status.state is State.MASTER and status.in_sync,
            "The standby is in sync: everything acknowledged is durable there."
            if status.in_sync
            else "The standby is not in sync yet. Wait until Home says Active.",
        ),
        _checksum(status, target),
        *_damage(target),
        _clock(target),
        _disk(target),
        *_schema(status, target),
        *keys,
    ]
    if silent_agents:
        text = f"Not connected, so that the lock cannot be confirmed: {enumerate_names(silent_agents)}."
        reasons.append(Reason(False, text, acceptable=True))
    if behind:
        names = enumerate_names(behind)
        text = f"Connected, but without acknowledging the gates: {names}. See `understudy agent requests`."
        reasons.append(Reason(False, text, acceptable=True))
    if not silent_agents and not behind:
        reasons.append(Reason(True, "Every agent is connected and can confirm the lock."))
    safe = all(reason.ok for reason in reasons)
    return SwapCheck(safe, target_name, reasons, "" if status.in_sync else _loss(status))


def enumerate_names(names: Sequence[str]) -> str:
    """The first ten and how many more: for a sentence."""
    return ", ".join(names[:10]) + (f" and {len(names) - 10} more" if names[10:] else "")


def _checksum(status: Status, target: PeerStatus) -> Reason:
    behind = target.applied != status.position.sequence
    if behind or target.checksum is None:
        return Reason(True, "The checksum of the database is compared on every request; it is equal so far.")
    if target.checksum == status.checksum:
        return Reason(True, f"Both databases have checksum {status.checksum:016x} at request {target.applied}.")
    return Reason(False, f"The checksums differ at request {target.applied}. The standby compares itself anew; wait.")


def _damage(target: PeerStatus) -> list[Reason]:
    if not is_damaged(target):
        return []
    return [Reason(False, f"The standby's files are damaged: {target.proof_text}")]


def _clock(target: PeerStatus) -> Reason:
    skew_s = abs(target.clock_skew_s or 0.0)
    if skew_s <= CLOCK_SKEW_MAX_S:
        return Reason(True, f"The clocks agree within {max(skew_s, 0.001):.3f} s.")
    text = f"The clocks differ by {skew_s:.0f} s; more than {CLOCK_SKEW_MAX_S:.0f} s would start jobs early or late."
    return Reason(False, f"{text} Set the clock of the standby.", acceptable=True)


def _disk(target: PeerStatus) -> Reason:
    free = target.disk_free_bytes
    if free is None or free >= DISK_FREE_MIN_BYTES:
        return Reason(True, "The standby has room on its disk.")
    return Reason(False, f"The standby has only {free // 1_000_000} MB free. Free some disk space there.")


def _schema(status: Status, target: PeerStatus) -> list[Reason]:
    """Could each node open what the other leaves: the target now, this one what the target's release makes of it."""
    if target.cannot_take_over:
        return [Reason(False, target.cannot_take_over)]
    if status.schema and target.schema_latest > status.schema_max:
        text = (
            f"The standby's release {target.version} brings the database to schema {target.schema_latest}, and this "
            f"node's release opens up to {status.schema_max}: after the swap this node could not take over, and writes "
            "would wait for it. Install the standby's release here at once after the swap, or one in between before it."
        )
        return [Reason(False, text, acceptable=True)]
    return [Reason(True, "Each node's release opens what the other one's writes.")]


def _loss(status: Status) -> str:
    if status.backlog is None:
        return "Unknown: what the standby has not confirmed would be missing there."
    if status.backlog.requests == 0:
        return ""
    return f"{status.backlog.requests} requests ({status.backlog.bytes} bytes) are not at the standby yet."
