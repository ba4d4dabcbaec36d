"""Whom an agent obeys, when it trusts its clock, and which connection a master takes for the agent itself. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from replication.core.types import NO_EPOCH, Epoch

DRIFT_US = 60_000_000
HIGHEST_STEP_US = 30_000_000
"""The highest wall time seen is made durable in steps of this size: a saved value may be that much behind."""


@dataclass(frozen=True, slots=True)
class Moment:
    """The two clocks of one machine, read together: `wall_us` UTC, `boot_us` since its boot, suspend included."""

    wall_us: int
    boot_us: int

    @property
    def offset_us(self) -> int:
        """Changes only when somebody, or drift, moves the wall clock."""
        return self.wall_us - self.boot_us


def obeys(highest: Epoch, offered: Epoch) -> bool:
    """BEY-4: a higher number, or the very epoch that is already obeyed. Never the same number from another node."""
    return offered.number > highest.number or (offered == highest and offered != NO_EPOCH)


def ticket_fits(given: int, confirmed: int, shown: int) -> bool:
    """What a returning agent may show: the last ticket given, its predecessor if that was never confirmed, or a newer.

    A newer one is possible when this master lost the last acknowledgements of one that wrote alone.
    """
    return shown >= given or (given > confirmed and shown == confirmed)


def distrusted_clock(now: Moment, highest_us: int, offset_us: int | None, skew_us: int) -> str:
    """Why the agent may not go by its wall clock, as a sentence that names what to do; "" when it may."""
    if abs(skew_us) > DRIFT_US:
        skew_s = skew_us / 1e6
        return f"The clock differs from the master's by {skew_s:+.0f} s: set the wrong one (timedatectl set-ntp true)."
    if now.wall_us < highest_us:
        behind = (highest_us - now.wall_us) / 1e6
        return f"The clock is {behind:.0f} s behind a time already seen: set it (timedatectl set-ntp true)."
    if offset_us is not None and abs(now.offset_us - offset_us) > DRIFT_US:
        moved = (now.offset_us - offset_us) / 1e6
        return f"The clock was moved by {moved:+.0f} s since the last contact: set it (timedatectl set-ntp true)."
    return ""
