"""A member fetches a fresh certificate, and the authorities that it is to trust. Blocking; call it in a thread.

The old certificate proves who asks. An agent whose certificate has ended proves it by its key, which the cluster knows:
it gets a certificate for that, and nothing else. So does one that was away while the authority was exchanged: nodes
show how the authority that it trusts has signed the present one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from server.core.authorities import short, signs_first
from server.trust import identity as files
from server.trust import tls
from server.trust.enrolment import (
    EnrolAnswer,
    EnrolmentError,
    EnrolRequest,
    Joiner,
    certificate_request,
    post,
    split_address,
)
from server.trust.identity import Identity

REFUSALS = ("fingerprint", "wrong_port", "unreachable")
"""What it may come to when a node does not trust the certificate that is shown: it just ends the connection."""


def renew_agent(data: Path, now: datetime, wanted: str = "") -> bool:
    """Fetch what an agent should have and lacks; False when nothing is due.

    Due: two thirds of the certificate's life are over, or `wanted`, the trust that a master told, differs from the
    directory's. Any node of the roster may answer. The key stays; ca.crt, then node.crt are replaced durably. Raises
    `EnrolmentError` when nobody answers: try again later.
    """
    own = data / files.AUTHORITY_FILE
    leaf = x509.load_pem_x509_certificate((data / files.CERTIFICATE_FILE).read_bytes())
    if not _is_due(own.read_bytes(), leaf, now, wanted):
        return False
    identity = files.load_identity(data)
    assert identity is not None, "only an enrolled agent renews"
    key = tls.load_key((data / files.KEY_FILE).read_bytes())
    asked = EnrolRequest("agent", identity.id, identity.name, certificate_request(key))
    has_ended = now >= leaf.not_valid_after_utc
    problem = EnrolmentError("unreachable", "no node of the cluster answers; start the master, then try again")
    for address in identity.peers.values():
        try:
            answer = _ask(data, address, asked, has_ended)
        except EnrolmentError as error:
            problem = error
            continue
        files.write_private(own, answer.authority.encode())
        files.write_private(data / files.CERTIFICATE_FILE, answer.certificate.encode())
        return True
    raise problem


def _is_due(own_pem: bytes, leaf: x509.Certificate, now: datetime, wanted: str) -> bool:
    if now >= leaf.not_valid_after_utc - timedelta(days=tls.LEAF_DAYS / 3):
        return True
    if not wanted:
        return False
    signer = next((one for one in tls.authorities_in(own_pem) if tls.key_id(one) == tls.read_leaf(leaf).issuer), None)
    signed_by = short(tls.fingerprint_of(signer)) if signer is not None else ""
    return wanted != tls.trust_in(own_pem) or signs_first(wanted) != signed_by


def _ask(data: Path, address: str, asked: EnrolRequest, has_ended: bool) -> EnrolAnswer:
    """Ask one node, with the old certificate, or by the key."""
    host, port = split_address(address, 8009)
    certificate, key = (None, None) if has_ended else (data / files.CERTIFICATE_FILE, data / files.KEY_FILE)
    own = data / files.AUTHORITY_FILE
    try:
        return post(host, port, tls.client_context(own, certificate, key), asked)
    except EnrolmentError as error:
        if error.code not in REFUSALS:
            raise
    # Nobody accepts a certificate of a retired authority any more: the key alone proves who asks.
    return post(host, port, tls.client_context(own), asked)


def announce_node(data: Path, identity: Identity, address: str, joiner: Joiner) -> None:
    """Tell the master at `address` (host:cluster_port) where this node listens now; takes its fresh
    certificate. Blocking.

    The old certificate proves who asks. Raises `EnrolmentError`.
    """
    certificate, key = data / files.CERTIFICATE_FILE, data / files.KEY_FILE
    context = tls.client_context(data / files.AUTHORITY_FILE, certificate, key)
    asked = EnrolRequest(
        "node",
        identity.id,
        joiner.name,
        certificate_request(tls.load_key(key.read_bytes())),
        address=joiner.address,
        web_port=joiner.web_port,
        cluster_port=joiner.cluster_port,
    )
    answer = post(*split_address(address, 8009), context, asked)
    files.write_private(certificate, answer.certificate.encode())
