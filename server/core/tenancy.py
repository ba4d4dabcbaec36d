"""What people of a tenant see: for every table of the schema one rule, and the views that follow from the rules.

A reading for a tenant runs on a connection of its own on which temporary views stand in front of the tables, so that
every query of `server.storage` sees the tenant's rows alone, under the names its people gave (docs/tenants.md;
docs/decisions/0128). A table that has no rule here is empty for tenants. The views ask the SQL function `viewer()`
who reads; `server.storage.tenancy` makes it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}\Z")
SEPARATOR = ":"

NAMED = frozenset({
    "jobs", "workflows", "calendars", "environments", "command_sets", "monitors", "resources", "notification_lists",
    "variables",
})  # fmt: skip
"""Stored as `TENANT:NAME`; their column `tenant` says whose they are, `own_name` what its people call them."""

MARKED = frozenset({
    "runs", "orders", "missed", "server_history", "workflow_runs", "events", "job_monitor_trips", "audit",
    "system_messages", "users", "notification_deliveries",
})  # fmt: skip
"""Their column `tenant` says whose they are: written with the row, or by a trigger of the schema."""

_JOB = "EXISTS (SELECT 1 FROM main.jobs o WHERE o.id = t.{} AND o.tenant = viewer())"
_RUN = "EXISTS (SELECT 1 FROM main.runs o WHERE o.number = t.run AND o.tenant = viewer())"
_USER = "EXISTS (SELECT 1 FROM main.users o WHERE o.id = t.user_id AND o.tenant = viewer())"
_WORKFLOW = "EXISTS (SELECT 1 FROM main.workflows o WHERE o.id = t.workflow_id AND o.tenant = viewer())"
_AGENT = "EXISTS (SELECT 1 FROM main.agents o WHERE o.id = t.{} AND o.tenant IN ('', viewer()))"
_MAINTENANCE = (
    "{0}.scope IN ('', 'tenant:' || viewer()) OR ({0}.agent_id != '' AND EXISTS"
    " (SELECT 1 FROM main.agents o WHERE o.id = {0}.agent_id AND o.tenant IN ('', viewer())))"
)
_MONITOR = "EXISTS (SELECT 1 FROM main.monitors o WHERE o.id = t.monitor_id AND o.tenant = viewer())"


def _owner(**tables: str) -> str:
    whens = " ".join(
        f"WHEN '{kind}' THEN EXISTS (SELECT 1 FROM main.{table} o WHERE o.id = t.owner_id AND o.tenant = viewer())"
        for kind, table in tables.items()
    )
    return f"CASE t.kind {whens} END"


HANGS: Mapping[str, str] = {
    "schedules": _JOB.format("job_id"),
    "exceptions": _JOB.format("job_id"),
    "job_monitors": _JOB.format("job_id"),
    "prerequisite_conditions": _JOB.format("job_id"),
    "job_monitor_watches": "EXISTS (SELECT 1 FROM main.job_monitors m JOIN main.jobs o ON o.id = m.job_id"
    " WHERE m.id = t.monitor_id AND o.tenant = viewer())",
    "checkpoints": _RUN,
    "checkpoint_data": _RUN,
    "progress": _RUN,
    "recalls": _RUN,
    "workflow_versions": _WORKFLOW,
    "workflow_uses": _WORKFLOW,
    "workflow_steps": "EXISTS (SELECT 1 FROM main.workflow_runs o WHERE o.id = t.workflow_run AND o.tenant = viewer())",
    "step_chains": "EXISTS (SELECT 1 FROM main.workflow_runs o WHERE o.id = t.workflow_run AND o.tenant = viewer())",
    "reactions": _MONITOR,
    "sessions": _USER,
    "api_tokens": _USER,
    "second_factors": _USER,
    "recovery_codes": _USER,
    "passkeys": _USER,
    "linked_accounts": _USER,
    "login_message_dismissals": _USER,
    "tags": _owner(job="jobs", workflow="workflows"),
    "variable_uses": _owner(job="jobs", environment="environments", command_set="command_sets"),
    "tenants": "t.name = viewer()",
    "outcomes": "EXISTS (SELECT 1 FROM main.users o WHERE o.name = t.principal AND o.tenant = viewer())",
    "agents": "t.tenant IN ('', viewer())",
    "groups": _AGENT.format("id"),
    "group_members": _AGENT.format("group_id") + " AND " + _AGENT.format("agent_id"),
    "drains": _AGENT.format("agent_id"),
    "debts": _AGENT.format("agent_id"),
    "dead_debts": _AGENT.format("agent_id"),
    "maintenance_sessions": _MAINTENANCE.format("t"),
    "maintenance_log": "EXISTS (SELECT 1 FROM main.maintenance_sessions m WHERE m.id = t.session_id AND ("
    + _MAINTENANCE.format("m")
    + "))",
    "maintenance_runs": _RUN,
    "maintenance_windows": "t.scope IN ('', 'tenant:' || viewer())",
    "gates": f"(instr(t.kind, '{SEPARATOR}') = 0 OR t.kind LIKE viewer() || '{SEPARATOR}%') AND (t.agent_id = '' OR "
    + _AGENT.format("agent_id")
    + ")",
}
"""Of whom the rows are, as a condition on a row `t`: by what they belong to. Agents are shared or of one tenant."""

SHARED = frozenset({"settings", "nodes", "roles", "role_rules", "announcements", "replication_position"})
"""The same for all: it names nothing of a tenant."""

HIDDEN = frozenset({
    "join_tokens", "stops", "gate_changes", "swaps", "forks", "fork_runs", "fork_edits", "happenings",
    "happenings_aside", "watches", "smtp", "sealed", "sqlite_sequence", "audit_chain", "asides",
    "silence_notices", "authorities", "certificates", "sign_in_ways", "spent_once",
})  # fmt: skip
"""The host's alone: empty for tenants. What is in no rule is hidden too, but a test wants it said."""

QUALIFIED: Mapping[str, tuple[str, ...]] = {
    "gates": ("kind",),
    "notification_deliveries": ("list",),
    "server_history": ("job_name",),
    "workflow_uses": ("name",),
    "variable_uses": ("name",),
}
"""Columns that hold one qualified name beside the names of things."""
MENTIONED: Mapping[str, Mapping[str, str]] = {
    "jobs": {"limits": '"', "job_monitors": '"', "special_instances": '"calendar":"'},
    "runs": {"holds": "resource ", "reason": ""},
    "workflow_runs": {"reason": ""},
    "workflow_steps": {"reason": ""},
    "job_monitor_trips": {"text": ""},
    "notification_deliveries": {"subject": "", "text": ""},
}
"""Columns of JSON or of the program's own words in which qualified names stand, each behind these characters."""
_CLOSED = frozenset({"asides", "forks", "fork_runs", "fork_edits", "join_tokens"})
UNSCOPED = SHARED | HIDDEN - _CLOSED
"""What the program reads as it is in a change for a tenant: nothing of it is answered."""


def rules() -> frozenset[str]:
    """Every table that has a rule."""
    return NAMED | MARKED | frozenset(HANGS) | SHARED | HIDDEN


def views(tables: Mapping[str, Sequence[str]]) -> list[str]:
    """The statements that put a view in front of each table; `tables`: its columns, generated ones included."""
    kept = SHARED | {"sqlite_sequence"}  # SQLite's own: it lets nothing stand in front of it
    return [
        f"CREATE TEMP VIEW {table} AS {select(table, columns, 'viewer()')}"
        for table, columns in sorted(tables.items())
        if table not in kept
    ]


def select(table: str, columns: Sequence[str], viewer: str) -> str:
    """The rows of a table that a tenant sees, as it sees them. `viewer`: an SQL expression for the tenant's name."""
    shown = ", ".join(f'{_column(table, column, viewer)} AS "{column}"' for column in columns)
    return f"SELECT {shown} FROM main.{table} t WHERE {_condition(table).replace('viewer()', viewer)}"


def _column(table: str, column: str, viewer: str) -> str:
    if column == "tenant":
        return "''"  # whoever looks is at home in it: queries that ask for what is of the same tenant say ''
    if column == "name" and table in NAMED:
        return "t.own_name"
    if column in QUALIFIED.get(table, ()):
        return f"""substr(t."{column}", instr(t."{column}", '{SEPARATOR}') + 1)"""
    before = MENTIONED.get(table, {}).get(column)
    if before is not None:
        return f"""replace(t."{column}", '{before}' || {viewer} || '{SEPARATOR}', '{before}')"""
    return f't."{column}"'


def _condition(table: str) -> str:
    if table in NAMED or table in MARKED:
        return "t.tenant = viewer() AND t.tenant != ''"
    return HANGS.get(table, "0")


def within(tenant: str, sql: str, tables: Mapping[str, Sequence[str]]) -> str:
    """The statement as a change for a tenant reads: each table after FROM or JOIN is what the tenant sees of it.

    What is written is not narrowed: `guards` refuse rows of others. Aliases are small letters, keywords are not.
    """

    def narrowed(found: re.Match[str]) -> str:
        word, table, alias = found["word"], found["table"], found["alias"]
        if table not in tables or table in UNSCOPED or found["delete"]:
            return found[0]
        return f"{word} ({select(table, tables[table], _literal(tenant))}){alias or f' AS {table}'}"

    return _READ.sub(narrowed, sql)


_READ = re.compile(r"(?P<delete>DELETE\s+)?\b(?P<word>FROM|JOIN)\s+(?P<table>[a-z_]+)\b(?!\.)(?P<alias>\s+[a-z]\w*\b)?")


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def guards(tables: Iterable[str]) -> list[str]:
    """The triggers that refuse a change for a tenant (`viewer()`) that writes a row of another."""
    return [
        f"CREATE TEMP TRIGGER guard_{table}_{event} {when} {event} ON main.{table} WHEN viewer() != ''"
        f" AND {condition} BEGIN SELECT RAISE(ABORT, '{REFUSED}'); END"
        for table in sorted(set(tables) & (NAMED | _WRITTEN))
        for event, (when, condition) in _FOREIGN.items()
        if event != "INSERT" or table in NAMED - {"variables"}
    ]


_FOREIGN = {
    "INSERT": ("AFTER", "NEW.tenant != viewer()"),
    # a row that is written just now is given its tenant by a trigger of the schema
    "UPDATE": ("BEFORE", "OLD.tenant != viewer() AND NOT (OLD.tenant = '' AND NEW.tenant = viewer())"),
    "DELETE": ("BEFORE", "OLD.tenant != viewer()"),
}
_WRITTEN = frozenset({"runs", "missed", "server_history", "workflow_runs", "users", "system_messages"})
REFUSED = "not of this tenant"


def qualified(tenant: str, name: str) -> str:
    """How a name that people of `tenant` type is stored; one that is qualified for it already stays."""
    prefix = tenant + SEPARATOR
    return name if not tenant or name.startswith(prefix) else prefix + name


def own(tenant: str, name: str) -> str:
    """What people of `tenant` call a thing that is stored as `name`."""
    return name.removeprefix(tenant + SEPARATOR) if tenant else name


def tenant_of(name: str) -> str:
    """The tenant that a stored name says; "" for the host's."""
    return name.partition(SEPARATOR)[0] if SEPARATOR in name else ""


def wrong_name(name: str) -> str:
    """Why a tenant cannot be called so, or ""."""
    if NAME.match(name) and name not in ("host", "tenant", "all"):
        return ""
    return "must begin with a letter and have up to 31 small letters, digits and -; host, tenant and all are taken"


def stored(tenant: str, table: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The columns of a row that people of `tenant` wrote, as they are stored: names qualified, the tenant noted."""
    found = dict(values)
    if "name" in found and table in NAMED and not found.get("scope"):
        found["name"] = qualified(tenant, found["name"])
    for column in QUALIFIED.get(table, ()):
        if column in found and found.get("kind") not in ("agent", "group"):
            found[column] = qualified(tenant, found[column])
    if table in ("users", "system_messages"):
        found["tenant"] = tenant
    for column, rewrite in _INSIDE.items() if table == "jobs" else ():
        if column in found:
            found[column] = rewrite(tenant, found[column])
    return found


def _limits(tenant: str, limits: Any) -> Any:
    return msgspec.structs.replace(limits, resources={qualified(tenant, n): c for n, c in limits.resources.items()})


def _monitors(tenant: str, monitors: Any) -> Any:
    lists = {
        field: [qualified(tenant, one) for one in getattr(monitors, field)] for field in ("notify", "notify_failed")
    }
    return msgspec.structs.replace(monitors, **lists)


def _instances(tenant: str, instances: Any) -> Any:
    return [
        msgspec.structs.replace(one, calendar=qualified(tenant, one.calendar)) if one.calendar else one
        for one in instances
    ]


_INSIDE = {"limits": _limits, "job_monitors": _monitors, "special_instances": _instances}
