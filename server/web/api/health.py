"""For load balancers and monitors: no sign-in, no secrets, no waiting."""

from __future__ import annotations

from aiohttp import web
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

from replication.core.types import IN_OFFICE, Role, State, Status
from server.core.maintenance import HOST, Phase
from server.ports.numbers import NUMBER_MAX
from server.site import Site
from server.storage import maintenance
from server.web.api.endpoint import Call, Endpoint, number

LOOP_SILENCE_MAX_S = 10.0


def _plain(ok: bool, text: str) -> web.Response:
    return web.Response(status=200 if ok else 503, text=text + "\n")


async def livez(call: Call) -> web.Response:
    """The event loop turned lately."""
    silence_s = call.site.clock.monotonic() - call.site.loop_seen_s
    return _plain(silence_s < LOOP_SILENCE_MAX_S, f"the loop ran {silence_s:.1f} s ago")


async def readyz(call: Call) -> web.Response:
    """This node serves what its role has to serve; not while a maintenance is Suspended: route nobody here."""
    if not call.site.ready:
        return _plain(False, "starting, or waiting for a role")
    if call.site.in_office:
        session = await call.site.read_now(lambda connection: maintenance.open_of(connection, HOST))
        if session is not None and session.phase is Phase.SUSPENDED:
            return _plain(False, "suspended: maintenance. Route nobody here")
    return _plain(True, "ready")


async def primary(call: Call) -> web.Response:
    """200 on the node that takes changes."""
    return _plain(call.site.in_office, f"role {_role(call.site)}")


async def replica(call: Call) -> web.Response:
    """200 on a standby that is in sync, or at most `lag_requests` behind."""
    status = call.site.status()
    if status is None or status.role is not Role.STANDBY:
        return _plain(False, f"role {_role(call.site)}")
    text = call.query("lag_requests")
    if not text:
        return _plain(status.in_sync, f"in sync: {'yes' if status.in_sync else 'no'}")
    bound = call.query_number("lag_requests", 0, 0, NUMBER_MAX)
    lag = max(0, status.commit_sequence - status.applied_sequence)
    connected = any(peer.connected for peer in status.peers)
    return _plain(connected and lag <= bound, f"{lag} requests behind")


async def health(call: Call) -> web.Response:
    """200 when nothing needs a person: in office with a standby in sync, or a standby in sync."""
    status = call.site.status()
    return _plain(is_healthy(status), f"role {_role(call.site)}")


async def metrics(call: Call) -> web.Response:
    """Prometheus text."""
    registry = CollectorRegistry()
    registry.register(_StatusCollector(call.site))
    return web.Response(body=generate_latest(registry), content_type="text/plain", charset="utf-8")


def is_healthy(status: Status | None) -> bool:
    """Nobody has to do anything. A master that never had a standby is not redundant, hence not healthy."""
    if status is None:
        return False
    if status.state in IN_OFFICE:
        return status.in_sync
    return status.state is State.IN_SYNC


def _role(site: Site) -> str:
    status = site.status()
    return status.role.value if status is not None else "none"


class _StatusCollector:
    """The metrics that a status holds, gathered when they are asked for."""

    def __init__(self, site: Site) -> None:
        self._site = site

    def collect(self) -> list[Metric]:
        """One look at the node."""
        status = self._site.status()
        if status is None:
            return [_gauge("role", "1 for the role of this node", {"none": 1.0}, "role")]
        found = [
            _gauge("role", "1 for the role of this node", {r.value: float(status.role is r) for r in Role}, "role"),
            _value("epoch", "Number of the epoch", status.epoch.number),
            _value("sequence", "Last request in the journal", status.position.sequence),
            _value("commit_sequence", "Highest request durable wherever the mode demands it", status.commit_sequence),
            _value("standby_in_sync", "1 while the standby has everything that was answered", status.in_sync),
        ]
        if self._site.in_office:
            found.append(_gauge("agents", "Agents by state", {"active": float(self._site.agents_active())}, "state"))
        if status.backlog is not None:
            found.append(_value("backlog_requests", "File Replication Requests", status.backlog.requests))
            found.append(_value("backlog_bytes", "Bytes of the backlog", status.backlog.bytes))
            found.append(_value("replication_lag_seconds", "Age of the oldest", status.backlog.oldest_seconds))
        return found


def _value(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"understudy_{name}", text, value=float(value))


def _gauge(name: str, text: str, values: dict[str, float], label: str) -> Metric:
    family = GaugeMetricFamily(f"understudy_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], value)
    return family


ENDPOINTS = (
    Endpoint("GET", "/livez", livez, "The process works", media="text/plain", unwell=True, public=True),
    Endpoint("GET", "/readyz", readyz, "This node serves its role", media="text/plain", unwell=True, public=True),
    Endpoint(
        "GET",
        "/api/Status/Get",
        readyz,
        "Whether to route here, as UiPath's clients ask",
        media="text/plain",
        unwell=True,
        public=True,
    ),
    Endpoint("GET", "/primary", primary, "200 on the master", media="text/plain", unwell=True, public=True),
    Endpoint(
        "GET",
        "/replica",
        replica,
        "200 on a standby in sync",
        media="text/plain",
        unwell=True,
        public=True,
        query=(number("lag_requests"),),
    ),
    Endpoint("GET", "/health", health, "200 when nothing needs a person", media="text/plain", unwell=True, public=True),
    Endpoint("GET", "/metrics", metrics, "Prometheus metrics", media="text/plain", public=True),
)
