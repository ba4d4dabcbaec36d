"""Runs that saved checkpoints: suspended, and interrupted so that somebody must decide."""

from __future__ import annotations

import dataclasses

from server.storage.checkpoints import Checkpoint, ProgressRow
from server.web.pages.run_checkpoints import Earlier, RunCheckpoints
from server.web.pages.runs import RunPage, moments
from tests.storybook.fixture import MINUTE_US, NOW_US, Story
from tests.storybook.work import OUTPUT, run_page


def _saved(state: str, **more: object) -> RunPage:
    """A run that saved checkpoints, one of them in an earlier attempt."""
    page = run_page(state, OUTPUT, started_s=84, output_bytes=len(OUTPUT), **more)
    kept = [(7, 9121, 61_000), (6, 9121, 61_200), (5, 9100, 60_400)]
    found = [
        Checkpoint(
            run=number,
            number=n,
            at_us=NOW_US - (8 - n) * MINUTE_US,
            kept_at_us=NOW_US - (8 - n) * MINUTE_US,
            bytes=size,
            sha256="9f86d081884c7d659a2feaa0c55ad015",
        )
        for n, number, size in kept
    ]
    saved = RunCheckpoints(
        found=tuple((one, "dock-1" if one.run == 9121 else "warehouse") for one in found),
        progress=ProgressRow(run=9121, percent=70, text="42 of 60 tapes", at_us=NOW_US - MINUTE_US),
        resumed_run=9100,
        resumed_checkpoint=5,
        suspend_requested_by="operator" if state == "suspended" else "",
        suspend_requested_at_us=NOW_US - 2 * MINUTE_US if state == "suspended" else None,
        suspended_at_us=NOW_US - MINUTE_US if state == "suspended" else None,
        may_resume=True,
        needs_decision=state == "interrupted",
    )
    earlier = (Earlier(9100, 1, "warehouse", "tape 1 of 60\n…\ntape 35 of 60\n", 0),)
    times = moments(page.run, saved)
    return dataclasses.replace(page, saved=saved, earlier=earlier, moments=times)


def stories() -> list[Story]:
    """Both."""
    gone = "its process is gone without an exit status"
    return [
        Story("run-suspended", _saved("suspended", reason="at checkpoint 7, asked by operator")),
        Story("run-undecided", _saved("interrupted", reason=gone, ended_s=60)),
    ]
