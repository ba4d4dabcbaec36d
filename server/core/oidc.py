"""Signing in by an OpenID provider: what is set, and what an ID token must say. Pure.

OpenID Connect Core 1.0, 3.1.3.7.
"""

from __future__ import annotations

import hmac
import ipaddress
import re
from collections.abc import Mapping
from typing import Any

import msgspec

SKEW_S = 60
"""By so much the provider's clock may differ."""
TOKEN_AGE_S = 600
"""An ID token was made for this sign-in, so it is not older."""
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
"""Signatures with two keys alone: what the public key could sign too (HS256) is none, and `none` is none."""
TEXT_MAX = 300
MAX_AGE_MINUTES = 31 * 24 * 60
ACRS_MAX = 10
_ACR = re.compile(r"[!-~]{1,200}\Z")
_ADDRESS = re.compile(
    r"(?P<scheme>https?)://(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/[!-~]*)?(\?[!-~]*)?\Z"
)


class Provider(msgspec.Struct, frozen=True, kw_only=True):
    """The provider whose word is taken. Without `issuer` there is none: then it is off.

    `user_claim` names a user who is made; `role_claim` "" or the claim whose values `roles` maps to roles, the first
    that is there counts. `max_age_minutes`: so long ago people may have signed in there at most, 0: however long.
    `acr_values`: how strongly, in the provider's words, one of which it has to say; none: it is not looked at.
    `new_role` "": users are not made, unless `roles` gives them one. `button` is what people press. The client's secret
    is sealed, and not here.
    """

    issuer: str = ""
    client_id: str = ""
    scopes: str = "openid profile"
    user_claim: str = "preferred_username"
    role_claim: str = ""
    roles: dict[str, str] = {}
    new_role: str = ""
    makes_users: bool = False
    button: str = "Sign in with the company's account"
    max_age_minutes: int = 0
    acr_values: tuple[str, ...] = ()

    def wrong(self) -> dict[str, str]:
        """What is wrong, by field. Whether there are the roles says the action."""
        if not self.issuer:
            return {}
        found: dict[str, str] = {}
        if why := wrong_address(self.issuer) or ("must have no ? or #" if re.search(r"[?#]", self.issuer) else ""):
            found["issuer"] = why
        if not self.client_id or len(self.client_id) > TEXT_MAX:
            found["client_id"] = f"must have 1 to {TEXT_MAX} characters"
        if "openid" not in self.scopes.split() or len(self.scopes) > TEXT_MAX:
            found["scopes"] = "must hold openid"
        if not self.user_claim.isidentifier():
            found["user_claim"] = "must be the name of a claim, such as preferred_username"
        if self.role_claim and not re.match(r"[\w.:/-]{1,200}\Z", self.role_claim):
            found["role_claim"] = "must be the name of a claim, such as groups, or empty"
        if bool(self.role_claim) != bool(self.roles):
            found["roles"] = "a claim and what its values mean belong together"
        if self.makes_users and not (self.new_role or self.roles):
            found["new_role"] = "is missing: users who are made need a role"
        if not 0 <= self.max_age_minutes <= MAX_AGE_MINUTES:
            found["max_age_minutes"] = f"must be from 0 to {MAX_AGE_MINUTES}"
        if len(self.acr_values) > ACRS_MAX or not all(_ACR.match(value) for value in self.acr_values):
            found["acr_values"] = f"must be at most {ACRS_MAX} words of the provider, without blanks"
        if not 1 <= len(self.button.strip()) <= 60:
            found["button"] = "must have 1 to 60 characters"
        return found


def wrong_address(url: str) -> str:
    """Why a provider cannot be asked there, or "": TLS, unless it is this machine itself."""
    found = _ADDRESS.match(url)
    if found is None or len(url) > TEXT_MAX:
        return "is no address"
    if found["scheme"] == "https" or _is_loopback(found["host"].strip("[]")):
        return ""
    return "must begin with https:// (http is for this machine itself alone)"


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def wrong_claims(claims: Mapping[str, Any], provider: Provider, nonce: str, now_s: float) -> str:
    """What an ID token whose signature is right says wrongly, or ""."""
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    subject, expires, made = claims.get("sub"), claims.get("exp"), claims.get("iat")
    if claims.get("iss") != provider.issuer:
        return "it is of another issuer"
    if provider.client_id not in audiences:
        return "it is for another client"
    if (len(audiences) > 1 or "azp" in claims) and claims.get("azp") != provider.client_id:
        return "it was given to another client"
    if not isinstance(subject, str) or not 0 < len(subject) <= 255:
        return "it names nobody"
    if _time(expires) + SKEW_S < now_s:
        return "it has expired"
    if not now_s - TOKEN_AGE_S - SKEW_S <= _time(made) <= now_s + SKEW_S:
        return "it was not made now; are the clocks right?"
    said = claims.get("nonce")
    if not isinstance(said, str) or not hmac.compare_digest(said.encode(), nonce.encode()):
        return "it was made for another sign-in"
    return _wrong_strength(claims, provider, now_s)


def _wrong_strength(claims: Mapping[str, Any], provider: Provider, now_s: float) -> str:
    """What is wrong with when and how the provider made sure of who this is, or ""."""
    if provider.max_age_minutes:
        at_s = _time(claims.get("auth_time"))
        if not at_s:
            return "it does not say when you signed in there"
        if not now_s - provider.max_age_minutes * 60 - SKEW_S <= at_s <= now_s + SKEW_S:
            return f"you signed in there more than {provider.max_age_minutes} minutes ago; sign in there anew"
    if provider.acr_values and claims.get("acr") not in provider.acr_values:
        return (
            f"the provider has not made sure of you strongly enough (acr is none of {', '.join(provider.acr_values)})"
        )
    return ""


def _time(value: object) -> float:
    """Seconds since 1970; 0 for what is no time."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0.0
    return float(value) if abs(value) < 2**53 else 0.0


def user_of(claims: Mapping[str, Any], provider: Provider) -> str:
    """What a user who is made is called, "" when the token does not say."""
    value = claims.get(provider.user_claim)
    return value if isinstance(value, str) else ""


def role_of(claims: Mapping[str, Any], provider: Provider) -> str:
    """The role that the token gives, "" when none."""
    if provider.role_claim:
        value = claims.get(provider.role_claim)
        having = value if isinstance(value, list) else [value]
        return next((role for word, role in provider.roles.items() if word in having), provider.new_role)
    return provider.new_role
