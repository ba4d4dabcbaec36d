"""Which agents are connected now: no row says it, the fleet knows it. Pages ask here, so that one place knows how."""

from __future__ import annotations

from dataclasses import dataclass

from server.site import Site


@dataclass(frozen=True, slots=True)
class Contact:
    """A connected agent, as of its last heartbeat. `skew_s` is its clock minus ours; `reports` are what its spool holds
    that is not replicated yet; `waiting` says why it starts nothing, or is empty. `start_alone` is what it has kept of
    that setting; `is_old`: it speaks a version that knows no settings. Bytes: its memory, output, and both at most."""

    skew_s: float | None = None
    reports: int = 0
    waiting: str = ""
    start_alone: bool = False
    is_old: bool = False
    oldest_report_us: int = 0
    spool_bytes: int = 0
    output_bytes: int = 0
    spool_bytes_max: int = 0

    @property
    def spool_share(self) -> float:
        """Of what it may hold, how much it does: 0 to 1 and above."""
        return (self.spool_bytes + self.output_bytes) / self.spool_bytes_max if self.spool_bytes_max else 0.0


def contact(site: Site, agent_id: str) -> Contact | None:
    """The contact with an agent, or None while it is not connected."""
    fleet = site.office.fleet if site.office is not None else None
    if fleet is None or not fleet.is_active(agent_id):
        return None
    link = fleet.contact(agent_id)
    if link is None:
        return None
    beat = link.heartbeat
    return Contact(
        skew_s=link.skew_us / 1e6,
        reports=link.reports,
        waiting=link.waiting,
        start_alone=link.start_alone,
        is_old=link.hello.protocol < 2,
        oldest_report_us=beat.oldest_report_us,
        spool_bytes=beat.spool_bytes,
        output_bytes=beat.output_bytes,
        spool_bytes_max=beat.spool_bytes_max,
    )
