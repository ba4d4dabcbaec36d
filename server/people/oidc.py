"""Asks an OpenID provider: its documents and keys, and the code of a sign-in for an ID token that is checked.

Bounded in time and size, over TLS, and nothing is followed that it says: no redirect. `authlib` and `joserfc` are
imported where they are used. Where hosts are bounded (`server.core.egress`), it asks those that are allowed.
"""

from __future__ import annotations

import json
import ssl
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import aiohttp

from server.core.egress import EVERY, AllowedHosts, Bounds
from server.core.oidc import ALGORITHMS, Provider, wrong_address, wrong_claims
from server.errors import Unauthenticated, Unavailable
from server.office.egress import Guarded, NotAllowed, check

NO_LIBRARY = "Signing in by a provider needs the library authlib on this node: install understudy[sign-in], restart it."
TIMEOUT_S = 10.0
BYTES_MAX = 256 << 10
KEPT_S = 600.0
SURE_S = 15.0
"""A browser is sent to a provider that answered so lately: one that is down is said here, and not by the browser."""
KEYS_AGAIN_S = 5.0
"""An unknown key makes the keys be asked for again, but not more often."""
KEYS_MAX = 50
USE_PASSWORD = "Sign in with name and password."


class Silent(Unavailable):
    """The provider did not answer, or not as it should. Name and password work."""


@dataclass
class _Known:
    document: dict[str, Any]
    keys: dict[str, Any]
    at_s: float
    keys_at_s: float


@dataclass(frozen=True, slots=True)
class Begun:
    """What goes with one sign-in: where the provider sends the browser, what its token repeats, what proves PKCE.

    `allowed`: whom this node may ask.
    """

    redirect: str
    nonce: str
    verifier: str
    allowed: AllowedHosts = EVERY


@dataclass
class Asker:
    """Keeps the provider's document and keys for ten minutes, in memory. `now_s` is of a clock that never goes back."""

    _known: dict[str, _Known] = field(default_factory=dict)

    async def address(self, provider: Provider, begun: Begun, state: str, now_s: float) -> str:
        """Where the browser goes. Raises `Silent`."""
        try:
            from authlib.oauth2.rfc6749.parameters import prepare_grant_uri  # type: ignore[import-untyped]  # it has none
            from authlib.oauth2.rfc7636 import create_s256_code_challenge  # type: ignore[import-untyped]  # it has none
        except ImportError as error:
            raise Unavailable(NO_LIBRARY, retry_after_s=3600) from error
        known = await self._of(provider, now_s, SURE_S, begun.allowed)
        challenge = create_s256_code_challenge(begun.verifier)
        more = {"nonce": begun.nonce, "code_challenge": challenge, "code_challenge_method": "S256"}
        if provider.max_age_minutes:
            more["max_age"] = str(provider.max_age_minutes * 60)
        if provider.acr_values:
            more["acr_values"] = " ".join(provider.acr_values)
        place = known.document["authorization_endpoint"]
        return str(prepare_grant_uri(place, provider.client_id, "code", begun.redirect, provider.scopes, state, **more))

    async def claims(
        self, provider: Provider, secret: str, code: str, begun: Begun, times: tuple[float, float]
    ) -> dict[str, Any]:
        """What the provider says of who has the code. `times`: (UTC, monotonic) in seconds.

        Raises `Unauthenticated` when it refuses the code or its token is not right, `Silent`.
        """
        known = await self._of(provider, times[1], KEPT_S, begun.allowed)
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": begun.redirect}
        form |= {"code_verifier": begun.verifier, "client_id": provider.client_id, "client_secret": secret}
        status, answer = await _ask(begun.allowed, "POST", known.document["token_endpoint"], form)
        token = answer.get("id_token")
        if status >= 500:
            raise Silent(f"The provider answered {status}. Sign in with your name and password, or try again.")
        if status != 200 or not isinstance(token, str):
            raise Unauthenticated("The provider did not accept the sign-in. Begin again.")
        found = await self._opened(known, token, times[1], begun.allowed)
        why = wrong_claims(found, provider, begun.nonce, times[0])
        if why:
            raise Unauthenticated(f"What the provider says is not right: {why}.")
        return found

    async def _opened(self, known: _Known, token: str, now_s: float, allowed: AllowedHosts) -> dict[str, Any]:
        from joserfc import jwk, jwt
        from joserfc.errors import InvalidKeyIdError, JoseError

        for again in (False, True):
            try:
                keys = jwk.KeySet.import_key_set(known.keys)  # type: ignore[arg-type]  # any JSON: it checks
                return dict(jwt.decode(token, keys, algorithms=list(ALGORITHMS)).claims)
            except InvalidKeyIdError as error:
                if again or now_s < known.keys_at_s + KEYS_AGAIN_S:
                    raise Unauthenticated(_UNSIGNED) from error
                known.keys, known.keys_at_s = await _keys(allowed, known.document), now_s
            except (JoseError, ValueError, TypeError, KeyError, AttributeError) as error:
                raise Unauthenticated(_UNSIGNED) from error
        raise Unauthenticated(_UNSIGNED)

    async def _of(self, provider: Provider, now_s: float, kept_s: float, allowed: AllowedHosts) -> _Known:
        known = self._known.get(provider.issuer)
        if known is None or now_s > known.at_s + kept_s:
            place = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
            status, document = await _ask(allowed, "GET", place)
            wanted = ("authorization_endpoint", "token_endpoint", "jwks_uri")
            if status != 200 or document.get("issuer") != provider.issuer:
                raise Silent(f"{place} answered {status} and does not describe this issuer. {USE_PASSWORD}")
            for name in wanted:
                if not isinstance(document.get(name), str) or (why := wrong_address(document[name])):
                    raise Silent(f"The provider's {name} {why or 'is missing'}. {USE_PASSWORD}")
            known = _Known(document, await _keys(allowed, document), now_s, now_s)
            self._known = {provider.issuer: known}
        return known


_UNSIGNED = "What the provider says is not signed with a key of it."


async def _keys(allowed: AllowedHosts, document: dict[str, Any]) -> dict[str, Any]:
    status, found = await _ask(allowed, "GET", document["jwks_uri"])
    keys = found.get("keys")
    if status != 200 or not isinstance(keys, list) or not 0 < len(keys) <= KEYS_MAX:
        raise Silent("The provider's keys cannot be read. Sign in with your name and password.")
    return {"keys": [one for one in keys if isinstance(one, dict) and one.get("kty") in ("RSA", "EC", "OKP")]}


async def _ask(
    allowed: AllowedHosts, method: str, url: str, form: dict[str, str] | None = None
) -> tuple[int, dict[str, Any]]:
    """Status and the JSON object that was answered. Raises `Silent` for whatever else happens."""
    timeout, bounds = aiohttp.ClientTimeout(total=TIMEOUT_S), Bounds("", allowed)
    try:
        check(urlsplit(url).hostname or "", bounds)
        async with (
            aiohttp.TCPConnector(resolver=Guarded(bounds)) as connector,
            aiohttp.ClientSession(
                timeout=timeout, connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False
            ) as session,
            session.request(
                method, url, data=form, headers={"Accept": "application/json"}, allow_redirects=False
            ) as answer,
        ):
            raw = b""
            async for part in answer.content.iter_chunked(16 << 10):
                raw += part
                if len(raw) > BYTES_MAX:
                    raise Silent(f"The provider's answer is longer than {BYTES_MAX >> 10} KiB. {USE_PASSWORD}")
            if 300 <= answer.status < 400:
                raise Silent(f"The provider answers with a redirect, which is not followed. {USE_PASSWORD}")
            found = json.loads(raw)
    except TimeoutError as error:
        raise Silent(
            f"The provider did not answer within {TIMEOUT_S:.0f} s. Sign in with name and password."
        ) from error
    except NotAllowed as error:
        raise Silent(f"The provider is not asked: {error}. {USE_PASSWORD}") from error
    except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError, RecursionError) as error:
        raise Silent(f"The provider cannot be reached, or does not answer as one should. {USE_PASSWORD}") from error
    if not isinstance(found, dict):
        raise Silent("The provider answers no JSON object.")
    return answer.status, found
