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
    "notifications.change": _ADMINISTRATOR,
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
    "forks.read", "forks.delete", "tenants.manage", "certificates.manage", "messages.change", "maintenance.change",
})  # fmt: skip
"""What only people of the host may do: it concerns machines, or all tenants at once (UIP-8)."""


SENTENCES: dict[str, str] = {
    "read": "See jobs, runs, agents and how the pair does. Every role has it.",
    "audit.read": "Read the audit history.",
    "jobs.change": "Make, change and delete jobs, workflows, calendars, variables and what jobs share.",
    "runs.start": "Start jobs and workflows, fire events, resume what was suspended.",
    "runs.stop": "Cancel, kill and suspend runs.",
    "missed.resolve": "Decide what becomes of missed occurrences.",
    "gates.change": "Stop and start the scheduler, lock and unlock queues, drain agents.",
    "agents.manage": "Enrol, remove and replace agents, choose witnesses, deploy groups.",
    "nodes.manage": "Add and remove machines of the pair.",
    "users.manage": "Add and close accounts, give roles, make roles; never more than one has oneself.",
    "sessions.own": "See and end one's own sessions, set one's own second factor. Every role has it.",
    "sessions.manage": "Sign other people out.",
    "tokens.own": "Make and revoke API tokens of one's own.",
    "settings.change": "Change the settings that both nodes share.",
    "notifications.change": "Make, change and delete notification lists.",
    "swap.run": "Swap roles, and sign in while a swap runs.",
    "swap.abort": "Abort a role swap.",
    "history.adopt": "Put runs of a fork on record in Server History or Job History.",
    "forks.read": "Look at what a fork holds.",
    "forks.delete": "Delete a fork.",
    "messages.acknowledge": "Acknowledge system messages.",
    "messages.change": "Set the banner and the message at sign-in.",
    "maintenance.read": "See the state of maintenance and its log.",
    "maintenance.change": "Begin, plan and end maintenance.",
    "tenants.manage": "Make and close tenants.",
    "certificates.manage": "Revoke and renew certificates, rotate the authority.",
}
"""What each permission lets people do, as the pages and the API say it."""

EVERY_ROLE = frozenset({"read", "sessions.own"})
"""What every role has: whoever is signed in may look, and may sign out."""

ENROL_ONLY = frozenset({"sessions.own"})
"""All that somebody may whose role asks for a second factor and who has none yet: set it up, or sign out. And who came
in with a password that somebody else gave: set one of one's own, or sign out (`Principal.must_change_password`)."""

READ_ONLY = "read-only"
READS = frozenset({"read", "audit.read", "forks.read", "maintenance.read"})
"""What a token of the scope `read-only` may at most."""


def permissions_of(by: Principal) -> frozenset[str]:
    """All that `by` may."""
    return frozenset(name for name in PERMISSIONS if may(by, name))


def scope_of(text: str) -> frozenset[str]:
    """The permissions that a token's scope names, words separated by blanks; `read` is part of every scope.

    Raises ValueError with the words that are no permission, or when there is none.
    """
    words = frozenset(text.split())
    named = (words - {READ_ONLY}) | (READS if READ_ONLY in words else frozenset())
    if not words or named - PERMISSIONS.keys():
        raise ValueError(", ".join(sorted(named - PERMISSIONS.keys())))
    return named | {"read"}


def may(by: Principal, permission: str) -> bool:
    """True when `by` has `permission`. An unknown role has none; an unknown permission is a KeyError."""
    roles = PERMISSIONS[permission]
    if by.tenant and permission in HOST_ONLY:
        return False
    return by.role in roles if by.granted is None else permission in by.granted


def roles_with(permission: str) -> tuple[str, ...]:
    """The built-in roles that have `permission`, highest first: for the sentence of a refusal."""
    return tuple(role for role in ROLES if role in PERMISSIONS[permission])
