"""What one agent is, in one badge and one sentence: the same in the list and on its page. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from server.core.gates import MAINTENANCE, SUSPENDED
from server.storage.overview import AgentLine

QUIET = frozenset({"dead", "quarantined", "silent", "never"})
"""States in which it hears nothing, or may not act on it."""

_PLAIN = {
    "dead": (
        "Its machine was declared dead. What falls due for its jobs is missed; switched on again it starts nothing.",
        "Give its jobs to another agent. For a new machine under this name type",
    ),
    "never": ("It is enrolled and has never connected.", "Start the agent on its machine."),
    "asked": (
        "It is to be drained, and has not said yet that it heard of it.",
        "No new run is given to it. If this stays so, look at the agent's log on its machine.",
    ),
    "draining": (
        "It takes no new runs. What runs may go on until the time of the drain is over, then it is ended.",
        "Wait until it is drained, or take runs again.",
    ),
    "drained": (
        "Its drain is over and it takes no runs: its machine may be worked on.",
        "Take runs again when the work is done.",
    ),
    "stopping": (
        "Its program or its machine is being stopped. It takes no new runs.",
        "Nothing: it takes runs again by itself when it is started.",
    ),
    "maintenance": (
        "Maintenance is on. It starts nothing; what falls due waits.",
        "Runs start in order when the maintenance ends.",
    ),
    "suspended": (
        "Maintenance is on. It starts nothing; what falls due is missed, and listed on Job Scheduler.",
        "Look through what was missed when the maintenance ends.",
    ),
    "former": (
        "It answers. The machine that had this name before has not given all its work back; that starts nowhere yet.",
        "See The machine before, below.",
    ),
    "undeployed": (
        "It answers. It serves no group and has no standing orders, so nothing starts on it by itself.",
        "Add it to a group on Groups, or give it a job.",
    ),
}
_QUEUE = {
    "locked": (
        "It answers. Its queue is locked: no new run starts, what runs goes on.",
        "Unlock it when runs may start.",
    ),
    "locking": (
        "It answers. It has not acknowledged yet that its queue is locked: a run may still start.",
        "Wait a moment. If it stays so, look at the agent's log on its machine.",
    ),
    "unlocking": (
        "It answers. It has not acknowledged yet that its queue is open: runs may still wait.",
        "Wait a moment. If it stays so, look at the agent's log on its machine.",
    ),
}


@dataclass(frozen=True, slots=True)
class Advice:
    """What a state means and what to do next; `command` is what to type for it, or empty."""

    means: str
    next: str = ""
    command: str = ""


def agent_state(line: AgentLine, connected: bool, waiting: str = "", deployed: bool = True) -> str:
    """The most important thing that is true of an agent: a key of `states.AGENTS`.

    `waiting` is what it said itself of why it starts nothing; `deployed` is False when there are groups and it serves
    none. Dead comes first, then what makes it unreachable, then what keeps it from starting runs.
    """
    found = (
        ("dead", line.dead_at_us is not None),
        ("quarantined", line.quarantined_at_us is not None),
        ("never", not connected and not line.ticket),
        ("silent", not connected),
        (_drain(line), bool(_drain(line))),
        ("suspended", line.maintenance == SUSPENDED),
        ("maintenance", line.maintenance == MAINTENANCE),
        ("waiting", bool(waiting)),
        ("former", line.awaits_former),
        ("undeployed", not deployed and line.autonomous_until_us is None),
    )
    return next((state for state, is_so in found if is_so), "active")


def since_us(line: AgentLine, state: str) -> int | None:
    """Since when it is dead, quarantined or silent, where a row says so."""
    known = {"dead": line.dead_at_us, "quarantined": line.quarantined_at_us, "silent": line.silent_since_us}
    return known.get(state)


def advice(line: AgentLine, state: str, queue: str, waiting: str = "", gated: bool = False) -> Advice:
    """What `state` means. `queue` is a key of `states.QUEUES`; `gated`: something stops all agents, as the page says
    above."""
    if state == "quarantined":
        return _quarantined(line)
    if state == "silent":
        return _silent(line)
    if state == "waiting":
        return Advice(
            f"It answers and starts nothing: {waiting.rstrip('.')}.",
            "When that is over it starts by itself. What waits for it starts in order.",
        )
    if state == "dead":
        return Advice(*_PLAIN[state], f"understudy agent replace {line.name}")
    if state in _PLAIN:
        return Advice(*_PLAIN[state])
    if queue in _QUEUE:
        return Advice(*_QUEUE[queue])
    return Advice("It answers. What stops all agents is said above." if gated else "It answers and takes runs.")


def _drain(line: AgentLine) -> str:
    origin, _, state = line.last_drain.partition(" ")
    if line.draining:
        return state if origin == "request" and state in ("draining", "drained") else "asked"
    return "stopping" if origin == "stop" and state in ("asked", "draining") else ""


def _quarantined(line: AgentLine) -> Advice:
    reason = line.quarantine_reason.rstrip(".")
    means = f"It starts nothing: {reason}." if reason else "It starts nothing."
    if "accept-restored" in reason:
        return Advice(means)
    return Advice(
        means,
        "If the machine was restored from a copy, accept it as restored. If it was replaced, type",
        f"understudy agent replace {line.name}",
    )


def _silent(line: AgentLine) -> Advice:
    if line.owes:
        means = (
            "No answer since a takeover that may have lost something. It may hold work that nobody here knows of;"
            " what it could have received is given to nobody until it answers or is declared dead."
        )
    elif line.autonomous_until_us:
        means = (
            "It does not answer, and may run its jobs all the same by its standing orders."
            " What falls due meanwhile is unknown, not missed, and nobody else runs it."
        )
    else:
        means = "It does not answer. It has no standing orders: it starts nothing new by itself."
    return Advice(means, "Check the machine and its network. It reports by itself when it is back.")
