"""What asks people once more who they are, when they said so a while ago: what changes who comes in, and as what. Pure.

It holds for browsers: a token and the local socket are not asked. What asks for a password or a code by itself is not
in the table: one's own password, setting up and removing one's own second factor and passkeys.
"""

from __future__ import annotations

from server.core.model import MINUTE_US

GOOD_FOR_US = 15 * MINUTE_US
"""So long after a sign-in, or after saying it once more, nobody is asked again."""

_TABLE = """
    POST /users/sign-out-all /users/sessions/{start}/end
    DELETE /api/v1/sessions /api/v1/sessions/{id}
    POST /users/tokens /api/v1/tokens
    POST /users /users/{name}/{what} /users/{name}/role /api/v1/users
    PUT /api/v1/users/{name}
    DELETE /api/v1/users/{name}/second-factor /api/v1/users/{name}/linked-accounts
    POST /users/roles /users/roles/{name}/delete /users/roles/{name}/second-factor /api/v1/roles
    PUT /api/v1/roles/{name}
    DELETE /api/v1/roles/{name}
    POST /users/sign-in/proxy /users/sign-in/passkeys /users/sign-in/provider /login/oidc
    PUT /api/v1/sign-in/dangerously-trusted-proxies /api/v1/sign-in/passkeys /api/v1/sign-in/provider
"""


def _routes(text: str) -> frozenset[tuple[str, str]]:
    lines = [line.split() for line in text.splitlines() if line.strip()]
    return frozenset((method, route) for method, *routes in lines for route in routes)


ASKING = _routes(_TABLE)
"""By method and the route as `server.web.permissions` writes it. `/login/oidc` links an account of who is signed in."""


def is_asked(method: str, route: str, proved_at_us: int, now_us: int) -> bool:
    """Whether who said last at `proved_at_us` who they are has to say it again before this is done."""
    return (method, route) in ASKING and now_us - proved_at_us > GOOD_FOR_US
