"""The messages of `agent_wire` that are about monitors. Sent only to a peer of protocol 2 or higher."""

from __future__ import annotations

import msgspec

from server.core.monitors import StandingMonitor


class GiveMonitor(msgspec.Struct, array_like=True, frozen=True, tag="monitor"):
    """Watch this; answered with `MonitorKept`. Events are numbered from `next_number` on, or higher."""

    monitor: StandingMonitor
    next_number: int = 1


class ReleaseMonitor(msgspec.Struct, array_like=True, frozen=True, tag="release_monitor"):
    """Watch it no more; answered with `MonitorKept`, also for one that was never received."""

    monitor_id: int
    version: int


class MonitorKept(msgspec.Struct, array_like=True, frozen=True, tag="monitor_kept"):
    """This version of the monitor is durable at the agent, or the monitor is durably gone from it."""

    monitor_id: int
    version: int
