"""What the parameters of every route name: for asking each route for things of a tenant."""

from __future__ import annotations

import re

from server.web import pages
from server.web.routes import ENDPOINTS

PARAMETER = re.compile(r"\{(\w+)(?::[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}")

API_KINDS = {
    "agents": "agent", "groups": "group", "jobs": "job", "calendars": "calendar", "variables": "variable",
    "workflows": "workflow", "environments": "environment", "command-sets": "command_set", "resources": "resource",
    "runs": "run", "missed": "missed", "monitors": "monitor", "workflow-runs": "workflow run",
    "notification-lists": "list", "unknown": "run key", "server-history": "history", "messages": "message",
    "users": "user", "sessions": "session", "tokens": "token", "settings": "setting", "nodes": "node",
    "outcomes": "outcome", "forks": "fork", "versions": "=1", "aside": "aside", "tenants": "tenant", "roles": "role",
    "windows": "=1", "passkeys": "=1",
}  # fmt: skip
"""Of the API: the segment before a parameter, and what it names. `=`: a value that is not of a tenant."""
PAGE_KINDS = API_KINDS | {
    "jobs": "job id", "workflows": "workflow id", "monitors": "monitor id", "seat": "node", "swap": "swap",
    "banner": "=banner",
}  # fmt: skip
"""Of the pages, which say ids. A parameter that chooses one of several words has that of its pattern."""


def page_routes() -> list[tuple[str, str]]:
    return [(route.method, route.path) for module in pages.PAGES for route in module.ROUTES]


def api_routes() -> list[tuple[str, str]]:
    return [(endpoint.method, endpoint.path) for endpoint in ENDPOINTS]


def kinds(path: str, table: dict[str, str]) -> list[tuple[str, str]]:
    """(text of the parameter, its kind) of a route; KeyError for a segment that nobody has declared."""
    found = []
    for match in PARAMETER.finditer(path):
        words = re.search(r":([a-z-]+)\|", match[0])
        before = path[: match.start()].rstrip("/").rsplit("/", 1)[-1]
        found.append((match[0], f"={words[1]}" if words else table[before]))
    return found


ROUTES = [(method, path, False) for method, path in api_routes()] + [
    (method, path, True) for method, path in page_routes()
]
