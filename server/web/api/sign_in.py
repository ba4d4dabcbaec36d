"""Ways to sign in beside the password: what is set, and setting it."""

from __future__ import annotations

import sqlite3

import msgspec

from server.actions import sign_in_ways as actions
from server.core.sign_in_ways import PasskeyNames, ProxyTrust
from server.storage import sign_in_ways
from server.web.api.endpoint import Answer, Call, Endpoint


class Ways(msgspec.Struct, frozen=True):
    """What is set. No proxies: nobody says who somebody is."""

    proxy: ProxyTrust
    passkeys: PasskeyNames = PasskeyNames()


def ways(connection: sqlite3.Connection) -> Ways:
    """A query: all of them."""
    return Ways(sign_in_ways.proxy(connection), sign_in_ways.passkeys(connection))


async def show(call: Call) -> Ways:
    """What is set."""
    return await call.read(ways)


async def trust_proxies(call: Call) -> Answer:
    """Take the word of these proxies for who signs in; of nobody when the list is empty."""
    return await call.write(actions.put_proxy(call.body, call.by, call.now_us, call.query("reason")))


async def name_passkeys(call: Call) -> Answer:
    """Make passkeys for this name from now on; for the name in the browser's address when it is empty."""
    return await call.write(actions.put_passkeys(call.body, call.by, call.now_us, call.query("reason")))


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
)
