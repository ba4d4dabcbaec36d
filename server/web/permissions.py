"""What each route of the web port asks for: one table, looked at by the guard, the API's description and its tests.

The guard refuses who lacks it before a handler runs; the actions behind ask again, for what depends on the rows. A
route that is not in the table stops the application from being made.
"""

from __future__ import annotations

from dataclasses import dataclass

from server.actions.change import require
from server.core.access import PERMISSIONS, may
from server.core.model import Principal
from server.errors import Forbidden

PUBLIC = "public"
"""Of routes for everybody: what they tell to whom they decide themselves."""
HOST = "@host"
SAFE = {"HEAD": "GET"}

_TABLE = {
    "public": """
        GET /api/Status/Get /api/v1/status /api/v1/ca /api/v1/openapi.json /api/v1/events
        GET /api/docs /livez /readyz /primary /replica /health /metrics /login /handover/begin /handover/give
            /handover/take /login/oidc/callback /static/{name}
        POST /api/v1/login /api/v1/login/proxy /api/v1/login/passkey /api/v1/login/passkey/begin
            /api/Account/Authenticate
        POST /login /login/proxy /login/oidc /logout
    """,
    "read": """
        GET /api/v1/swap/check /api/v1/swap /api/v1/gates /api/v1/scheduler/aside /api/v1/agents/requests
            /api/v1/agents /api/v1/agents/{name} /api/v1/agents/{name}/drains /api/v1/groups
            /api/v1/groups/{name} /api/v1/agents/{name}/deployment /api/v1/witnesses /api/v1/jobs
            /api/v1/jobs/{name} /api/v1/schedules /api/v1/calendars /api/v1/calendars/{name}
            /api/v1/calendars/{name}/days /api/v1/forecast /api/v1/jobs/{name}/explain
            /api/v1/runs/{number}/explain /api/v1/job-monitors/trips /api/v1/jobs/{name}/monitors
            /api/v1/jobs/{name}/exceptions /api/v1/variables /api/v1/variables/{name} /api/v1/workflows
            /api/v1/workflows/schema /api/v1/workflows/{name} /api/v1/workflows/{name}/versions
            /api/v1/workflows/{name}/versions/{version} /api/v1/workflows/{name}/diff /api/v1/environments
            /api/v1/environments/{name} /api/v1/command-sets /api/v1/command-sets/{name} /api/v1/tags
            /api/v1/resources /api/v1/resources/{name} /api/v1/runs /api/v1/runs/{number}
            /api/v1/runs/{number}/output /api/v1/missed /api/v1/runs/{number}/checkpoints /api/v1/monitors
            /api/v1/monitors/{name} /api/v1/events/history /api/v1/workflow-runs /api/v1/workflow-runs/{id}
            /api/v1/notification-lists /api/v1/notification-lists/{name} /api/v1/notifications /api/v1/smtp
            /api/v1/unknown /api/v1/server-history /api/v1/server-history/{id} /api/v1/messages /api/v1/sessions
            /api/v1/permissions /api/v1/tokens /api/v1/settings /api/v1/properties /api/v1/nodes
            /api/v1/outcomes/{key} /api/v1/certificates
        GET / /agents /agents/{name} /groups /groups/{name} /jobs /jobs/new /jobs/{id} /jobs/{id}/edit
            /calendars /calendars/{name} /jobs/{id}/exceptions/new /workflows /workflows/new /workflows/{id}
            /workflows/{id}/edit /workflows/{id}/diff /workflows/{id}/versions/{version} /shared
            /shared/variables /shared/environments /shared/command-sets /shared/resources /monitors
            /monitors/new /monitors/{id} /monitors/{id}/edit /runs /runs/{number} /forecast /workflow-runs
            /workflow-runs/{id} /scheduler /maintenance /replication /properties /certificates /swap /swap/{id}
            /users /users/tokens /messages /login-message /notifications /server-history /server-history/{id}
            /jobs.csv /jobs.json /runs.csv /runs.json /agents.csv /agents.json /calendars.csv /calendars.json
            /groups.csv /groups.json /monitors.csv /monitors.json /workflows.csv /workflows.json /scheduler.csv
            /scheduler.json /messages.csv /messages.json /server-history.csv /server-history.json
        POST /api/v1/workflows/check
        POST /tenants/enter
    """,
    "agents.manage": """
        POST /api/v1/agents /api/v1/agents/{name}/replace /api/v1/agents/{name}/accept-restored /api/v1/groups
            /api/v1/agents/{name}/declare-dead
        POST /agents/{name}/accept-restored /agents/{name}/remove /agents/{name}/on-stop
            /agents/{name}/start-alone /agents/{name}/declare-dead /agents/{name}/capacity /groups
            /groups/{name} /groups/{name}/delete
        PUT /api/v1/agents/{name} /api/v1/groups/{name} /api/v1/agents/{name}/capacity /api/v1/witnesses
        DELETE /api/v1/agents/{name} /api/v1/groups/{name}
    """,
    "audit.read": """
        GET /api/v1/audit
        GET /audit /audit.csv /audit.json
    """,
    "audit.read@host": """
        POST /api/v1/audit/verify
        POST /audit/verify
    """,
    "certificates.manage": """
        POST /api/v1/certificates/rotate /api/v1/certificates/cancel /api/v1/certificates/advance
        POST /certificates/rotate /certificates/cancel /certificates/advance
    """,
    "forks.delete": """
        POST /replication/forks/{name}/delete
        DELETE /api/v1/forks/{name}
    """,
    "forks.read": """
        GET /api/v1/forks /api/v1/forks/{name} /api/v1/forks/{name}/runs /api/v1/forks/{name}/edits
            /api/v1/forks/{name}/export
        GET /replication/forks/{name} /replication/forks/{name}/export
    """,
    "gates.change": """
        POST /api/v1/scheduler/start /api/v1/scheduler/stop /api/v1/agents/lock /api/v1/agents/unlock
            /api/v1/agents/{name}/lock /api/v1/agents/{name}/unlock /api/v1/agents/{name}/maintenance
            /api/v1/agents/{name}/drain /api/v1/agents/{name}/undrain
        POST /agents/lock /agents/unlock /agents/{name}/lock /agents/{name}/unlock /agents/{name}/drain
            /agents/{name}/undrain /scheduler/stop /scheduler/start /agents/{name}/maintenance
    """,
    "gates.change|maintenance.change": """
        POST /api/v1/maintenance/on /api/v1/maintenance/off /api/v1/maintenance/start /api/v1/maintenance/end
    """,
    "gates.change|runs.stop": """
        POST /api/v1/agents/{name}/requests/withdraw
        POST /agents/{name}/withdraw
    """,
    "history.adopt": """
        POST /api/v1/server-history/{id}/adopt /api/v1/forks/{name}/adopt
        POST /replication/forks/{name}/adopt /server-history/{id}/adopt
    """,
    "jobs.change": """
        GET /api/v1/export
        POST /api/v1/jobs /api/v1/calendars /api/v1/calendars/{name}/import /api/v1/import/crontab
            /api/v1/import/cronicle /api/v1/jobs/{name}/exceptions /api/v1/workflows
            /api/v1/workflows/{name}/roll-back /api/v1/monitors /api/v1/notification-lists/{name}/test
        POST /jobs/new /jobs/{id}/edit /jobs/{id}/delete /jobs/{id}/hold /jobs/{id}/release /calendars
            /calendars/{name} /calendars/{name}/import /calendars/{name}/delete /jobs/{id}/exceptions
            /jobs/{id}/exceptions/remove /workflows/new /workflows/{id}/edit
            /workflows/{id}/versions/{version}/roll-back /workflows/{id}/delete /workflows/{id}/hold
            /workflows/{id}/release /shared/variables /shared/variables/delete /shared/environments
            /shared/environments/delete /shared/command-sets /shared/command-sets/delete /shared/resources
            /shared/resources/delete /monitors/new /monitors/{id}/edit /monitors/{id}/delete
            /monitors/{id}/enable /monitors/{id}/disable /notifications/test
        PUT /api/v1/jobs/{name} /api/v1/jobs/{name}/hold /api/v1/calendars/{name} /api/v1/variables/{name}
            /api/v1/workflows/{name} /api/v1/workflows/{name}/hold /api/v1/environments/{name}
            /api/v1/command-sets/{name} /api/v1/resources/{name} /api/v1/monitors/{name}
            /api/v1/monitors/{name}/enabled
        DELETE /api/v1/jobs/{name} /api/v1/calendars/{name} /api/v1/jobs/{name}/exceptions
            /api/v1/variables/{name} /api/v1/workflows/{name} /api/v1/environments/{name}
            /api/v1/command-sets/{name} /api/v1/resources/{name} /api/v1/monitors/{name}
    """,
    "jobs.change+agents.manage": """
        POST /api/v1/import/all
    """,
    "maintenance.change": """
        POST /api/Maintenance/Start /api/Maintenance/End /api/v1/maintenance/windows
        POST /maintenance/start /maintenance/end /maintenance/windows/{id}/remove
        DELETE /api/v1/maintenance/windows/{id}
    """,
    "maintenance.change+maintenance.read": """
        POST /maintenance/windows
    """,
    "maintenance.read": """
        GET /api/v1/maintenance /api/v1/maintenance/log /api/Maintenance/Get /api/v1/maintenance/windows
        GET /maintenance/windows
    """,
    "maintenance.read@host": """
        GET /maintenance/tenants/{tenant}
    """,
    "messages.acknowledge": """
        POST /api/v1/messages/acknowledge /api/v1/messages/{id}/acknowledge
        POST /messages/acknowledge /messages/{id}/acknowledge
    """,
    "messages.change": """
        GET /api/v1/banner /api/v1/login-message
        GET /banner
        POST /api/v1/banner/on /api/v1/banner/off /api/v1/login-message/on /api/v1/login-message/off
        POST /banner /banner/preview /banner/{kind}/{what}
        PUT /api/v1/banner /api/v1/login-message
    """,
    "missed.resolve": """
        POST /api/v1/scheduler/aside/{id}/retry /api/v1/scheduler/aside/{id}/dismiss /api/v1/missed/run
            /api/v1/missed/dismiss /api/v1/missed/{id}/run /api/v1/missed/{id}/dismiss
            /api/v1/jobs/{name}/dismiss-unknown
        POST /unknown/dismiss /scheduler/missed/run /scheduler/missed/dismiss /scheduler/missed/{id}/run
            /scheduler/missed/{id}/dismiss /scheduler/aside/{id}/retry /scheduler/aside/{id}/dismiss
            /maintenance/missed/{id}/run /maintenance/missed/{id}/dismiss
    """,
    "nodes.manage": """
        POST /api/v1/nodes/{id}/seat /api/v1/node/standby /api/v1/node/master /api/v1/go-alone /api/v1/verify
            /api/v1/sql
        POST /replication/seat/{id} /properties/nodes/{id}/remove
        DELETE /api/v1/nodes/{id}
    """,
    "notifications.change": """
        POST /notifications /notifications/delete
        PUT /api/v1/notification-lists/{name}
        DELETE /api/v1/notification-lists/{name}
    """,
    "runs.start": """
        POST /api/v1/jobs/{name}/run /api/v1/runs/{number}/rerun /api/v1/runs/{number}/resume
            /api/v1/monitors/{name}/fire /api/v1/workflows/{name}/run /api/v1/workflow-runs/{id}/resume
            /api/v1/workflow-runs/{id}/restart /api/v1/unknown/{key}/rerun
        POST /unknown/{key}/rerun /monitors/{id}/fire /jobs/{id}/run /runs/{number}/rerun /runs/{number}/resume
            /workflows/{id}/run /workflow-runs/{id}/resume /workflow-runs/{id}/restart
    """,
    "runs.stop": """
        POST /api/v1/runs/{number}/cancel /api/v1/runs/{number}/kill /api/v1/runs/{number}/suspend
            /api/v1/runs/{number}/dismiss /api/v1/workflow-runs/{id}/cancel /api/v1/workflow-runs/{id}/kill
            /api/v1/workflow-runs/{id}/suspend /api/v1/workflow-runs/{id}/give-up
        POST /runs/{number}/cancel /runs/{number}/kill /runs/{number}/suspend /runs/{number}/dismiss
            /workflow-runs/{id}/cancel /workflow-runs/{id}/kill /workflow-runs/{id}/suspend
            /workflow-runs/{id}/give-up
    """,
    "sessions.manage": """
        POST /users/sign-out-all
        DELETE /api/v1/sessions
    """,
    "sessions.own": """
        GET /api/v1/second-factor /api/v1/second-factor/passkeys
        GET /users/second-factor /users/password
        POST /api/v1/login-message/dismiss /api/v1/logout /api/v1/second-factor /api/v1/second-factor/confirm
            /api/v1/second-factor/remove /api/v1/second-factor/passkeys/begin /api/v1/second-factor/passkeys
            /api/v1/second-factor/passkeys/{id}/remove /api/v1/prove
        PUT /api/v1/second-factor/passkeys/{id}
        POST /users/second-factor/begin /users/second-factor/confirm /users/second-factor/remove
            /users/second-factor/passkeys/{id}/rename /users/second-factor/passkeys/{id}/remove
            /users/password /login-message/dismiss
    """,
    "sessions.own|sessions.manage": """
        POST /users/sessions/{start}/end
        DELETE /api/v1/sessions/{id}
    """,
    "sessions.own|users.manage": """
        PUT /api/v1/users/{name}
    """,
    "settings.change": """
        GET /api/v1/sign-in /api/v1/allowed-hosts
        GET /users/sign-in
        POST /notifications/smtp /notifications/hosts /users/sign-in/proxy /users/sign-in/passkeys
            /users/sign-in/provider
        PUT /api/v1/smtp /api/v1/allowed-hosts /api/v1/settings/{name} /api/v1/sign-in/dangerously-trusted-proxies
            /api/v1/sign-in/passkeys /api/v1/sign-in/provider
    """,
    "swap.abort": """
        POST /api/v1/swap/abort
        POST /swap/abort
    """,
    "swap.run": """
        POST /api/v1/swap
        POST /swap/start
    """,
    "tenants.manage": """
        GET /api/v1/tenants /api/v1/tenants/{name}
        GET /tenants
        POST /api/v1/tenants
        POST /tenants /tenants/close /tenants/agents
        PUT /api/v1/tenants/{name} /api/v1/agents/{name}/tenant
    """,
    "tokens.own|users.manage": """
        POST /api/v1/tokens
        POST /users/tokens /users/tokens/{id}/revoke
        DELETE /api/v1/tokens/{id}
    """,
    "users.manage": """
        GET /api/v1/users /api/v1/users/{name}/passkeys /api/v1/roles
        POST /api/v1/users
        POST /users /users/{name}/{what} /users/{name}/role
        DELETE /api/v1/users/{name}/second-factor /api/v1/users/{name}/linked-accounts
    """,
    "users.manage@host": """
        GET /users/roles
        POST /api/v1/roles
        POST /users/roles /users/roles/{name}/delete /users/roles/{name}/second-factor
        PUT /api/v1/roles/{name}
        DELETE /api/v1/roles/{name}
    """,
}
"""`+`: both are needed; `|`: one opens the route, the rows decide which it has to be; `@host`: of no tenant."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a route asks for: one of `ways`, each of them permissions that are needed together; none: everybody."""

    ways: tuple[tuple[str, ...], ...]
    of_host: bool = False

    @property
    def is_public(self) -> bool:
        """Whether nobody has to be signed in."""
        return not self.ways

    def is_met(self, by: Principal) -> bool:
        """Whether `by` has one of the ways."""
        if self.of_host and by.tenant:
            return False
        return self.is_public or any(all(may(by, name) for name in way) for way in self.ways)

    def check(self, by: Principal) -> None:
        """Raise Forbidden with what `by` lacks."""
        if self.is_met(by):
            return
        for name in self.ways[0]:
            require(by, name)
        raise Forbidden(f"{by.name} belongs to the tenant {by.tenant}; this concerns the host. Ask its administrator.")

    def __str__(self) -> str:
        """As people read it."""
        words = " or ".join(" and ".join(way) for way in self.ways) or "nothing"
        return f"{words}, of the host" if self.of_host else words


def _read(words: str) -> Asked:
    named, at, _ = words.partition(HOST)
    ways = () if words == PUBLIC else tuple(tuple(way.split("+")) for way in named.split("|"))
    unknown = {name for way in ways for name in way} - PERMISSIONS.keys()
    assert not unknown, f"no permission of core.access: {unknown}"
    return Asked(ways, bool(at))


def _routes(text: str) -> list[tuple[str, str]]:
    found, method = [], ""
    for word in text.split():
        if word.startswith("/"):
            found.append((method, word))
        else:
            method = word
    return found


DECLARED: dict[tuple[str, str], Asked] = {
    route: asked for words, text in _TABLE.items() for asked in (_read(words),) for route in _routes(text)
}
"""By method and the route as aiohttp writes it (`/runs/{number}`); GET stands for HEAD."""


def asked_of(method: str, route: str) -> Asked:
    """What a route asks for; LookupError names where it has to be declared."""
    try:
        return DECLARED[SAFE.get(method, method), route]
    except KeyError:
        raise LookupError(f"{method} {route} declares no permission. Add it to server/web/permissions.py.") from None
