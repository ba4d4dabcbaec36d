"""What node and agent tell each other of checkpoints (SMA-1 to SMA-3), beside the report that carries one. Pure.

All of it is from protocol 2 on.
"""

from __future__ import annotations

import msgspec

CHECKPOINT_BYTES_MAX = 1 << 20
PROGRESS_TEXT_MAX = 200
SUSPENDED_CAUSE = "suspended"
"""What the end of a run says as its cause that stopped at a checkpoint because somebody asked for it."""


class Resume(msgspec.Struct, array_like=True, frozen=True):
    """The checkpoint from which a run goes on: its bytes, and the number from which the run's own are counted."""

    number: int
    data: bytes


class Suspend(msgspec.Struct, array_like=True, frozen=True, tag="suspend"):
    """End the run at its next checkpoint, or, with `wanted` false, let it go on. Again is the same."""

    key: str
    wanted: bool = True


class Progress(msgspec.Struct, array_like=True, frozen=True, tag="progress"):
    """How far a run says that it is: only the last one counts, and one that is lost is lost."""

    key: str
    percent: int
    text: str
    at_us: int
