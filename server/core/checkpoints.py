"""How a run goes on that did not come to its end: from a checkpoint, anew, or as a person decides (SMA-2). Pure."""

from __future__ import annotations

from enum import StrEnum

import msgspec

WATCHER = "checkpoints"
"""Its name among those who watch a job's runs."""
KEPT_MAX = 100
TRIES_MAX = 3
"""By itself a run goes on from one checkpoint so often: what ends its machine each time would do so for ever."""


class CheckpointRule(msgspec.Struct, frozen=True, kw_only=True):
    """What people say of a job's checkpoints. `keep`: the latest so many of a run. `restartable`: an interrupted run
    without a checkpoint begins anew by itself.
    """

    keep: int = 5
    restartable: bool = False


def wrong_checkpoints(rule: CheckpointRule) -> dict[str, str]:
    """What is not right, by field; empty when all is."""
    if not 1 <= rule.keep <= KEPT_MAX:
        return {"checkpoints.keep": f"must be from 1 to {KEPT_MAX}"}
    return {}


class Way(StrEnum):
    """How an interrupted run goes on."""

    RESUME = "resume"
    RESTART = "restart"
    DECISION = "decision"


def go_on(rule: CheckpointRule, has_checkpoint: bool, tries: int, was_to_stop: bool) -> tuple[Way, str]:
    """How, and for a person who must decide the reason why.

    `tries`: attempts so far that began where this one would. `was_to_stop`: somebody wanted it suspended.
    """
    if was_to_stop:
        return Way.DECISION, "it was to be suspended"
    if tries >= TRIES_MAX:
        where = "from the same checkpoint" if has_checkpoint else "from the beginning"
        return Way.DECISION, f"{tries} attempts {where} were interrupted"
    if has_checkpoint:
        return Way.RESUME, ""
    if rule.restartable:
        return Way.RESTART, ""
    return Way.DECISION, "it has no checkpoint and its job is not restartable"
