"""Which agents are connected now: no row says it, the fleet knows it. Pages ask here, so that one place knows how."""

from __future__ import annotations

from dataclasses import dataclass

from server.site import Site


@dataclass(frozen=True, slots=True)
class Contact:
    """A connected agent, as of its last heartbeat. `skew_s` is its clock minus ours; `reports` are what its spool holds
    that is not replicated yet; `waiting` says why it starts nothing, or is empty. `start_alone` is what it has kept of
    that setting; `is_old`: it speaks a version that knows no settings."""

    skew_s: float | None = None
    reports: int = 0
    waiting: str = ""
    start_alone: bool = False
    is_old: bool = False


def contact(site: Site, agent_id: str) -> Contact | None:
    """The contact with an agent, or None while it is not connected."""
    fleet = site.office.fleet if site.office is not None else None
    if fleet is None or not fleet.is_active(agent_id):
        return None
    link = fleet.contact(agent_id)
    if link is None:
        return None
    return Contact(link.skew_us / 1e6, link.reports, link.waiting, link.start_alone, link.hello.protocol < 2)
