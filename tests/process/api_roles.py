"""The API of a real pair, asked by schemathesis as each role, a narrow token, a tenant and nobody; then the standby's.

What an auditor and a user must not change is compared before and after. Printed for each: operations, cases, statuses.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.process.api import Api
from tests.process.api_cases import Asked, ask_all
from tests.process.checker import Verdict
from tests.process.cluster import Node, running_pair
from tests.unit.tenant_stage import one_of_everything
from tests.unit.web_desk import Answered

Say = Callable[[str], None]
PASSWORD = "correct horse battery"
TENANT, OWN_ROLE, NARROW = "acme", "night", "runs.stop"

NEVER = {
    "POST /api/v1/login": "a wrong password is answered a second late, and locks the account",
    "POST /api/Account/Authenticate": "the same",
}
"""What nobody is asked for here, and why."""
NOT_BY_ADMINISTRATORS = {
    "POST /api/v1/swap": "the roles of the nodes would change under the test; ./scripts/soak swaps does it",
    "POST /api/v1/go-alone": "the master would stop waiting for its standby; ./scripts/soak alone does it",
    "DELETE /api/v1/nodes/{id}": "the standby would be gone",
    "POST /api/v1/nodes/{id}/seat": "the other nodes would become observers; ./scripts/soak standbys does it",
    "POST /api/v1/certificates/rotate": "the test knows the node by the authority; ./scripts/soak rotations does it",
    "POST /api/v1/certificates/advance": "the same",
}
"""What could end the pair in the hands of who may; everybody else is refused, and is asked for it."""
AT_THE_END = (
    "DELETE /api/v1/tokens/{id}", "PUT /api/v1/users/{name}", "PUT /api/v1/roles/{name}", "DELETE /api/v1/sessions",
    "PUT /api/v1/tenants/{name}", "DELETE /api/v1/agents/{name}", "POST /api/v1/agents/{name}/declare-dead",
    "POST /api/v1/maintenance/on", "POST /api/v1/maintenance/start", "POST /api/Maintenance/Start",
    "POST /api/v1/maintenance/off", "POST /api/v1/maintenance/end", "POST /api/Maintenance/End",
)  # fmt: skip
"""What takes the asker's own token, its tenant or the service away: asked for after everything else."""
UNTOUCHED = (
    "export", "users?limit=1000", "roles", "tenants?limit=1000", "settings", "smtp", "gates", "banner", "login-message",
    "maintenance", "maintenance/windows", "nodes", "witnesses", "groups?limit=1000", "agents/requests",
)  # fmt: skip
"""What neither an auditor nor a user may change, as an administrator reads it."""
HEARD = re.compile(r'"heard_at_us": \d+')


@dataclass
class Asker:
    """An administrator over a node's API, for filling it."""

    api: Api
    tenant: str = ""

    def ask(self, method: str, path: str, body: object = None) -> Answered:
        """One request, in the name of the tenant."""
        where = path if not self.tenant else f"{path}{'&' if '?' in path else '?'}tenant={self.tenant}"
        answer = self.api.request(method, where, body)
        return Answered(answer.status, str(answer.headers), json.dumps(answer.value).encode())


def api(directory: Path, count: int, say: Say) -> Verdict:
    """`count` examples of each operation and phase, as everybody."""
    with running_pair(directory) as pair:
        master, standby = pair.wait_healthy()
        tokens = _fill(master)
        document = master.api.get("/api/v1/openapi.json")
        say("never asked: " + _reasons(NEVER))
        say("not asked by administrators: " + _reasons(NOT_BY_ADMINISTRATORS))
        everybody: dict[str, Asked] = {}
        faults: list[str] = []
        for who, token in list(tokens.items()):
            before = _untouched(master)
            everybody[who] = _as(
                master, document, token, count, NOT_BY_ADMINISTRATORS if who == "administrator" else ()
            )
            _say(say, who, everybody[who])
            if who in ("auditor", "user", NARROW, "nobody"):
                changed = [name for name, text in _untouched(master).items() if text != before[name]]
                faults += [f"{who}: changed {name}" for name in changed]
                say(f"{who}: of what it must not change, {len(before) - len(changed)} of {len(before)} are as before")
                for name in changed:
                    say(f"    {name} was {before[name]}\n    is now {_untouched(master)[name]}")
            if who == "auditor":
                there = "auditor at the standby"
                everybody[there] = _as(standby, document, token, count)
                _say(say, there, everybody[there])
        faults += [
            f"{who}: {where}: {what}" for who, found in everybody.items() for where, what in found.faults.items()
        ]
        counts = {"askers": len(everybody), "cases": sum(found.cases for found in everybody.values())}
        return Verdict(counts, tuple(faults))


def _as(node: Node, document: dict[str, Any], token: str, count: int, without: Collection[str] = ()) -> Asked:
    address = f"https://{node.host}:{node.port}"
    first = {*NEVER, *without, *AT_THE_END}
    found = ask_all(address, document, token, count, without=first, authority=node.data / "ca.crt")
    last = ask_all(
        address,
        document,
        token,
        count,
        only=lambda operation: operation in AT_THE_END,
        authority=node.data / "ca.crt",
        phases=("coverage", "fuzzing"),
    )
    return Asked(
        found.operations | last.operations,
        found.statuses + last.statuses,
        found.faults | last.faults,
        found.not_now | last.not_now,
    )


def _say(say: Say, who: str, found: Asked) -> None:
    not_now = f"; 503 at {', '.join(sorted(found.not_now))}" if found.not_now else ""
    say(f"{who}: {found}{not_now}")
    for where, what in found.faults.items():
        say(f"    {where}: {what}")


def _reasons(operations: dict[str, str]) -> str:
    return "; ".join(f"{name} ({why})" for name, why in operations.items())


def _untouched(node: Node) -> dict[str, str]:
    """Each as text; times of use and states of agents are not part of it."""
    client = node.api
    texts = {name: json.dumps(client.get(f"/api/v1/{name}"), sort_keys=True, default=str) for name in UNTOUCHED}
    return {name: HEARD.sub("", text) for name, text in texts.items()}


def _fill(node: Node) -> dict[str, str]:
    """One of everything for the host and for a tenant, and a token for everybody who asks."""
    client = node.api
    people = Asker(client)
    for name in ("apple", "zebra"):
        client.post("/api/v1/groups", {"name": f"{name}-group", "agents": ["beta"]})
    client.post("/api/v1/tenants", {"name": TENANT, "title": "Acme"})
    one_of_everything(people, "apple", {}, "alpha")
    one_of_everything(Asker(client, TENANT), "zebra", {}, "alpha")
    client.post("/api/v1/maintenance/windows", {"title": "later", "expression": "0 3 * * 0"})
    client.request("PUT", "/api/v1/banner", {"title": "Hello"})
    client.post("/api/v1/roles", {"name": OWN_ROLE, "permissions": ["runs.start"]})
    tokens = {}
    for role in ("auditor", "user", OWN_ROLE, "operator", "administrator"):
        name = f"the-{role}"
        client.post("/api/v1/users", {"name": name, "password": PASSWORD, "role": role})
        tokens[role] = client.post("/api/v1/tokens", {"user": name, "name": "asks"})["token"]
    made = people.ask("POST", f"/api/v1/users?tenant={TENANT}", {
        "name": "anna", "password": PASSWORD, "role": "administrator"})  # fmt: skip
    assert made.status == 201, made
    owner = f"{TENANT}:anna"
    others = {
        NARROW: client.post("/api/v1/tokens", {"user": "the-administrator", "name": "narrow", "scope": NARROW})[
            "token"
        ],
        f"administrator of {TENANT}": client.post("/api/v1/tokens", {"user": owner, "name": "asks"})["token"],
        "nobody": "",
    }
    last = tokens.pop("administrator")
    return tokens | others | {"administrator": last}
