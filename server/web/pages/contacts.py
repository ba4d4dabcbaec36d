"""Which agents are connected now: no row says it, the fleet knows it. Pages ask here, so that one place knows how."""

from __future__ import annotations

from dataclasses import dataclass

from server.site import Site


@dataclass(frozen=True, slots=True)
class Contact:
    """A connected agent, as of its last heartbeat. `skew_s` is its clock minus ours; `reports` are what its spool holds
    that is not replicated yet; `waiting` says why it starts nothing, or is empty."""

    skew_s: float | None = None
    reports: int = 0
    waiting: str = ""


def contact(site: Site, agent_id: str) -> Contact | None:
    """The contact with an agent, or None while it is not connected."""
    fleet = site.office.fleet if site.office is not None else None
    if fleet is None or not fleet.is_active(agent_id):
        return None
    link = fleet.contact(agent_id)
    return Contact(link.skew_us / 1e6, link.reports, link.waiting) if link is not None else None
