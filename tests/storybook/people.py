"""Roles and API tokens."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from server.core.access import PERMISSIONS, ROLES
from server.core.model import DAY_US, HOUR_US
from server.core.oidc import Provider
from server.core.sign_in_ways import ProxyTrust
from server.core.tenancy import wrong_name
from server.storage.tenants import TenantLine
from server.web.api.passkeys import PasskeyLine
from server.web.api.roles import BUILT_IN, RoleLine
from server.web.api.second_factor import State
from server.web.api.sign_in import Ways
from server.web.api.tokens import TokenLine
from server.web.pages.password import PasswordPage
from server.web.pages.proving import ProvingPage
from server.web.pages.roles import RolesPage
from server.web.pages.second_factor import SecondFactorPage
from server.web.pages.sign_in import LeavePage, SignInPage
from server.web.pages.sign_in_ways import SignInWaysPage
from server.web.pages.tenants import TenantsPage
from server.web.pages.tokens import TokensPage
from tests.storybook.fixture import NOW_US, Story, frame

WRONG_PASSWORD = "This is one of the passwords that are tried first everywhere. Choose another."


def _roles() -> tuple[RoleLine, ...]:
    built_in = [
        RoleLine(name, True, [one for one, having in PERMISSIONS.items() if name in having], BUILT_IN[name], ["admin"])
        for name in ROLES
    ]
    night = ["anna", "bert", "cleo", "dora"]
    return (
        *built_in,
        RoleLine("night-shift", False, ["read", "runs.start"], "Starts what was missed", night),
        RoleLine("release", False, ["read", "jobs.change"], "Brings jobs of a release", []),
    )


def _token(number: int, name: str, days: int, scope: str = "", used: int | None = None) -> TokenLine:
    return TokenLine(
        id=number,
        user="admin" if number % 2 else "release-robot",
        name=name,
        created_at_us=NOW_US - 90 * DAY_US,
        expires_at_us=NOW_US + days * DAY_US,
        revoked_at_us=NOW_US - DAY_US if name == "old" else None,
        scope=scope,
        last_used_at_us=used,
    )


WRONG_TENANT = {"name": "Acme", "title": ""}, {"name": f"The name of a tenant {wrong_name('Acme')}."}


def _tenants() -> tuple[TenantLine, ...]:
    made: dict[str, Any] = {"created_at_us": NOW_US - 90 * DAY_US, "created_by": "admin"}
    closed = NOW_US - 3 * DAY_US
    return (
        TenantLine(
            name="acme", title="Acme Freight, contract 4711", users=14, jobs=320, workflows=12, agents=2, **made
        ),
        TenantLine(name="night", title="", users=2, jobs=9, workflows=0, agents=0, **made),
        TenantLine(
            name="old", title="Moved away", users=0, jobs=40, workflows=1, agents=0, closed_at_us=closed, **made
        ),
    )


def _passkeys() -> tuple[PasskeyLine, ...]:
    return (
        PasskeyLine(1, "Laptop of the night shift", "example.org", True, NOW_US - 40 * DAY_US, NOW_US - HOUR_US),
        PasskeyLine(2, "Stick in the safe", "north.example.org", False, NOW_US - 9 * DAY_US, None),
    )


def _second_factor() -> list[Story]:
    at = frame("Second Factor", "/users")
    key = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
    url = f"otpauth://totp/Understudy:admin?secret={key}&issuer=Understudy"
    recovery = tuple(f"ABCD-EFGH-IJKL-MNOP-QRST-UV{number}Q" for number in range(2, 7))
    nobody = frame("Sign in", "/login", user="", user_role="")
    wrong = "The code is wrong or was used already. Wait for the next one and try again."
    state = State(None, 10, True)
    return [
        Story("second-factor", SecondFactorPage(at, State(None, 0, False))),
        Story("second-factor-required", SecondFactorPage(at, State(None, 0, True))),
        Story("second-factor-begun", SecondFactorPage(at, State(None, 0, False), key, url)),
        Story("second-factor-wrong", SecondFactorPage(at, State(None, 0, False), key, url, (), wrong)),
        Story("second-factor-confirmed", SecondFactorPage(at, State(NOW_US, 10, False), recovery=recovery)),
        Story("second-factor-in-use", SecondFactorPage(at, State(NOW_US - 9 * DAY_US, 7, True))),
        Story("second-factor-passkeys", SecondFactorPage(at, state, passkeys=_passkeys(), rp_id="example.org")),
        Story("second-factor-numbers", SecondFactorPage(at, State(None, 0, False), host="192.0.2.10", rp_id="")),
        Story("sign-in-code", SignInPage(nobody, "/", "", "", "ticket")),
        Story("sign-in-code-wrong", SignInPage(nobody, "/", "", wrong, "ticket")),
    ]


def _sign_in() -> list[Story]:
    at = frame("Sign-in", "/users")
    trust = ProxyTrust(proxies=("192.0.2.10", "2001:db8::/64"), address_header="X-Forwarded-For", new_role="user")
    provider = Provider(
        issuer="https://login.example.org", client_id="understudy", role_claim="groups", roles={"ops": "operator"}
    )
    typed = {"proxies": "10.0.0.0/8", "user_header": "Cookie", "address_header": "", "new_role": ""}
    wrong = SignInWaysPage(at, Ways(ProxyTrust()), form="proxy", values=typed)
    errors = ProxyTrust(proxies=("10.0.0.0/8",), user_header="Cookie").wrong()
    nobody, link = frame("Sign in", "/login", user="", user_role=""), frame("Second Factor", "/users")
    return [
        Story("sign-in-ways", SignInWaysPage(at, Ways(ProxyTrust()))),
        Story("sign-in-ways-set", SignInWaysPage(at, Ways(trust, provider=provider))),
        Story("sign-in-ways-wrong", replace(wrong, errors=errors)),
        Story("sign-in-proxied", SignInPage(nobody, proxied="anna")),
        Story("sign-in-leave", LeavePage(nobody, "https://login.example.org/authorize?client_id=understudy")),
        Story("sign-in-provider", SignInPage(nobody, provider=provider.button, signed_out=True)),
        Story("second-factor-link", SecondFactorPage(link, State(None, 0, False), issuer=provider.issuer)),
    ]


WRONG_AGAIN = "The name or the password is wrong. Try again."


def stories() -> list[Story]:
    """All of them."""
    asks = frame("Who are you?", "/users")
    roles, tokens = frame("Roles", "/users"), frame("API Tokens", "/users")
    lines = (
        _token(4, "monitoring", 200, "read-only", NOW_US - HOUR_US),
        _token(3, "releases", 9, "jobs.change runs.start", NOW_US - 3 * DAY_US),
        _token(2, "command line", 275),
        _token(1, "old", 100),
    )
    typed = {"name": "release", "description": "Brings jobs of a release"}
    wrong = {"scope": "There is no permission runs.strat. See: understudy role list"}
    values = {"name": "ci", "user": "", "scope": "runs.strat", "days": "30"}
    return [
        Story("roles", RolesPage(roles, _roles())),
        Story("roles-change", RolesPage(roles, _roles(), typed, frozenset({"jobs.change"}), {}, True)),
        Story("tokens", TokensPage(tokens, lines)),
        Story("tokens-empty", TokensPage(tokens, ())),
        Story("tokens-made", TokensPage(tokens, lines, secret="us_" + "3xAmPlE" * 6)),
        Story("tokens-wrong", TokensPage(tokens, lines, values, wrong)),
        Story("tenants", TenantsPage(frame("Tenants", "/tenants"), _tenants())),
        Story("tenants-empty", TenantsPage(frame("Tenants", "/tenants"), ())),
        Story("tenants-wrong", TenantsPage(frame("Tenants", "/tenants"), _tenants(), *WRONG_TENANT)),
        *_second_factor(),
        Story("proof-again", ProvingPage(asks, "/users/tokens", (("name", "ci"),), True, True)),
        Story(
            "proof-again-wrong",
            ProvingPage(asks, "/users/tokens", (), True, False, {"proof-password": WRONG_AGAIN}),
        ),
        Story("password-given", PasswordPage(frame("Password", "/users"), {}, True)),
        Story("password", PasswordPage(frame("Password", "/users"), {})),
        Story("password-wrong", PasswordPage(frame("Password", "/users"), {"password": WRONG_PASSWORD})),
        *_sign_in(),
    ]
