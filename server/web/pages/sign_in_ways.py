"""Ways to sign in beside the password, as an administrator sets them."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar

from aiohttp import web

from server.actions import sign_in_ways as actions
from server.core.access import ROLES
from server.core.oidc import Provider
from server.core.sign_in_ways import PasskeyNames, ProxyTrust
from server.errors import Forbidden, Invalid
from server.ports.numbers import is_number
from server.storage import roles
from server.web.api.sign_in import Ways, ways
from server.web.frame import Frame
from server.web.pages import serve

HERE = "/users/sign-in"
PROVIDER_FIELDS = ("issuer", "client_id", "scopes", "user_claim", "role_claim", "new_role", "button")


@dataclass(frozen=True, slots=True)
class SignInWaysPage:
    """`values` and `errors` are those of the form that was sent, `form` which one it was."""

    template: ClassVar[str] = "pages/sign_in_ways.html"
    frame: Frame
    ways: Ways
    roles: tuple[str, ...] = ROLES
    form: str = ""
    values: Mapping[str, str] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def proxy(self) -> Mapping[str, str]:
        """The values of the form of trusted proxies."""
        if self.form == "proxy":
            return self.values
        trust = self.ways.proxy
        return {
            "proxies": "\n".join(trust.proxies),
            "user_header": trust.user_header,
            "address_header": trust.address_header,
            "new_role": trust.new_role,
        }

    @property
    def passkeys(self) -> Mapping[str, str]:
        """The values of the form of passkeys."""
        return self.values if self.form == "passkeys" else {"rp_id": self.ways.passkeys.rp_id}

    @property
    def provider(self) -> Mapping[str, str]:
        """The values of the form of the OpenID provider, without the secret."""
        if self.form == "provider":
            return self.values
        known = self.ways.provider
        plain = {name: getattr(known, name) for name in PROVIDER_FIELDS}
        roles = "\n".join(f"{word} = {role}" for word, role in known.roles.items())
        strength = {"max_age_minutes": str(known.max_age_minutes), "acr_values": " ".join(known.acr_values)}
        return plain | strength | {"roles": roles, "makes_users": "1" if known.makes_users else ""}

    def errors_of(self, form: str) -> Mapping[str, str]:
        """What is wrong with a form."""
        return self.errors if self.form == form else {}

    @property
    def provider_roles(self) -> tuple[tuple[str, str], ...]:
        """What somebody may become whom the provider gives no other role."""
        return (("", "none"), *((role, role) for role in self.roles))

    @property
    def new_roles(self) -> tuple[tuple[str, str], ...]:
        """What a user who is not there yet may become."""
        return (("", "is refused"), *((role, f"becomes {role}") for role in self.roles))


async def _page(request: web.Request) -> SignInWaysPage:
    def query(rows: sqlite3.Connection) -> tuple[Ways, list[str]]:
        return ways(rows), [role.name for role in roles.every(rows)]

    frame, (found, own) = await serve.load(request, "Sign-in", query)
    return SignInWaysPage(frame, found, (*ROLES, *own))


async def show(request: web.Request) -> web.Response:
    """`GET /users/sign-in`."""
    return serve.html(await _page(request))


async def put_proxy(request: web.Request) -> web.Response:
    """`POST /users/sign-in/proxy`."""
    typed = await serve.form(request)
    trust = ProxyTrust(
        proxies=tuple(typed.get("proxies", "").split()),
        user_header=typed.get("user_header", ""),
        address_header=typed.get("address_header", ""),
        new_role=typed.get("new_role", ""),
    )
    try:
        await serve.write(request, lambda by, now_us: actions.put_proxy(trust, by, now_us))
    except (Invalid, Forbidden) as error:
        return await again(request, "proxy", typed, error)
    return serve.back(HERE, "sign-in-saved")


async def put_passkeys(request: web.Request) -> web.Response:
    """`POST /users/sign-in/passkeys`."""
    typed = {"rp_id": (await serve.form(request)).get("rp_id", "")}
    names = PasskeyNames(rp_id=typed["rp_id"])
    try:
        await serve.write(request, lambda by, now_us: actions.put_passkeys(names, by, now_us))
    except (Invalid, Forbidden) as error:
        return await again(request, "passkeys", typed, error)
    return serve.back(HERE, "sign-in-saved")


async def put_provider(request: web.Request) -> web.Response:
    """`POST /users/sign-in/provider`. An empty secret: the one that it has stays."""
    blank = {"roles": "", "makes_users": "", "max_age_minutes": "0", "acr_values": ""}
    typed = blank | await serve.form(request)
    secret = typed.pop("client_secret", "") or None
    pairs = [line.partition("=") for line in typed["roles"].splitlines() if line.strip()]
    provider = Provider(
        **{name: typed.get(name, "") for name in PROVIDER_FIELDS},
        roles={word.strip(): role.strip() for word, _, role in pairs},
        makes_users=bool(typed["makes_users"]),
        max_age_minutes=int(age) if is_number(age := typed["max_age_minutes"] or "0") else -1,
        acr_values=tuple(typed["acr_values"].split()),
    )
    seal = serve.site(request).seal.seal
    try:
        await serve.write(request, lambda by, now_us: actions.put_provider(provider, secret, seal, by, now_us))
    except (Invalid, Forbidden) as error:
        return await again(request, "provider", typed, error)
    return serve.back(HERE, "sign-in-saved")


async def again(request: web.Request, form: str, typed: Mapping[str, str], error: Invalid | Forbidden) -> web.Response:
    """The page once more, with what was typed and what is wrong with it."""
    page = await _page(request)
    mine = "proxies", "user_header", "address_header", "max_age_minutes", "acr_values"
    blank = {name: "" for name in (*PROVIDER_FIELDS, *mine)}
    page = replace(page, frame=page.frame.with_problem(str(error)), form=form, values=blank | dict(typed))
    return serve.html(replace(page, errors=error.fields), 422)


ROUTES = (
    serve.get(HERE, show),
    serve.post(HERE + "/proxy", put_proxy),
    serve.post(HERE + "/passkeys", put_passkeys),
    serve.post(HERE + "/provider", put_provider),
)
