"""Certificates, fingerprints and sealing, with real handshakes in memory."""

from __future__ import annotations

import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from server.errors import Forbidden, Invalid
from server.trust import tls

NOW = datetime.now(UTC)
NODE = tls.Peer("node", "a" * 32)
AGENT = tls.Peer("agent", "b" * 32)


class Member:
    """A key and a certificate of an authority, as files."""

    def __init__(self, folder: Path, authority: tls.Authority, peer: tls.Peer, now: datetime = NOW) -> None:
        key = tls.new_key()
        self.key, self.certificate, self.authority = (
            folder / f"{peer.kind}.{name}" for name in ("key", "crt", "authority")
        )
        self.key.write_bytes(tls.private_pem(key))
        pem = authority.issue(tls.certificate_request(key), peer, ("127.0.0.1", "north.example"), now)
        self.certificate.write_bytes(pem)
        self.authority.write_bytes(authority.certificate_pem())


class Transport:
    """What `peer_of` asks a transport."""

    def __init__(self, certificate: object) -> None:
        self._certificate = certificate

    def get_extra_info(self, name: str) -> object:
        return self._certificate if name == "peercert" else None


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """A handshake in memory, and one byte each way: TLS 1.3 tells a client of its refusal only then."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    asking = client.wrap_bio(to_client, to_server, server_side=False)
    for _ in range(10):
        for side in (asking, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    serving.write(b"x")
    assert asking.read(1) == b"x"
    return serving, asking


@pytest.fixture
def authority() -> tls.Authority:
    return tls.Authority.create("c" * 32, NOW)


def test_both_ends_know_each_other(tmp_path: Path, authority: tls.Authority) -> None:
    """A node and an agent of one cluster connect, and each reads the other's identity from its certificate."""
    node, agent = Member(tmp_path, authority, NODE), Member(tmp_path, authority, AGENT)
    serving, asking = shake_hands(
        tls.cluster_context(node.certificate, node.key, node.authority),
        tls.client_context(agent.authority, agent.certificate, agent.key),
    )
    assert tls.peer_of(Transport(serving.getpeercert())) == AGENT
    assert tls.peer_of(Transport(asking.getpeercert())) == NODE
    assert serving.version() == "TLSv1.3"


def test_without_certificate_nobody_is_known(tmp_path: Path, authority: tls.Authority) -> None:
    """A joiner without a certificate gets through the handshake for `/enrol`, and is nobody everywhere else."""
    node = Member(tmp_path, authority, NODE)
    server = tls.cluster_context(node.certificate, node.key, node.authority)
    serving, _ = shake_hands(server, tls.client_context(authority.certificate_pem().decode()))
    transport = Transport(serving.getpeercert())
    assert tls.peer_of(transport) is None
    with pytest.raises(Forbidden):
        tls.require_peer(transport, "node")


def test_another_cluster_is_refused(tmp_path: Path, authority: tls.Authority) -> None:
    """A certificate of another authority does not connect in either direction."""
    other = tls.Authority.create("d" * 32, NOW)
    (tmp_path / "other").mkdir()
    node, stranger = Member(tmp_path, authority, NODE), Member(tmp_path / "other", other, NODE)
    server = tls.cluster_context(node.certificate, node.key, node.authority)
    with pytest.raises(ssl.SSLError):
        shake_hands(server, tls.client_context(stranger.authority, stranger.certificate, stranger.key))
    with pytest.raises(ssl.SSLError):
        shake_hands(server, tls.client_context(node.authority, stranger.certificate, stranger.key))


def test_an_agent_cannot_stand_in_for_a_node(tmp_path: Path, authority: tls.Authority) -> None:
    """An agent's certificate cannot serve, and is no node's on the paths for nodes."""
    agent, node = Member(tmp_path, authority, AGENT), Member(tmp_path, authority, NODE)
    with pytest.raises(ssl.SSLError):
        shake_hands(
            tls.web_context(agent.certificate, agent.key), tls.client_context(authority.certificate_pem().decode())
        )
    server = tls.cluster_context(node.certificate, node.key, node.authority)
    serving, _ = shake_hands(server, tls.client_context(agent.authority, agent.certificate, agent.key))
    with pytest.raises(Forbidden):
        tls.require_peer(Transport(serving.getpeercert()), "node")
    assert tls.require_peer(Transport(serving.getpeercert()), "agent") == AGENT


def test_an_expired_leaf_is_refused(tmp_path: Path, authority: tls.Authority) -> None:
    """A leaf is valid for 30 days and not a day longer."""
    node = Member(tmp_path, authority, NODE, NOW - timedelta(days=tls.LEAF_DAYS + 1))
    assert tls.valid_until(node.certificate.read_bytes()) < NOW
    with pytest.raises(ssl.SSLError):
        shake_hands(
            tls.web_context(node.certificate, node.key), tls.client_context(authority.certificate_pem().decode())
        )


def test_a_leaf_names_the_addresses(tmp_path: Path, authority: tls.Authority) -> None:
    """Browsers and strict clients find address and name in the certificate."""
    node = Member(tmp_path, authority, NODE)
    assert tls.addresses_of(x509.load_pem_x509_certificate(node.certificate.read_bytes())) == [
        "127.0.0.1",
        "north.example",
    ]


def test_a_request_needs_its_own_signature(authority: tls.Authority) -> None:
    """What is no request, or was changed on the way, is refused with a sentence."""
    with pytest.raises(Invalid):
        authority.issue(b"nothing", NODE, (), NOW)


def test_the_fingerprint_is_of_the_authority(authority: tls.Authority) -> None:
    """It stays while leaves come and go, and people may type it with colons and capitals."""
    found = tls.fingerprint(authority.certificate_pem())
    again = tls.Authority.load(authority.certificate_pem(), authority.key_pem())
    assert tls.fingerprint(again.certificate_pem()) == found
    shown = ":".join(found[i : i + 2] for i in range(0, 64, 2)).upper()
    assert tls.normal_fingerprint(f" SHA256:{shown} ") == found
    with pytest.raises(Invalid):
        tls.normal_fingerprint(found[:-1])


def test_sealed_secrets_open_with_their_key_and_name_only() -> None:
    """Another key, another row's name or a flipped bit opens nothing."""
    key = bytes(range(32))
    nonce, ciphertext = tls.seal(key, "authority_key", b"secret")
    assert tls.unseal(key, "authority_key", nonce, ciphertext) == b"secret"
    assert b"secret" not in ciphertext
    changed = bytes([ciphertext[0] ^ 1]) + ciphertext[1:]
    for wrong in (
        (bytes(32), "authority_key", ciphertext),
        (key, "other", ciphertext),
        (key, "authority_key", changed),
    ):
        with pytest.raises(Invalid):
            tls.unseal(wrong[0], wrong[1], nonce, wrong[2])
