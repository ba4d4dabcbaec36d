"""Two tenants with a full set of things each, all of whose names begin with a telltale word, and who asks for them."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Protocol

from server.actions import groups, tenants, tokens, users
from server.actions.change import for_tenant
from server.core.access import ROLES
from server.core.model import SYSTEM
from server.storage import rows as table_rows
from server.storage import system_messages
from server.trust.tls import secret_hash
from tests.unit.ledger import START_US, Ledger
from tests.unit.web_desk import Answered, Desk, Visitor

PHC = "$argon2id$v=19$first"
WORDS = {"acme": "apple", "bravo": "zebra"}


@dataclass
class Stage:
    """`ids`: for each tenant the value of each kind of path parameter."""

    desk: Desk
    ids: dict[str, dict[str, str]] = field(default_factory=dict)

    def visitor(self, tenant: str, role: str = "administrator") -> Visitor:
        """Who asks."""
        return Visitor(self.desk.port, f"us_{tenant}{role}")


def people(ledger: Ledger) -> None:
    """An agent that all share, the tenants, and a person of each role in each, before anybody asks."""
    ledger.add_agent()
    for tenant, word in WORDS.items():
        ledger.do(tenants.create(tenant, f"{word} title", SYSTEM, START_US))
        ledger.add_agent(f"{word}-agent")
        ledger.do(tenants.give_agent(f"{word}-agent", tenant, SYSTEM, START_US))
        spec = groups.GroupSpec(name=f"{word}-group", agents=[f"{word}-agent"])
        ledger.do(groups.create(spec, (word * 32)[:32], SYSTEM, START_US))
        ledger.do(tenants.give_agent(f"{word}-group", tenant, SYSTEM, START_US))
        for role in ROLES:
            ledger.do(for_tenant(tenant, users.create(f"{word}-{role}", PHC, role, SYSTEM, START_US)))
            hashed = secret_hash(f"us_{tenant}{role}")
            ledger.do(tokens.create(f"{tenant}:{word}-{role}", "t", hashed, None, SYSTEM, START_US))


def fill(ledger: Ledger, stage: Stage) -> None:
    """Let each tenant's administrator make one of everything, over the API; every answer must be a success."""
    for tenant, word in WORDS.items():
        ids = one_of_everything(stage.visitor(tenant), word, stage.ids.setdefault(tenant, {}))
        rows = ledger.connection
        job_id = int(ids["job id"])
        schedule = rows.execute("SELECT id FROM schedules WHERE job_id = ?", (job_id,)).fetchone()[0]
        said = {"cause": f"{word} cause", "recorded_at_us": START_US, "scheduled_for_us": START_US}
        table_rows.insert(rows, "missed", {"job_id": job_id, "schedule_id": schedule, **said})
        ids["missed"] = str(rows.execute("SELECT max(id) FROM missed").fetchone()[0])
        entry = {"run_key": f"j{job_id}.rx.a1", "agent_id": ("north" * 32)[:32], "job_name": f"{tenant}:{word}-job"}
        more: dict[str, object] = {"output": word.encode(), "why": f"{word} why"}
        table_rows.insert(rows, "server_history", {**entry, **more, "recorded_at_us": START_US})
        ids["history"] = str(rows.execute("SELECT max(id) FROM server_history").fetchone()[0])
        ledger.do(for_tenant(tenant, lambda t, w=word: system_messages.insert(t.connection, "info", f"{w} said", 1)))
        ids["message"] = str(rows.execute("SELECT max(id) FROM system_messages").fetchone()[0])
        ids["token"] = str(rows.execute("SELECT min(id) FROM api_tokens WHERE user_id IN"
            " (SELECT id FROM users WHERE tenant = ?)", (tenant,)).fetchone()[0])  # fmt: skip
        ids |= {"user": f"{tenant}:{word}-user", "tenant": tenant, "role": f"{word}-role", "session": tenant[:1] * 16}
        ids |= {"agent": f"{word}-agent", "group": f"{word}-group", "outcome": f"{word}-key", "fork": f"{word}-fork"}
        ids |= {"node": f"{word}-node", "swap": "77", "aside": "77", "setting": f"{word}_setting"}


class Asker(Protocol):
    """Who makes things over the API."""

    def ask(self, method: str, path: str, body: object = None) -> Answered:
        """One request."""


def one_of_everything(by: Asker, word: str, ids: dict[str, str], agent: str = "north") -> dict[str, str]:
    """Make what a tenant can have, all names beginning with `word`, on `agent` and a group; `ids` by kind."""

    def send(method: str, path: str, body: object) -> dict[str, object]:
        answer = by.ask(method, f"/api/v1/{path}", body)
        assert answer.status < 300, (method, path, answer)
        found: dict[str, object] = json.loads(answer.body)
        return found

    def name(kind: str) -> str:
        ids[kind] = f"{word}-{kind}"
        return ids[kind]

    send("PUT", f"resources/{name('resource')}", {"count": 2, "description": word})
    ids["variable"] = f"{word}_variable"
    send("PUT", f"variables/{word}_variable", {"value": f"{word} value"})
    send("PUT", f"variables/{word}_secret", {"value": f"{word} secret", "secret": True})
    send("PUT", f"environments/{name('environment')}", {"variables": {"A": word}})
    send("PUT", f"command-sets/{name('command_set')}", {"before": [f"echo {word}"], "after": []})
    send("PUT", f"notification-lists/{name('list')}", {"emails": [f"{word}@example.org"]})
    send("POST", "calendars", {"name": name("calendar"), "kind": "list", "days": ["2026-12-24"], "description": word})
    job = {
        "name": name("job"), "command": f"echo ${{{{ {word}_variable }}}}", "agent": agent, "tags": [f"{word}-tag"],
        "environment": {"P": f"${{{{ {word}_secret }}}}"}, "limits": {"resources": {ids["resource"]: 1}},
        "job_monitors": {"overrun_s": 60, "notify": [ids["list"]]}, "description": word,
        "uses": {"environment": ids["environment"], "command_set": ids["command_set"]},
        "schedules": [{"cron": "0 0 * * *", "zone": "UTC", "calendar": ids["calendar"]}],
    }  # fmt: skip
    ids["job id"] = str(send("POST", "jobs", job)["id"])
    after = {"name": f"{word}-after", "command": "true", "group": f"{word}-group"}
    send("POST", "jobs", after | {"prerequisites": f"{ids['job']} completed"})
    ids["run"] = str(send("POST", f"jobs/{ids['job']}/run", {})["run"])
    steps = [{"name": f"{word}-step", "job": ids["job"]}, {"name": "two", "command": "true", "agent": agent}]
    flow = json.dumps({"name": name("workflow"), "steps": steps})
    ids["workflow id"] = str(send("POST", "workflows", {"text": flow, "format": "json"})["id"])
    ids["workflow run"] = str(send("POST", f"workflows/{ids['workflow']}/run", {})["workflow_run"])
    monitor = {"name": name("monitor"), "agent": agent, "kind": "manual", "jobs": [ids["job"]], "description": word}
    ids["monitor id"] = str(send("POST", "monitors", monitor)["id"])
    send("POST", f"monitors/{ids['monitor']}/fire", {})
    ids["run key"] = str(send("GET", f"runs/{ids['run']}", None)["key"])
    return ids
