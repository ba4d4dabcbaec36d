"""Joining a cluster, from the joiner's side: compare the fingerprint, prove oneself, receive certificate and
roster.

Nothing secret leaves before the authority's certificate was compared with a fingerprint known from elsewhere;
from then on the connection is verified against that authority. Nothing in the directory changes before the
answer is complete. The side that answers is `server/trust/admission.py`.
"""

from __future__ import annotations

import base64
import http.client
import json
import shutil
import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec

from server.errors import Invalid
from server.trust import identity as files
from server.trust import tls
from server.trust.identity import Identity

ENROLMENT_VERSION = 1
TIMEOUT_S = 10.0
ANSWER_BYTES_MAX = 4 << 20
DISK_RESERVE_BYTES = 64 << 20


class EnrolmentError(Exception):
    """Joining failed and nothing was changed. `code` is one of: unreachable, not_understudy, wrong_port,
    fingerprint, fingerprint_needed, unauthenticated, forbidden, other_cluster, not_master, disk, version,
    refused."""

    def __init__(self, code: str, text: str, fingerprint: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.fingerprint = fingerprint


class Place(msgspec.Struct, frozen=True):
    """A node of the roster, as others reach it."""

    id: str
    name: str
    address: str
    web_port: int
    cluster_port: int


class EnrolRequest(msgspec.Struct, frozen=True):
    """What a joiner posts to `/enrol`. `check` asks only whether it would be let in.

    A node sends `user` and `password`, the `code` of a second factor for who has one, and where it will be reached; an
    agent the `secret` of its join token.
    """

    kind: str
    id: str
    name: str
    request: str
    check: bool = False
    user: str = ""
    password: str = ""
    secret: str = ""
    address: str = ""
    web_port: int = 0
    cluster_port: int = 0
    version: int = ENROLMENT_VERSION
    code: str = ""


class EnrolAnswer(msgspec.Struct, frozen=True):
    """What `/enrol` answers. Of a check only `cluster` and `copy_bytes` are filled; `seal_key` is hex, for
    nodes alone."""

    cluster: str
    name: str = ""
    certificate: str = ""
    authority: str = ""
    seal_key: str = ""
    copy_bytes: int = 0
    roster: list[Place] = []


class JoinTokenText(msgspec.Struct, frozen=True):
    """A join token: one string for one agent. `addresses` are `host:cluster_port`; `expires_at_s` is seconds
    UTC."""

    addresses: list[str]
    fingerprint: str
    secret: str
    expires_at_s: int

    def encode(self) -> str:
        """The token as people copy it: base64url of JSON, without padding."""
        return base64.urlsafe_b64encode(msgspec.json.encode(self)).decode().rstrip("=")

    @classmethod
    def decode(cls, text: str) -> JoinTokenText:
        """Read a token; raises `Invalid` when it is not whole."""
        plain = "".join(text.split())
        try:
            content = base64.urlsafe_b64decode(plain + "=" * (-len(plain) % 4))
            return msgspec.json.decode(content, type=cls)
        except (ValueError, msgspec.DecodeError, RecursionError) as error:
            raise Invalid(
                "this is not a whole join token; make one on the master: understudy agent invite --name NAME"
            ) from error


@dataclass(frozen=True, slots=True)
class Joiner:
    """How a new node will be known and reached."""

    name: str
    address: str
    web_port: int
    cluster_port: int


def split_address(text: str, default_port: int) -> tuple[str, int]:
    """`host`, `host:port` or `[v6]:port` as a pair; raises `Invalid`."""
    host, separator, port = text.strip().rpartition(":")
    if not separator or (":" in host and not host.endswith("]")):
        host, port = text.strip(), str(default_port)
    if not host.strip("[]") or not port.isdigit() or not 0 < int(port) <= 65535:
        raise Invalid(f"{text!r} is not an address; write HOST or HOST:PORT")
    return host.strip("[]"), int(port)


def enrol_agent(token: str, data: Path, name: str = "") -> Identity:
    """Make this directory an agent of the token's cluster; returns its identity. Blocking; call it in a
    thread.

    Tries every address of the token. Writes ca.crt, node.key, node.crt and, last, identity.json. A directory
    that already is an agent of this cluster is left alone. Raises `Invalid` or `EnrolmentError`, nothing
    changed.
    """
    join = JoinTokenText.decode(token)
    known = files.load_identity(data)
    if known is not None:
        _check_same_cluster(data, join.fingerprint)
        return known
    problem = EnrolmentError("unreachable", "the token names no address; make a new one on the master")
    for address in join.addresses:
        host, port = split_address(address, 8009)
        try:
            authority = fetch_authority(host, port, "/enrol")
            _compare(join.fingerprint, authority, address)
            key = tls.new_key()
            asked = EnrolRequest("agent", files.new_id(), name, certificate_request(key), secret=join.secret)
            answer = post(host, port, tls.client_context(authority), asked)
        except EnrolmentError as error:
            problem = error
            if error.code in ("unreachable", "not_master"):
                continue
            raise
        return _keep(data, "agent", asked.id, answer, key)
    raise problem


def inspect_node(host: str, port: int, expected: str | None) -> tuple[dict[str, Any], str]:
    """Fetch `GET /api/v1/ca` of a web port and compare the fingerprint. Returns (its answer, the authority
    PEM).

    Without `expected` it raises `fingerprint_needed`, carrying the one found, so that a person can compare
    it.
    """
    found = _fetch_json(host, port, "/api/v1/ca")
    authority = str(found.get("certificate", ""))
    if not authority or "cluster_port" not in found:
        raise EnrolmentError("not_understudy", _not_understudy(host, port))
    mark = tls.fingerprint(authority.encode())
    if expected is None:
        raise EnrolmentError(
            "fingerprint_needed",
            f"{host}:{port} shows the fingerprint {mark}. Compare it with Server Properties on the master, "
            f"then type it: --fingerprint {mark}",
            mark,
        )
    _compare(expected, authority, f"{host}:{port}")
    return found, authority


def enrol_node(
    data: Path, host: str, port: int, expected: str | None, user: str, password: str, joiner: Joiner, code: str = ""
) -> Identity:
    """Make this directory a node of the cluster whose master's web port is `host:port`. Blocking.

    Checks in this order: reachability, fingerprint, another cluster's directory, version and password, free
    disk. A node that was enrolled before keeps its id and key and gets a fresh certificate. Raises
    `EnrolmentError`, nothing changed.
    """
    known = files.load_identity(data)
    if expected is None and known is not None:
        expected = tls.fingerprint((data / files.AUTHORITY_FILE).read_bytes())
    if known is not None and expected is not None:
        _check_same_cluster(data, expected)
    found, authority = inspect_node(host, port, expected)
    cluster_port = int(found["cluster_port"])
    key = tls.load_key((data / files.KEY_FILE).read_bytes()) if known is not None else tls.new_key()
    asked = EnrolRequest(
        "node",
        known.id if known is not None else files.new_id(),
        joiner.name,
        certificate_request(key),
        user=user,
        password=password,
        address=joiner.address,
        web_port=joiner.web_port,
        cluster_port=joiner.cluster_port,
        code=code,
    )
    context = tls.client_context(authority)
    check = post(host, cluster_port, context, msgspec.structs.replace(asked, check=True))
    _check_disk(data, check.copy_bytes)
    return _keep(data, "node", asked.id, post(host, cluster_port, context, asked), key)


def fetch_authority(host: str, port: int, path: str) -> str:
    """The authorities as a port gives them, unverified: compare the fingerprint before trusting them."""
    authority = str(_fetch_json(host, port, path).get("certificate", ""))
    if not authority:
        raise EnrolmentError("not_understudy", _not_understudy(host, port))
    return authority


def post(host: str, port: int, context: ssl.SSLContext, asked: EnrolRequest) -> EnrolAnswer:
    """Post to `/enrol` over a connection that `context` verifies against the cluster's authority."""
    status, body = _exchange(host, port, context, "POST", "/enrol", msgspec.json.encode(asked))
    if status == 200:
        return msgspec.json.decode(body, type=EnrolAnswer)
    try:
        problem = json.loads(body)
    except ValueError:
        problem = {}
    code = str(problem.get("code", "refused"))
    text = str(problem.get("detail") or f"{host}:{port} answered {status}; look at its log")
    raise EnrolmentError(code, text)


def _keep(data: Path, kind: str, identifier: str, answer: EnrolAnswer, key: ec.EllipticCurvePrivateKey) -> Identity:
    """Write the private files, `identity.json` last: a crash before it leaves a directory that enrols
    again."""
    files.make_directory(data)
    files.write_private(data / files.AUTHORITY_FILE, answer.authority.encode())
    files.write_private(data / files.KEY_FILE, tls.private_pem(key))
    files.write_private(data / files.CERTIFICATE_FILE, answer.certificate.encode())
    if answer.seal_key:
        files.write_private(data / files.SEAL_FILE, bytes.fromhex(answer.seal_key))
    peers = {place.id: f"{place.address}:{place.cluster_port}" for place in answer.roster if place.id != identifier}
    identity = Identity(kind, answer.cluster, identifier, answer.name, peers)
    files.save_identity(data, identity)
    return identity


def certificate_request(key: ec.EllipticCurvePrivateKey) -> str:
    """A request for a certificate of this key, as `/enrol` takes it."""
    return tls.certificate_request(key).decode()


def _compare(expected: str, authority: str, address: str) -> None:
    found = tls.fingerprint(authority.encode())
    if found != tls.normal_fingerprint(expected):
        raise EnrolmentError(
            "fingerprint",
            f"{address} shows the fingerprint {found}, not {tls.normal_fingerprint(expected)}: it is another "
            "cluster, or somebody is in between. Nothing was sent. Compare with Server Properties on the master, "
            "then give it with --fingerprint",
            found,
        )


def _check_same_cluster(data: Path, expected: str) -> None:
    own = tls.fingerprint((data / files.AUTHORITY_FILE).read_bytes())
    if own != tls.normal_fingerprint(expected):
        raise EnrolmentError(
            "other_cluster",
            f"{data} belongs to another cluster (fingerprint {own}) and is left as it is. "
            "Name an empty directory: --data DIR",
        )


def _check_disk(data: Path, copy_bytes: int) -> None:
    place = data
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    needed = copy_bytes + DISK_RESERVE_BYTES
    if free < needed:
        raise EnrolmentError(
            "disk",
            f"the copy needs {needed >> 20} MiB and {place} has {free >> 20} MiB free. "
            "Free some space, or name another directory with --data",
        )


def _not_understudy(host: str, port: int) -> str:
    return f"{host}:{port} answers, but is no web port of Understudy. Server Properties on the master shows the port"


def _fetch_json(host: str, port: int, path: str) -> dict[str, Any]:
    status, body = _exchange(host, port, tls.unverified_context(), "GET", path, b"")
    try:
        answer = json.loads(body)
    except ValueError:
        answer = None
    if isinstance(answer, dict) and answer.get("code") == "wrong_port":
        raise EnrolmentError("wrong_port", str(answer.get("detail")))
    if status != 200 or not isinstance(answer, dict):
        raise EnrolmentError("not_understudy", _not_understudy(host, port))
    return answer


def _exchange(host: str, port: int, context: ssl.SSLContext, method: str, path: str, body: bytes) -> tuple[int, bytes]:
    """One request over a fresh TLS connection; every way to fail becomes an `EnrolmentError` that says what
    to do."""
    connection = http.client.HTTPSConnection(host, port, timeout=TIMEOUT_S, context=context)
    try:
        connection.request(method, path, body or None, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        return answer.status, answer.read(ANSWER_BYTES_MAX)
    except ssl.SSLCertVerificationError as error:
        raise EnrolmentError(
            "fingerprint",
            f"{host}:{port} shows a certificate of another cluster ({error.verify_message}). Nothing was sent",
        ) from error
    except ssl.SSLError as error:
        raise EnrolmentError(
            "wrong_port",
            f"{host}:{port} does not speak TLS; give the master's web port (8008 if nobody changed it)",
        ) from error
    except socket.gaierror as error:
        raise EnrolmentError("unreachable", f"{host} has no address; check the name of the master") from error
    except (OSError, http.client.HTTPException) as error:
        raise EnrolmentError(
            "unreachable",
            f"{host}:{port} does not answer ({error}); check that the master runs, its address and its port",
        ) from error
    finally:
        connection.close()
