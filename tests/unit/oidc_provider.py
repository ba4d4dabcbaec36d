"""A real OpenID provider on loopback: it signs with keys of its own, checks PKCE, and has a switch for each fault."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from html import escape
from typing import Any

from aiohttp import web
from joserfc import jwk, jwt

CLIENT, SECRET = "understudy", "the client's secret"


@dataclass
class OidcProvider:
    """`claims` are added to each token, `fault` is what it does wrongly; `kid` names the key that signs.

    `asks`: somebody has to press a button on its page, as people do; else whoever comes is signed in already.
    """

    now_s: Any
    issuer: str = ""
    subject: str = "s-1"
    claims: dict[str, Any] = field(default_factory=dict)
    fault: str = ""
    asks: bool = False
    kid: str = "k1"
    keys: dict[str, jwk.RSAKey] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)
    begun: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rotate("k1")

    def rotate(self, kid: str) -> None:
        """Another key signs, and no other is published."""
        self.kid, self.keys = kid, {kid: jwk.RSAKey.generate_key(2048, {"kid": kid})}

    async def document(self, request: web.Request) -> web.Response:
        """`/.well-known/openid-configuration`."""
        self.asked.append("document")
        if self.fault == "down":
            return web.Response(status=502, text="no")
        if self.fault == "redirect":
            return web.Response(status=302, headers={"Location": f"{self.issuer}/elsewhere"})
        if self.fault == "endless":
            return web.Response(body=b" " * (300 << 10))
        places = {"authorization_endpoint": "authorize", "jwks_uri": "keys", "token_endpoint": "token"}
        found = {name: f"{self.issuer}/{path}" for name, path in places.items()}
        if self.fault == "plain http":
            found["token_endpoint"] = "http://192.0.2.1/token"
        return web.json_response({"issuer": "https://evil.example" if self.fault == "issuer" else self.issuer, **found})

    async def published(self, request: web.Request) -> web.Response:
        """The public keys."""
        self.asked.append("keys")
        return web.json_response({"keys": [key.as_dict(private=False) for key in self.keys.values()]})

    async def authorize(self, request: web.Request) -> web.Response:
        """Somebody signs in, and the browser is sent back."""
        if self.asks and "agreed" not in request.query:
            fields = "".join(f'<input type="hidden" name="{n}" value="{escape(v)}">' for n, v in request.query.items())
            page = f"<h1>The company</h1><form>{fields}<button name='agreed' value='1'>That is me</button></form>"
            return web.Response(
                text=f"<!doctype html><title>The company</title><link rel='icon' href='data:,'>{page}",
                content_type="text/html",
            )
        code = secrets.token_urlsafe(16)
        self.begun = dict(request.query)
        self.codes[code] = dict(request.query)
        place = f"{request.query['redirect_uri']}?code={code}&state={request.query['state']}"
        return web.Response(status=302, headers={"Location": place})

    async def token(self, request: web.Request) -> web.Response:
        """A code for an ID token, once, for the client that proves itself and its verifier."""
        form = await request.post()
        self.asked.append("token")
        begun = self.codes.pop(str(form["code"]), None)
        digest = hashlib.sha256(str(form["code_verifier"]).encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).decode().rstrip("=")
        is_right = begun is not None and begun["code_challenge"] == challenge and form["client_secret"] == SECRET
        if begun is None or not is_right or begun["redirect_uri"] != form["redirect_uri"]:
            return web.json_response({"error": "invalid_grant"}, status=400)
        return web.json_response(
            {"access_token": "x", "token_type": "Bearer", "id_token": self._signed(begun["nonce"])}
        )

    def _signed(self, nonce: str) -> str:
        now = int(self.now_s())
        claims = {"iss": self.issuer, "sub": self.subject, "aud": CLIENT, "exp": now + 300, "iat": now, "nonce": nonce}
        claims |= {"preferred_username": "eve", **self.claims, **_faulty(self.fault, now)}
        key, header = self.keys[self.kid], {"alg": "RS256", "kid": self.kid}
        if self.fault == "alg none":
            return f"{_text({'alg': 'none', 'kid': self.kid})}.{_text(claims)}."
        if self.fault == "HS256 with the public key":
            text = f"{_text({'alg': 'HS256', 'kid': self.kid})}.{_text(claims)}"
            code = hmac.digest(key.as_pem(private=False), text.encode(), "sha256")
            return f"{text}.{base64.urlsafe_b64encode(code).decode().rstrip('=')}"
        if self.fault == "unknown kid":
            header["kid"] = "k9"
        if self.fault == "another key":
            key = jwk.RSAKey.generate_key(2048)
        text = jwt.encode(header, claims, key)
        return text[:-8] + "AAAAAAAA" if self.fault == "changed" else text


def _faulty(fault: str, now: int) -> dict[str, Any]:
    """What a faulty token says otherwise."""
    return {
        "wrong nonce": {"nonce": "x"},
        "wrong audience": {"aud": "another"},
        "another azp": {"aud": [CLIENT, "another"], "azp": "another"},
        "wrong issuer": {"iss": "https://evil.example"},
        "expired": {"exp": now - 61},
        "from the future": {"iat": now + 120},
        "old": {"iat": now - 4000},
        "no subject": {"sub": ""},
        "no times": {"exp": None},
    }.get(fault, {})


def _text(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")


@asynccontextmanager
async def running_provider(now_s: Any) -> AsyncIterator[OidcProvider]:
    """A provider until the block ends; `now_s` gives its time in seconds."""
    found = OidcProvider(now_s)
    app = web.Application()
    app.router.add_get("/.well-known/openid-configuration", found.document)
    app.router.add_get("/keys", found.published)
    app.router.add_get("/authorize", found.authorize)
    app.router.add_post("/token", found.token)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    found.issuer = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield found
    finally:
        await runner.cleanup()
