"""The cluster's certificates: its authority, short-lived leaves, the fingerprint, and the four TLS contexts.

An identity is a URI in the leaf's SubjectAltName: `understudy://node/<id>` or `understudy://agent/<id>`. Only
a node's leaf may serve (EKU serverAuth), so an agent's certificate can never stand in for a node. Chains are
verified against the cluster's authority alone; the host name is not checked, because nodes move between
addresses: who dials a
*particular* node compares `peer_of` with the id it wants.
"""

from __future__ import annotations

import hashlib
import ipaddress
import os
import ssl
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from cryptography import x509
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from server.core.authorities import Leaf, trust_of
from server.errors import Forbidden, Invalid

LEAF_DAYS = 30
AUTHORITY_DAYS = 20 * 365
CLOCK_SLACK = timedelta(hours=2)
"""Certificates are valid from this long before they are made: the other machine's clock may be behind."""

URI_PREFIX = "understudy://"
SEALED_AUTHORITY_KEY = "authority_key"
"""Name of the authority's private key in the table `sealed`."""

CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
"""Of TLS 1.2, for old browsers: a fresh key for each connection, and nothing that is not authenticated."""

Kind = Literal["node", "agent"]


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end of a connection, as its certificate says. `id` is 32 hex characters."""

    kind: Kind
    id: str


@dataclass(frozen=True, slots=True)
class Authority:
    """A certificate authority of the cluster. Its certificate never changes, so neither does its fingerprint."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @classmethod
    def create(cls, cluster: str, now: datetime) -> Authority:
        """Make a new authority for the cluster id `cluster`; `now` is aware UTC."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"Understudy cluster {cluster}")])
        return cls(_authority(name, key.public_key(), now).sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate_pem: bytes, key_pem: bytes) -> Authority:
        """Put together a stored certificate and the unsealed key."""
        return cls(x509.load_pem_x509_certificate(certificate_pem), load_key(key_pem))

    def certificate_pem(self) -> bytes:
        """The authority's certificate: what `ca.crt` holds."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def key_pem(self) -> bytes:
        """The authority's private key in the clear: only ever given to `seal`."""
        return private_pem(self.key)

    def cross_sign(self, following: x509.Certificate, now: datetime) -> str:
        """The key of another authority of this cluster, signed by this one (PEM): shown along with a leaf of the other,
        it lets those accept it who trust this one only. Both have one name, so it lengthens no path (RFC 5280 4.2.1.9).
        """
        builder = _authority(following.subject, following.public_key(), now)
        builder = builder.add_extension(_issuer_key(self.certificate), critical=False)  # else it looks self-signed
        return certificate_pem(builder.sign(self.key, hashes.SHA256()))

    def issue(self, request_pem: bytes, peer: Peer, addresses: tuple[str, ...], now: datetime) -> bytes:
        """Answer a certificate request with a leaf for `peer`, valid LEAF_DAYS; of the request only the key
        is used.

        `addresses` are the IP addresses and names that the leaf names besides the identity. Raises `Invalid`
        when the request cannot be read or is not signed by its own key.
        """
        request = read_request(request_pem)
        uses = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if peer.kind == "node":
            uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
        public = request.public_key()
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"{peer.kind} {peer.id}")]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - CLOCK_SLACK)
            .not_valid_after(now + timedelta(days=LEAF_DAYS))
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(authority=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
            .add_extension(x509.SubjectAlternativeName(_names(peer, addresses)), critical=False)
            .add_extension(_issuer_key(self.certificate), critical=False)
        )
        return builder.sign(self.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def _authority(name: x509.Name, key: CertificatePublicKeyTypes, now: datetime) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + timedelta(days=AUTHORITY_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(_usage(authority=True), critical=True)
    )


def _usage(authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=authority,
        encipher_only=False,
        decipher_only=False,
    )


def _issuer_key(certificate: x509.Certificate) -> x509.AuthorityKeyIdentifier:
    identifier = certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier)


def _names(peer: Peer, addresses: tuple[str, ...]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"{URI_PREFIX}{peer.kind}/{peer.id}")]
    for address in dict.fromkeys(addresses):
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(address)))
        except ValueError:
            names.append(x509.DNSName(address))
    return names


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh private key for a leaf."""
    return ec.generate_private_key(ec.SECP256R1())


def load_key(key_pem: bytes) -> ec.EllipticCurvePrivateKey:
    """A private key of `private_pem`."""
    key = serialization.load_pem_private_key(key_pem, None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    return key


def private_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A private key in the clear, for a file of mode 0600 or for `seal`."""
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def certificate_request(key: ec.EllipticCurvePrivateKey) -> bytes:
    """A request for a leaf: it proves that the asker holds `key` and says nothing else."""
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "understudy")])
    request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def fingerprint(authority_pem: bytes) -> str:
    """SHA-256 of the certificate (DER) of the authority that signs: 64 lower-case hex digits."""
    return fingerprint_of(authorities_in(authority_pem)[0])


def fingerprint_of(authority: x509.Certificate) -> str:
    """The fingerprint of one certificate."""
    return authority.fingerprint(hashes.SHA256()).hex()


def normal_fingerprint(text: str) -> str:
    """The fingerprint that somebody typed or pasted: colons, spaces, upper case and `sha256:` do not
    matter."""
    plain = text.strip().lower().removeprefix("sha256:")
    plain = plain.replace(":", "").replace(" ", "")
    if len(plain) != 64 or any(character not in "0123456789abcdef" for character in plain):
        raise Invalid(
            "a fingerprint is 64 hexadecimal digits; Server Properties on the master shows it, "
            "and so does `understudy status` there"
        )
    return plain


def certificate_pem(certificate: x509.Certificate) -> str:
    """A certificate as text."""
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def authorities_in(bundle_pem: bytes) -> list[x509.Certificate]:
    """The certificates of a file of trusted authorities, the one that signs first; raises `Invalid`."""
    try:
        return x509.load_pem_x509_certificates(bundle_pem)
    except ValueError as error:
        raise Invalid(f"this is not a certificate: {error}") from error


def trust_in(bundle_pem: bytes) -> str:
    """What such a file trusts, as `core.authorities.trust_of` writes it."""
    return trust_of([fingerprint_of(one) for one in authorities_in(bundle_pem)])


def key_id(authority: x509.Certificate) -> str:
    """By which certificates name the authority that signed them, hex."""
    return authority.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()


def addresses_of(certificate: x509.Certificate) -> list[str]:
    """The IP addresses and names that a leaf carries besides its identity."""
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return addresses + names.get_values_for_type(x509.DNSName)


def valid_until(certificate_pem: bytes) -> datetime:
    """When a certificate ends, aware UTC."""
    return x509.load_pem_x509_certificate(certificate_pem).not_valid_after_utc


def seal(key: bytes, name: str, secret: bytes) -> tuple[bytes, bytes]:
    """Encrypt `secret` for the row `name` of the table `sealed`; `key` is the 32 bytes of `seal.key`.

    The name is authenticated with it, so rows cannot be exchanged. Returns (nonce, ciphertext).
    """
    nonce = os.urandom(12)
    return nonce, AESGCM(key).encrypt(nonce, secret, name.encode())


def unseal(key: bytes, name: str, nonce: bytes, ciphertext: bytes) -> bytes:
    """The secret of `seal`; raises `Invalid` when the key is not this cluster's or the row was changed."""
    try:
        return AESGCM(key).decrypt(nonce, ciphertext, name.encode())
    except InvalidTag as error:
        raise Invalid(f"seal.key does not open {name!r}: this file is of another cluster, or damaged") from error


def secret_hash(secret: str) -> str:
    """SHA-256 of a random secret, hex: what is stored of session tokens, API tokens and join tokens."""
    return hashlib.sha256(secret.encode()).hexdigest()


def web_context(certificate: Path, key: Path) -> ssl.SSLContext:
    """For the web port: TLS 1.2 or later, no client certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers(CIPHERS)
    context.load_cert_chain(certificate, key)
    return context


def cluster_context(certificate: Path, key: Path, authority: Path) -> ssl.SSLContext:
    """For the cluster port: TLS 1.3; a client certificate is verified when shown.

    It is optional in the handshake because `/enrol` is for those who have none yet; every other path demands
    `peer_of`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(authority)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0  # nobody resumes a session here, and each ticket is made, kept and sent
    return context


def client_context(authority: Path | str, certificate: Path | None = None, key: Path | None = None) -> ssl.SSLContext:
    """For dialling nodes of this cluster: verified against its authority, with an own certificate when one is
    given.

    `authority` is a path, or the PEM text itself.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    if isinstance(authority, Path):
        context.load_verify_locations(authority)
    else:
        context.load_verify_locations(cadata=authority)
    if certificate is not None:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_cert_chain(certificate, key)
    return context


def unverified_context() -> ssl.SSLContext:
    """For fetching `GET /api/v1/ca` alone, whose answer is compared with a known fingerprint before anything
    is sent."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def peer_of(transport: object) -> Peer | None:
    """Who is at the other end of an asyncio transport, or None without a verified certificate of this
    cluster."""
    extra = getattr(transport, "get_extra_info", None)
    certificate = extra("peercert") if extra is not None else None
    if not certificate:
        return None
    for kind, value in certificate.get("subjectAltName", ()):
        if kind == "URI" and value.startswith(URI_PREFIX):
            subject, _, identifier = value.removeprefix(URI_PREFIX).partition("/")
            if subject in ("node", "agent") and identifier:
                return Peer(subject, identifier)
    return None


def read_leaf(certificate: x509.Certificate) -> Leaf:
    """The facts of a leaf."""
    issuer = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier or b""
    until_us = int(certificate.not_valid_after_utc.timestamp() * 1e6)
    return Leaf(hash_of_key(certificate.public_key()), issuer.hex(), until_us)


def hash_of_key(key: CertificatePublicKeyTypes) -> str:
    """SHA-256 of a public key, hex."""
    encoding, form = serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    return hashlib.sha256(key.public_bytes(encoding, form)).hexdigest()


def read_request(request_pem: bytes) -> x509.CertificateSigningRequest:
    """A certificate request that its own key has signed; raises `Invalid`."""
    try:
        request = x509.load_pem_x509_csr(request_pem)
    except ValueError as error:
        raise Invalid(f"the certificate request cannot be read: {error}") from error
    if not request.is_signature_valid:
        raise Invalid("the certificate request is not signed by its own key; make it again")
    return request


def hash_of_request(request_pem: bytes) -> str:
    """`hash_of_key` of the key that a certificate request proves."""
    return hash_of_key(read_request(request_pem).public_key())


def leaf_of(transport: object) -> Leaf | None:
    """The leaf that the other end of an asyncio transport showed, or None without one."""
    extra = getattr(transport, "get_extra_info", None)
    wrapped = extra("ssl_object") if extra is not None else None
    der = wrapped.getpeercert(True) if wrapped is not None else None
    return read_leaf(x509.load_der_x509_certificate(der)) if der else None


def require_peer(transport: object, kind: Kind) -> Peer:
    """The peer of a transport of the cluster port; raises `Forbidden` unless it shows a certificate of that
    kind."""
    peer = peer_of(transport)
    if peer is None or peer.kind != kind:
        raise Forbidden(f"this path needs a certificate of a {kind} of this cluster")
    return peer
