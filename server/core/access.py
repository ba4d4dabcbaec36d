"""Who may do what: four roles, one table. An action asks `may`; `server.actions.change.require` raises."""

from __future__ import annotations

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
}
"""Permission to the roles that have it. The list of actions with their permission is in `server.actions`."""


def may(role: str, permission: str) -> bool:
    """True when `role` has `permission`. An unknown role has none; an unknown permission is a KeyError."""
    return role in PERMISSIONS[permission]


def roles_with(permission: str) -> tuple[str, ...]:
    """The roles that have `permission`, highest first: for the sentence of a refusal."""
    return tuple(role for role in ROLES if role in PERMISSIONS[permission])
