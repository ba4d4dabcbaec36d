"""Ways to sign in beside the password: what is set, and setting it."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import linked_accounts
from server.actions import sign_in_ways as actions
from server.core.oidc import Provider
from server.core.sign_in_ways import PasskeyNames, ProxyTrust
from server.errors import Invalid
from server.storage import sign_in_ways
from server.web.api.endpoint import Answer, Call, Endpoint, shape


class Ways(msgspec.Struct, frozen=True):
    """What is set. No proxies: nobody says who somebody is."""

    proxy: ProxyTrust
    passkeys: PasskeyNames = PasskeyNames()
    provider: Provider = Provider()


class ProviderChange(Provider, frozen=True, kw_only=True):
    """The provider; without `client_secret` the one that it has stays."""

    client_secret: str | None = None

    def plain(self) -> Provider:
        """Without the secret."""
        return Provider(**{name: getattr(self, name) for name in Provider.__struct_fields__})


def ways(connection: sqlite3.Connection) -> Ways:
    """A query: all of them."""
    return Ways(sign_in_ways.proxy(connection), sign_in_ways.passkeys(connection), sign_in_ways.provider(connection))


async def show(call: Call) -> Ways:
    """What is set."""
    return await call.read(ways)


async def trust_proxies(call: Call) -> Answer:
    """Take the word of these proxies for who signs in; of nobody when the list is empty."""
    return await call.write(actions.put_proxy(call.body, call.by, call.now_us, call.query("reason")))


async def name_passkeys(call: Call) -> Answer:
    """Make passkeys for this name from now on; for the name in the browser's address when it is empty."""
    return await call.write(actions.put_passkeys(call.body, call.by, call.now_us, call.query("reason")))


async def trust_provider(call: Call) -> Answer:
    """Take the word of an OpenID provider for who signs in; of none without an issuer."""
    body: ProviderChange = call.body
    if body.client_secret is not None and not 0 < len(body.client_secret) <= 500:
        raise Invalid("The secret must have 1 to 500 characters.", field="client_secret")
    change = actions.put_provider(body.plain(), body.client_secret, call.site.seal.seal, call.by, call.now_us)
    return await call.write(change, is_secret=True)


async def unlink(call: Call) -> Answer:
    """Forget whom a provider names as this user."""
    name = call.path("name")
    change = linked_accounts.unlink(name, call.by, call.now_us)
    return await call.write(change, lambda gone: {"name": name, "unlinked": gone})


PATH = "/api/v1/sign-in"
ENDPOINTS = (
    Endpoint("GET", PATH, show, "Ways to sign in beside the password", answer=Ways),
    Endpoint(
        "PUT",
        PATH + "/dangerously-trusted-proxies",
        trust_proxies,
        "Take the word of proxies for who signs in",
        body=ProxyTrust,
        answer=ProxyTrust,
        query=("reason",),
    ),
    Endpoint(
        "PUT",
        PATH + "/passkeys",
        name_passkeys,
        "For which name passkeys are made",
        body=PasskeyNames,
        answer=PasskeyNames,
        query=("reason",),
    ),
    Endpoint(
        "PUT",
        PATH + "/provider",
        trust_provider,
        "Take the word of an OpenID provider for who signs in",
        body=ProviderChange,
        answer=Provider,
    ),
    Endpoint(
        "DELETE",
        "/api/v1/users/{name}/linked-accounts",
        unlink,
        "Forget whom a provider names as a user",
        answer=shape(name=str, unlinked=int),
    ),
)
