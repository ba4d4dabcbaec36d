"""Who is told of what happened, in which form, and when it is tried again. Pure; times in microseconds UTC."""

from __future__ import annotations

import hashlib
import hmac
import re
from typing import ClassVar

import msgspec

from server.core.model import SECOND_US, Row

MAIL, WEBHOOK, TRAP = "mail", "webhook", "trap"
RECEIVERS_MAX = 50
TEXT_MAX = 4000
URL_CHARS_MAX = 500
FIRST_WAIT_S = 10
WAIT_S_MAX = 900
DEFAULT_COMMUNITIES = ("public", "private")
SMTP_PLACE = "smtp/password"
"""The row of the table `sealed` with the password for the mail server."""
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")
_MAIL = re.compile(r"[^@\s<>,;\"\\\x00-\x1f]{1,64}@[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?\Z")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]{2,45}\]\Z|[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252})\Z")
_URL = re.compile(r"https?://(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9][A-Za-z0-9.-]{0,252})(:[1-9]\d{0,4})?([/?][!-~]*)?\Z")
SECURITIES = ("starttls", "tls", "none")


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """An address that is told by POST. Without `secret` the one that it has stays; a new one needs it."""

    url: str
    secret: str | None = None


class TrapReceiver(msgspec.Struct, frozen=True, kw_only=True):
    """Where SNMP traps go: `host:port`. Without `community` the one that it has stays; a new one needs it."""

    address: str
    community: str | None = None


class ListSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A notification list as people write it. `alarms`: it is told of system messages that are alarms."""

    emails: list[str] = []
    webhooks: list[Webhook] = []
    traps: list[TrapReceiver] = []
    alarms: bool = False
    description: str = ""


class NamedList(ListSpec, frozen=True, kw_only=True):
    """The same with its name, as an export has it: without secrets."""

    name: str


class NotificationList(Row, frozen=True, kw_only=True):
    """The row: secrets are sealed elsewhere."""

    JSON: ClassVar[frozenset[str]] = frozenset({"emails", "webhooks", "traps"})

    name: str
    emails: list[str]
    webhooks: list[str]
    traps: list[str]
    alarms: bool
    description: str
    updated_at_us: int
    updated_by: str


class Smtp(Row, frozen=True, kw_only=True):
    """The mail server of the cluster; its password is sealed. `security`: starttls | tls | none."""

    host: str
    port: int = 587
    sender: str
    user: str = ""
    security: str = "starttls"


class Delivery(Row, frozen=True, kw_only=True):
    """One message to one receiver. state: waiting | sent | given up. `key` names what it is about, once for a receiver.

    `kind`: mail | webhook | trap; `what`: job monitor | run failed | alarm | test.
    """

    id: int
    list: str
    kind: str
    address: str
    what: str
    key: str
    subject: str
    text: str
    created_at_us: int
    state: str = "waiting"
    attempts: int = 0
    next_us: int = 0
    error: str = ""
    ended_at_us: int | None = None


def place_of(name: str, kind: str, address: str) -> str:
    """The row of the table `sealed` with a receiver's secret."""
    return f"notification-list/{name}/{kind}/{address}"


def wrong_list(name: str, spec: ListSpec) -> dict[str, str]:
    """What is not right, by field; empty when all is."""
    wrong: dict[str, str] = {}
    if not _NAME.match(name):
        wrong["name"] = "must begin with a letter or digit and have up to 64 letters, digits, . _ -"
    for address in spec.emails:
        if not _MAIL.match(address):
            wrong["emails"] = f"{address!r} is no e-mail address"
    for hook in spec.webhooks:
        if len(hook.url) > URL_CHARS_MAX or not _URL.match(hook.url):
            wrong["webhooks"] = f"{hook.url!r} is no address like https://host/path without a password in it"
        elif hook.secret is not None and not 8 <= len(hook.secret) <= 200:
            wrong["webhooks"] = "a secret has 8 to 200 characters"
    for trap in spec.traps:
        if split_address(trap.address) is None:
            wrong["traps"] = f"{trap.address!r} is no host:port, like nms.example.net:162"
        elif trap.community is not None and not (1 <= len(trap.community) <= 64 and trap.community.isascii()):
            wrong["traps"] = "a community has 1 to 64 ASCII characters"
        elif trap.community is not None and trap.community.lower() in DEFAULT_COMMUNITIES:
            wrong["traps"] = f"{trap.community} is what devices are delivered with; choose a community of your own"
    receivers = [*spec.emails, *(hook.url for hook in spec.webhooks), *(trap.address for trap in spec.traps)]
    if len(receivers) > RECEIVERS_MAX:
        wrong["name"] = f"a list has at most {RECEIVERS_MAX} receivers; make another"
    if len(set(receivers)) < len(receivers):
        wrong["name"] = "a receiver is named twice"
    return wrong


def wrong_smtp(smtp: Smtp) -> dict[str, str]:
    """What is not right, by field; empty when all is."""
    wrong: dict[str, str] = {}
    if not _HOST.match(smtp.host):
        wrong["host"] = "must be the name or address of the mail server"
    if not 1 <= smtp.port <= 65535:
        wrong["port"] = "must be from 1 to 65535"
    if not _MAIL.match(smtp.sender):
        wrong["sender"] = "must be an e-mail address"
    if smtp.security not in SECURITIES:
        wrong["security"] = "must be one of " + ", ".join(SECURITIES)
    if smtp.user and smtp.security == "none":
        wrong["security"] = "a password goes over starttls or tls only"
    return wrong


def split_address(text: str) -> tuple[str, int] | None:
    """`host:port` or `[address]:port` as a pair; None when it is neither."""
    host, _, port = text.rpartition(":")
    if not _HOST.match(host) or not port.isdigit() or not 1 <= int(port) <= 65535:
        return None
    return host.strip("[]"), int(port)


def wait_us(attempts: int) -> int:
    """How long to wait after attempt number `attempts` (from 1): 10 s, 20 s, 40 s ... at most 15 min."""
    doubled = FIRST_WAIT_S << (min(attempts, 20) - 1)
    return min(doubled, WAIT_S_MAX) * SECOND_US


def after_failure(delivery: Delivery, error: str, now_us: int, give_up_us: int) -> Delivery:
    """The delivery once an attempt has failed: it waits, or is given up `give_up_us` after it was made."""
    attempts = delivery.attempts + 1
    values: dict[str, object] = {"attempts": attempts, "error": error[:300]}
    next_us = now_us + wait_us(attempts)
    if next_us >= delivery.created_at_us + give_up_us:
        return msgspec.structs.replace(delivery, **values, state="given up", ended_at_us=now_us)
    return msgspec.structs.replace(delivery, **values, next_us=next_us)


def identifier(delivery: Delivery, cluster: str) -> str:
    """The same for each attempt of one delivery, so that a receiver knows what it was told twice."""
    return f"{cluster[:12]}-{delivery.id}"


def body(delivery: Delivery, cluster: str) -> bytes:
    """What a webhook is sent: JSON."""
    said = {
        "id": identifier(delivery, cluster),
        "what": delivery.what,
        "about": delivery.key,
        "subject": delivery.subject,
        "text": delivery.text,
        "at_us": delivery.created_at_us,
        "list": delivery.list,
        "cluster": cluster,
    }
    return msgspec.json.encode(said)


def signature(secret: str, timestamp: int, content: bytes) -> str:
    """The header `Understudy-Signature`: HMAC-SHA256 over timestamp, a point, and the body."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + content, hashlib.sha256).hexdigest()
    return f"sha256={digest}"
