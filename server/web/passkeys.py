"""What a browser with a passkey is asked, and what it answers: for its owner's page, and for signing in.

The question goes with the browser, signed with the cluster's key (docs/decisions/0145): either node takes the answer,
and a row remembers the questions that were answered until they end.
"""

from __future__ import annotations

import secrets
import sqlite3
from typing import Any

import msgspec
from aiohttp import web

from server.actions.second_factor import NO_PASSKEY, Asserted, Proof
from server.core.model import MINUTE_US
from server.core.people import Passkey, User
from server.core.sign_in_ways import is_at, passkey_name
from server.errors import Conflict, Invalid, Unauthenticated
from server.people import passkeys as devices
from server.people.passkeys import Place
from server.people.sign_in import Checked, check_ticket, refused, vouched
from server.site import Site
from server.storage import passkeys, sign_in_ways, users
from server.trust.signed_text import opened, sign
from server.trust.tls import secret_hash
from server.web.session import remote_address
from server.web.signing_in import Signed, begin

PURPOSE = "passkey"
GOOD_FOR_US = 5 * MINUTE_US
REGISTER, SECOND, ALONE = "register", "second", "alone"
NUMBERS = (
    "Browsers know passkeys only at a name, and this page was opened by an address of numbers. Open it by a name:"
    " https://NAME and the port."
)
NONE_HERE = "You have no passkey for this address. Use a code or a recovery code."


class Question(msgspec.Struct, frozen=True):
    """What a browser was asked. `user` "": whoever has the passkey."""

    purpose: str
    challenge: str
    rp_id: str
    user: str
    made_at_us: int
    alone: bool = False


class Asked(msgspec.Struct, frozen=True):
    """`options` are for the browser, `question` comes back with its answer."""

    options: dict[str, Any]
    question: str


def host_of(request: web.Request) -> str:
    """The name in the browser's address, without the port."""
    try:
        return (request.url.host or "").lower()
    except ValueError:
        return ""


def origin_of(request: web.Request, site: Site) -> str:
    """What the browser says where it is. Without TLS browsers know passkeys at localhost alone."""
    scheme = "https" if request.secure or site.config.behind_proxy else "http"
    return f"{scheme}://{request.host.lower()}"


async def place_of(site: Site, request: web.Request) -> Place:
    """Where the browser is. Raises `Invalid` at an address of numbers."""
    names = await site.read_now(sign_in_ways.passkeys)
    rp_id = passkey_name(names, host_of(request))
    if not rp_id:
        raise Invalid(NUMBERS)
    return Place(rp_id, origin_of(request, site))


async def ask_to_register(site: Site, request: web.Request, name: str, alone: bool) -> Asked:
    """Ask the browser of `name` to make a passkey."""
    place, challenge = await place_of(site, request), secrets.token_bytes(32)
    user, known = await site.read_now(lambda rows: _of(rows, name))
    if user is None:
        raise Invalid("A passkey belongs to somebody who signs in with a browser.")
    options = devices.creation_options(place, challenge, (user.id, user.name), known, alone)
    return _asked(site, Question(REGISTER, devices.text_of(challenge), place.rp_id, name, 0, alone), options)


async def registered(
    site: Site, request: web.Request, name: str, text: str, credential: dict[str, Any]
) -> tuple[Passkey, tuple[str, int]]:
    """The passkey that a browser made (without a name), and its challenge as it is used up.

    Raises `Invalid` for a question that is old or another's, `Unauthenticated` for an answer that is not right.
    """
    question = _question(site, text, REGISTER)
    if question.user != name:
        raise Invalid(LATE)
    place = Place(question.rp_id, _origin_within(site, request, question.rp_id))
    made = devices.registered(place, devices.bytes_of(question.challenge), credential, question.alone)
    passkey = Passkey(
        id=0,
        user_id=0,
        credential=made.credential,
        public_key=made.public_key,
        name="",
        rp_id=question.rp_id,
        sign_count=made.sign_count,
        alone=question.alone,
        created_at_us=0,
    )
    return passkey, _spent(question)


async def ask_to_sign_in(site: Site, request: web.Request, ticket: str) -> Asked:
    """Ask a browser for a passkey: behind the password that `ticket` stands for, or alone."""
    site.store()
    place, challenge = await place_of(site, request), secrets.token_bytes(32)
    if not ticket:
        options = devices.request_options(place, challenge, (), True)
        return _asked(site, Question(ALONE, devices.text_of(challenge), place.rp_id, "", 0), options)
    checked = await check_ticket(site, ticket, remote_address(request))
    _, known = await site.read_now(lambda rows: _of(rows, checked.by.name))
    # Of several names that work here, that of the server's setting comes first: it is the one that both nodes share.
    here = [one for one in known if is_at(host_of(request), one.rp_id)]
    rp_id = place.rp_id if any(one.rp_id == place.rp_id for one in here) else next((one.rp_id for one in here), "")
    if not rp_id:
        raise Conflict(NONE_HERE)
    usable = [one for one in here if one.rp_id == rp_id]
    options = devices.request_options(Place(rp_id, place.origin), challenge, usable, False)
    return _asked(site, Question(SECOND, devices.text_of(challenge), rp_id, checked.by.name, 0), options)


async def sign_in_by_passkey(
    site: Site, request: web.Request, text: str, credential: dict[str, Any], ticket: str
) -> Signed:
    """Begin a session of whoever's passkey signed the question. Raises as `sign_in` does."""
    site.store()
    question, address = _question(site, text, SECOND if ticket else ALONE), remote_address(request)
    alone = question.purpose == ALONE
    checked = None if alone else await check_ticket(site, ticket, address)
    found = credential.get("id")
    known, owner = await site.read_now(lambda rows: _by_credential(rows, found if isinstance(found, str) else ""))
    name = checked.by.name if checked is not None else owner
    if known is None or name != owner or question.user not in ("", name) or (alone and not known.alone):
        await refused(site, name, address, NO_PASSKEY)
    assert known is not None, "refused raises"
    try:
        place = Place(known.rp_id, _origin_within(site, request, known.rp_id))
        if known.rp_id != question.rp_id:
            raise Unauthenticated(NO_PASSKEY)
        count = devices.asserted(place, devices.bytes_of(question.challenge), credential, known, alone)
    except Unauthenticated as error:
        await refused(site, name, address, str(error))
    proof = Proof(passkey=Asserted(known.credential, count, *_spent(question)))
    known_by: Checked = checked or await vouched(site, name, address, "passkey alone")
    try:
        return await begin(site, request, known_by, proof)
    except Unauthenticated as error:
        return await refused(site, name, address, str(error))


LATE = "That took too long, or was begun by somebody else. Begin again."


def _asked(site: Site, question: Question, options: dict[str, Any]) -> Asked:
    question = msgspec.structs.replace(question, made_at_us=site.clock.utc_us())
    return Asked(options, sign(site.seal_key, PURPOSE, question))


def _question(site: Site, text: str, purpose: str) -> Question:
    found = opened(site.seal_key, PURPOSE, text, Question)
    if found is None or found.purpose != purpose or abs(site.clock.utc_us() - found.made_at_us) > GOOD_FOR_US:
        raise Invalid(LATE)
    return found


def _spent(question: Question) -> tuple[str, int]:
    return secret_hash(question.challenge), question.made_at_us + 2 * GOOD_FOR_US


def _origin_within(site: Site, request: web.Request, rp_id: str) -> str:
    """The origin that the browser must say: this server's, as the browser reached it, within the passkey's name."""
    if not is_at(host_of(request), rp_id):
        raise Unauthenticated(devices.WRONG)
    return origin_of(request, site)


def _of(connection: sqlite3.Connection, name: str) -> tuple[User | None, list[Passkey]]:
    user = users.by_name(connection, name)
    return user, passkeys.of_user(connection, user.id) if user is not None else []


def _by_credential(connection: sqlite3.Connection, credential: str) -> tuple[Passkey | None, str]:
    known = passkeys.by_credential(connection, credential) if credential else None
    user = users.get(connection, known.user_id) if known is not None else None
    return known, user.name if user is not None else ""
