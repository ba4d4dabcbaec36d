"""Take one message to one receiver: a mail server, a webhook, an SNMP trap receiver. Each either does or raises.

No message of an error holds a secret. Nothing is followed that the receiver says: no redirect, 4 KiB of its answer.
Nothing is sent to the addresses that `server.core.egress` refuses, nor past the allowed hosts.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from email.message import EmailMessage
from email.utils import formatdate

import aiohttp
import structlog
from yarl import URL

from server.core.egress import EVERY, AllowedHosts, Bounds
from server.core.notifications import Delivery, Smtp, body, identifier, signature, split_address
from server.core.snmp_trap import trap
from server.core.tenancy import tenant_of
from server.office import egress

log = structlog.get_logger(__name__)

TIMEOUT_S = 20.0
ANSWER_BYTES_MAX = 4096
NO_LIBRARY = "mail needs the library aiosmtplib on this node: install understudy[mail], then restart it"
NO_SERVER = "no mail server is known: understudy notification smtp --host HOST --sender ADDRESS"


class NotDelivered(Exception):
    """The receiver has not taken it; the text says why, for people."""


async def send_mail(
    delivery: Delivery, cluster: str, smtp: Smtp | None, password: str, allowed: AllowedHosts = EVERY
) -> None:
    """Give a mail to the mail server of the cluster; its Message-ID is the same at each attempt."""
    if smtp is None:
        raise NotDelivered(NO_SERVER)
    try:
        import aiosmtplib
    except ImportError as error:
        raise NotDelivered(NO_LIBRARY) from error
    message = _mail(delivery, cluster, smtp.sender)
    try:
        # Where hosts are bounded, this dials: the library would ask once more where the name leads.
        bounded = bool(allowed.hosts)
        line = await egress.dialled(smtp.host, smtp.port, allowed.why_not, TIMEOUT_S) if bounded else None
        await aiosmtplib.send(
            message,
            hostname=smtp.host,
            port=None if bounded else smtp.port,
            sock=line,
            username=smtp.user or None,
            password=password or None,
            use_tls=smtp.security == "tls",
            start_tls=smtp.security == "starttls",
            timeout=TIMEOUT_S,
        )
    except aiosmtplib.SMTPAuthenticationError as error:
        raise NotDelivered(f"{smtp.host} refused the user {smtp.user}") from error
    except egress.NotAllowed as error:
        raise NotDelivered(str(error)) from error
    except (aiosmtplib.SMTPException, OSError, ValueError) as error:  # also where nobody answers in time
        raise NotDelivered(f"{smtp.host}:{smtp.port}: {str(error) or 'it did not answer'}") from error


def _mail(delivery: Delivery, cluster: str, sender: str) -> EmailMessage:
    message = EmailMessage()
    message["From"], message["To"] = sender, delivery.address
    message["Subject"] = delivery.subject.replace("\r", " ").replace("\n", " ")
    message["Date"] = formatdate(delivery.created_at_us / 1e6)
    message["Message-ID"] = f"<{identifier(delivery, cluster)}@understudy.invalid>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(f"{delivery.text}\n\n-- \nCluster {cluster}, list {delivery.list}, {delivery.what}\n")
    return message


async def send_webhook(delivery: Delivery, cluster: str, secret: str, allowed: AllowedHosts = EVERY) -> None:
    """POST the message as JSON, signed with the receiver's secret over the time and the body; 2xx takes it."""
    content, timestamp = body(delivery, cluster), int(time.time())
    headers = {
        "Content-Type": "application/json",
        "Understudy-Delivery": identifier(delivery, cluster),
        "Understudy-Timestamp": str(timestamp),
        "Understudy-Signature": signature(secret, timestamp, content),
    }
    timeout, bounds = aiohttp.ClientTimeout(total=TIMEOUT_S), Bounds(tenant_of(delivery.list), allowed)
    try:
        egress.check(URL(delivery.address).host or "", bounds)
        connector = aiohttp.TCPConnector(resolver=egress.Guarded(bounds))
        jar = aiohttp.DummyCookieJar()
        async with (
            aiohttp.ClientSession(connector=connector, timeout=timeout, cookie_jar=jar, trust_env=False) as session,
            session.post(delivery.address, data=content, headers=headers, allow_redirects=False) as answer,
        ):
            await answer.content.read(ANSWER_BYTES_MAX)
            if 300 <= answer.status < 400:
                raise NotDelivered(f"it answered {answer.status}: a redirect is not followed, name the address itself")
            if not 200 <= answer.status < 300:
                raise NotDelivered(f"it answered {answer.status}")
    except egress.NotAllowed as error:
        raise NotDelivered(str(error)) from error
    except TimeoutError as error:
        raise NotDelivered(f"it did not answer within {TIMEOUT_S:.0f} s") from error
    except (aiohttp.ClientError, OSError, ssl.SSLError, ValueError) as error:
        raise NotDelivered(f"{type(error).__name__}: {error}") from error


async def send_trap(delivery: Delivery, cluster: str, community: str, allowed: AllowedHosts = EVERY) -> None:
    """Send one datagram. It is not answered: that it was sent is all that is known."""
    address = split_address(delivery.address)
    if address is None:
        raise NotDelivered("its address is no host:port")
    said = (
        ("id", identifier(delivery, cluster)),
        ("what", delivery.what),
        ("about", delivery.key),
        ("subject", delivery.subject),
        ("text", delivery.text),
    )
    datagram = trap(community, delivery.id, int(time.monotonic() * 100), said)
    loop = asyncio.get_running_loop()
    try:
        bounds = Bounds(tenant_of(delivery.list), allowed)
        found = await egress.addresses_of(*address, bounds.why_not, socket.SOCK_DGRAM)
        family, kind, protocol, _, place = found[0]
        with socket.socket(family, kind, protocol) as sending:
            sending.setblocking(False)
            await loop.sock_sendto(sending, datagram, place)
    except (OSError, egress.NotAllowed) as error:
        raise NotDelivered(f"{address[0]}: {error}") from error


async def attempt(send: Callable[[], Awaitable[None]]) -> str:
    """Try once, within `TIMEOUT_S` and a little; why it failed, or ""."""
    try:
        async with asyncio.timeout(TIMEOUT_S + 5):
            await send()
    except NotDelivered as error:
        return str(error) or "it failed without a word"
    except TimeoutError:
        return f"it took longer than {TIMEOUT_S:.0f} s"
    except Exception as error:
        log.error("a defect kept a notification from its receiver; it is tried again", exc_info=error)
        return f"a defect of the program: {type(error).__name__}"
    return ""
