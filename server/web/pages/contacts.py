"""Which agents are connected now: no row says it, the fleet knows it. Pages ask here, so that one place knows how."""

from __future__ import annotations

from dataclasses import dataclass

from server.site import Site


@dataclass(frozen=True, slots=True)
class Contact:
    """A connected agent. `skew_s` is its clock minus ours, None while it is not measured."""

    skew_s: float | None = None


def contact(site: Site, agent_id: str) -> Contact | None:
    """The contact with an agent, or None while it is not connected."""
    return Contact() if site.agent_connected(agent_id) else None
