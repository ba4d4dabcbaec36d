"""Who may do what: four roles, one table. An action asks `may`; `server.actions.change.require` raises.

A role that the cluster made itself, and a token with a scope, carry their permissions with the principal
(`Principal.granted`). People of a tenant never have what concerns the host, whatever their role is.
"""

from __future__ import annotations

from server.core.model import Principal

ROLES = ("administrator", "operator", "user", "auditor")

_ADMINISTRATOR = frozenset({"administrator"})
_OPERATOR = _ADMINISTRATOR | {"operator"}
_USER = _OPERATOR | {"user"}
_AUDITOR = _ADMINISTRATOR | {"auditor"}
_EVERYBODY = _USER | {"auditor"}

PERMISSIONS: dict[str, frozenset[str]] = {
    "read": _EVERYBODY,
    "audit.read": _AUDITOR,
    "jobs.change": _OPERATOR,
    "runs.start": _USER,
    "runs.stop": _USER,
    "missed.resolve": _OPERATOR,
    "gates.change": _OPERATOR,
    "agents.manage": _ADMINISTRATOR,
    "nodes.manage": _ADMINISTRATOR,
    "users.manage": _ADMINISTRATOR,
    "sessions.own": _EVERYBODY,
    "sessions.manage": _ADMINISTRATOR,
    "tokens.own": _EVERYBODY,
    "settings.change": _ADMINISTRATOR,
    "swap.run": _ADMINISTRATOR,
    "swap.abort": _OPERATOR,
    "history.adopt": _OPERATOR,
    "forks.read": _OPERATOR | _AUDITOR,
    "forks.delete": _ADMINISTRATOR,
    "messages.acknowledge": _OPERATOR,
    "messages.change": _ADMINISTRATOR,
    "maintenance.read": _OPERATOR | _AUDITOR,
    "maintenance.change": _ADMINISTRATOR,
    "tenants.manage": _ADMINISTRATOR,
    "certificates.manage": _ADMINISTRATOR,
}
"""Permission to the roles that have it. The list of actions with their permission is in `server.actions`."""


HOST_ONLY = frozenset({
    "agents.manage", "nodes.manage", "settings.change", "swap.run", "swap.abort", "gates.change",
    "forks.read", "forks.delete", "tenants.manage", "certificates.manage",
})  # fmt: skip
"""What only people of the host may do: it concerns machines, or all tenants at once (UIP-8)."""


def may(by: Principal, permission: str) -> bool:
    """True when `by` has `permission`. An unknown role has none; an unknown permission is a KeyError."""
    roles = PERMISSIONS[permission]
    if by.tenant and permission in HOST_ONLY:
        return False
    return by.role in roles if by.granted is None else permission in by.granted


def roles_with(permission: str) -> tuple[str, ...]:
    """The built-in roles that have `permission`, highest first: for the sentence of a refusal."""
    return tuple(role for role in ROLES if role in PERMISSIONS[permission])
