"""Ending the process when a broken invariant makes going on unsafe: with a standby behind it, stopping is safe."""

from __future__ import annotations

import os
import sys

EXIT_BROKEN = 70


def end_process(error: BaseException) -> None:
    """Say why in one line and end at once, without flushing anything: the next start redoes from the journal."""
    sys.stderr.write(f"understudy stops: {error or type(error).__name__}\n")
    sys.stderr.flush()
    os._exit(EXIT_BROKEN)
