"""Ways to sign in beside the password. Permission: settings.change, and all others: who says who somebody is can be
anybody.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from urllib.parse import urlsplit

from server.actions import roles
from server.actions.allowed_hosts import refuse_others
from server.actions.change import Change, Transaction, record, require
from server.core import access
from server.core.model import SYSTEM, Principal
from server.core.oidc import Provider
from server.core.sign_in_ways import NO_PASSWORD, PasskeyNames, ProxyTrust
from server.errors import Forbidden, Invalid, Unauthenticated
from server.storage import sealed, sign_in_ways, users


def put_proxy(trust: ProxyTrust, by: Principal, now_us: int, reason: str = "") -> Change[ProxyTrust]:
    """Take the word of these proxies for who signs in, of nobody when there is none. Invalid names the fields."""
    require_everything(by)
    refuse(trust.wrong())

    def change(transaction: Transaction) -> ProxyTrust:
        connection = transaction.connection
        before = sign_in_ways.proxy(connection)
        check_new_role(connection, trust.new_role)
        if before != trust:
            sign_in_ways.put(connection, sign_in_ways.PROXY, trust, by.name, now_us)
            record(connection, by, now_us, "sign_in_ways.put_proxy", "trusted proxies", before, trust, reason)
        return trust

    return change


def put_passkeys(names: PasskeyNames, by: Principal, now_us: int, reason: str = "") -> Change[PasskeyNames]:
    """Make passkeys for this name from now on; those that there are stay good for theirs. Invalid names the field."""
    require_everything(by)
    refuse(names.wrong())

    def change(transaction: Transaction) -> PasskeyNames:
        connection = transaction.connection
        before = sign_in_ways.passkeys(connection)
        if before != names:
            sign_in_ways.put(connection, sign_in_ways.PASSKEYS, names, by.name, now_us)
            record(connection, by, now_us, "sign_in_ways.put_passkeys", "passkeys", before, names, reason)
        return names

    return change


def put_provider(provider: Provider, secret: str | None, seal: Seal, by: Principal, now_us: int) -> Change[Provider]:
    """Take the word of this OpenID provider, of none without an issuer. Invalid names the fields.

    Without `secret` the one that it has stays, unless issuer or client is another.
    """
    require_everything(by)
    refuse(provider.wrong())

    def change(transaction: Transaction) -> Provider:
        connection = transaction.connection
        before, name = sign_in_ways.provider(connection), sign_in_ways.CLIENT_SECRET
        for role in {provider.new_role, *provider.roles.values()}:
            check_new_role(connection, role)
        if provider.issuer:
            refuse_others(connection, {"issuer": [urlsplit(provider.issuer).hostname or ""]})
        if not provider.issuer:
            sealed.remove(connection, name)
        elif secret is not None:
            sealed.put(connection, name, *seal(name, secret))
        elif (before.issuer, before.client_id) != (provider.issuer, provider.client_id):
            refuse({"client_secret": "is missing: this client at this issuer needs one"})
        if before != provider or secret is not None:
            sign_in_ways.put(connection, sign_in_ways.PROVIDER, provider, by.name, now_us)
            record(connection, by, now_us, "sign_in_ways.put_provider", provider.issuer or "none", before, provider)
        return provider

    return change


Seal = Callable[[str, str], tuple[bytes, bytes]]
"""(name of the row, value) to (nonce, ciphertext)."""


def make_user(name: str, role: str, way: str, address: str, now_us: int) -> Change[None]:
    """Make the user whom a proxy or a provider names and who is not there yet; nothing when it is. By the program.

    The account is of the host and has no password. `way` says in the audit history who named it.
    """
    if ":" in name or not role:
        raise Unauthenticated(UNKNOWN)

    def change(transaction: Transaction) -> None:
        connection = transaction.connection
        if users.by_name(connection, name) is not None:
            return
        check_new_role(connection, role)
        users.insert(connection, name, NO_PASSWORD, role, now_us)
        by = Principal(SYSTEM.name, SYSTEM.role, address)
        record(connection, by, now_us, "sign_in_ways.make_user", name, "", {"role": role, "way": way})

    return change


UNKNOWN = "There is no open account for you here. Ask an administrator to make one."


def require_everything(by: Principal) -> None:
    """Raise Forbidden for whoever may not do everything: the setting could make them somebody who may."""
    require(by, "settings.change")
    if len(access.permissions_of(by)) != len(access.PERMISSIONS):
        raise Forbidden(
            f"{by.name} may not do everything; this decides who is who, and nobody gives more than they have."
            " Ask an administrator."
        )


def check_new_role(connection: sqlite3.Connection, role: str) -> None:
    """Raise Invalid for a role that there is not; "" makes no users."""
    if role:
        try:
            roles.check_exists(connection, role)
        except Invalid as error:
            raise Invalid(str(error), field="new_role") from None


def refuse(wrong: dict[str, str]) -> None:
    """Raise Invalid when something is wrong, naming the fields."""
    if wrong:
        text = "; ".join(f"{name} {why}" for name, why in wrong.items())
        raise Invalid(f"It is not right: {text}. Correct it and try again.", fields=wrong)
