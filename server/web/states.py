"""Every state that a page shows, as a word, an icon and a tone. Never a colour alone; one place for the wording."""

from __future__ import annotations

from dataclasses import dataclass

OK, WARN, BAD, BUSY, IDLE = "ok", "warn", "bad", "busy", "idle"


@dataclass(frozen=True, slots=True)
class Badge:
    """A state as people see it. `tone` is one of ok, warn, bad, busy, idle; `icon` a symbol of the sprite."""

    word: str
    icon: str
    tone: str


RUNS = {
    "waiting": Badge("Waiting", "hourglass", WARN),
    "starting": Badge("Starting", "loader-circle", BUSY),
    "running": Badge("Running", "circle-play", BUSY),
    "succeeded": Badge("Succeeded", "circle-check", OK),
    "failed": Badge("Failed", "circle-x", BAD),
    "cancelled": Badge("Cancelled", "ban", IDLE),
    "killed": Badge("Killed", "skull", BAD),
    "interrupted": Badge("Interrupted", "unplug", BAD),
    "unknown": Badge("Unknown", "circle-question-mark", WARN),
    "suspending": Badge("Suspending", "circle-pause", WARN),
    "suspended": Badge("Suspended", "circle-pause", WARN),
    "resuming": Badge("Resuming", "loader-circle", BUSY),
    "missed": Badge("Missed", "skip-forward", WARN),
    "skipped": Badge("Skipped", "skip-forward", IDLE),
}

WORKFLOWS = {
    "running": Badge("Running", "circle-play", BUSY),
    "deciding": Badge("Needs a decision", "circle-question-mark", WARN),
    "suspending": Badge("Suspending", "circle-pause", WARN),
    "suspended": Badge("Suspended", "circle-pause", WARN),
    "cancelling": Badge("Cancelling", "ban", WARN),
    "succeeded": Badge("Succeeded", "circle-check", OK),
    "failed": Badge("Failed", "circle-x", BAD),
    "cancelled": Badge("Cancelled", "ban", IDLE),
}
WORKFLOW_STEPS = {
    **RUNS,
    "open": Badge("Open", "loader-circle", BUSY),
    "lost": Badge("Interrupted", "unplug", BAD),
    "again": Badge("Runs again", "rotate-ccw", BUSY),
}
"""Of a step of a workflow's run: its own state, or that of its run where it says more."""

AGENTS = {
    "dead": Badge("Declared dead", "skull", BAD),
    "quarantined": Badge("Quarantined", "shield-alert", BAD),
    "never": Badge("Never seen", "circle-dashed", IDLE),
    "silent": Badge("Unreachable", "wifi-off", BAD),
    "asked": Badge("To be drained", "hourglass", WARN),
    "draining": Badge("Draining", "log-out", WARN),
    "drained": Badge("Drained", "circle-stop", WARN),
    "stopping": Badge("Being stopped", "log-out", WARN),
    "suspended": Badge("Maintenance", "settings", WARN),
    "maintenance": Badge("Maintenance", "settings", WARN),
    "waiting": Badge("Starts nothing", "hourglass", BAD),
    "former": Badge("Starts in part", "hourglass", WARN),
    "undeployed": Badge("Not deployed", "circle-dashed", IDLE),
    "active": Badge("Active", "circle-check", OK),
}
"""The most important first; `agent_states.agent_state` decides."""

MONITORS = {
    "watching": Badge("Watching", "eye", OK),
    "ready": Badge("Ready", "circle-check", OK),
    "waiting": Badge("Not confirmed", "hourglass", WARN),
    "disabled": Badge("Disabled", "circle-pause", IDLE),
    "problem": Badge("Cannot watch all", "circle-alert", BAD),
    "unknown": Badge("Agent too old", "circle-alert", BAD),
}

QUEUES = {
    "open": Badge("Open", "lock-open", OK),
    "locked": Badge("Locked", "lock", WARN),
    "locking": Badge("Lock not acknowledged", "hourglass", BAD),
    "unlocking": Badge("Unlock not acknowledged", "hourglass", WARN),
}
QUEUE_IDLE = Badge("Open", "lock-open", IDLE)
"""An open queue of an agent that takes no runs all the same: green would promise too much."""

WITNESSES = {
    "answers": Badge("Witness", "shield-check", OK),
    "silent": Badge("Witness, silent", "wifi-off", BAD),
    "lost": Badge("No witness any more", "shield-alert", BAD),
    "former": Badge("Former witness", "hourglass", WARN),
}
"""An agent with a seat among the witnesses."""

MAJORITY = {
    "all": Badge("Enough answer", "circle-check", OK),
    "enough": Badge("Not all answer", "triangle-alert", WARN),
    "few": Badge("No majority", "circle-x", BAD),
}

STEPS = {
    "waiting": Badge("To do", "circle-dashed", IDLE),
    "running": Badge("Now", "loader-circle", BUSY),
    "done": Badge("Done", "circle-check", OK),
    "failed": Badge("Failed", "circle-x", BAD),
    "undone": Badge("Undone", "rotate-ccw", WARN),
}

SWAPS = {
    "running": Badge("In progress", "loader-circle", BUSY),
    "done": Badge("Done", "circle-check", OK),
    "aborted": Badge("Aborted", "rotate-ccw", WARN),
    "failed": Badge("Failed", "circle-x", BAD),
}

AUTHORITIES = {
    "next": Badge("Next", "hourglass", BUSY),
    "current": Badge("Signs", "shield-check", OK),
    "former": Badge("Former, still trusted", "clock", WARN),
    "retired": Badge("Retired", "ban", IDLE),
}
"""An authority of the cluster."""

SEVERITIES = {
    "info": Badge("Information", "info", IDLE),
    "warning": Badge("Warning", "triangle-alert", WARN),
    "error": Badge("Error", "circle-x", BAD),
    "alarm": Badge("Alarm", "shield-alert", BAD),
}

SLOTS = {
    "streaming": Badge("Streaming", "circle-check", OK),
    "behind": Badge("Behind", "loader-circle", WARN),
    "stalled": Badge("Stalled", "triangle-alert", BAD),
    "copying": Badge("Copying", "loader-circle", BUSY),
    "absent": Badge("Absent", "unplug", WARN),
    "lost": Badge("Lost", "circle-x", BAD),
}
"""A standby's slot at its master. Keyed by every `SlotState`."""

STANDBY_ACTIVE = Badge("Active", "circle-check", OK)
STANDBY_CATCHING_UP = Badge("Catching up", "loader-circle", WARN)
STANDBY_DIFFERS = Badge("Differs", "circle-x", BAD)
STANDBY_DAMAGED = Badge("Damaged", "circle-x", BAD)
STANDBY_UNABLE = Badge("Cannot take over", "triangle-alert", WARN)
STANDBY_LOST = Badge("Lost", "unplug", BAD)
STANDBY_OBSERVES = Badge("Observer", "eye", BUSY)
STANDBY_NONE = Badge("None yet", "circle-dashed", WARN)

SCHEDULER_RUNNING = Badge("Running", "circle-play", OK)
SCHEDULER_STOPPED = Badge("Stopped", "circle-stop", BAD)


def badge(table: dict[str, Badge], state: str) -> Badge:
    """The badge of `state`; a word that this version does not know is shown as it is, never hidden."""
    return table.get(state) or Badge(state.replace("_", " ").capitalize(), "circle-question-mark", WARN)
