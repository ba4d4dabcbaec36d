"""`init`: a new cluster in an empty directory: authority, keys, the administrator, the first rows."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime
from pathlib import Path

from server.actions import users
from server.actions.change import Change, Transaction
from server.config import ConfigError
from server.core.model import SYSTEM
from server.storage import sealed
from server.trust import identity as files
from server.trust import tls
from server.trust.identity import Identity

ADMINISTRATOR = "admin"
_PASSWORD_LETTERS = "abcdefghjkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"


def new_password() -> str:
    """A password that can be read aloud and typed: four groups of five, 116 bits, no letters that look alike."""
    return "-".join("".join(secrets.choice(_PASSWORD_LETTERS) for _ in range(5)) for _ in range(4))


def check_empty(data: Path) -> None:
    """Raise `ConfigError` when the directory is a node already, or half of one."""
    if files.load_identity(data) is not None:
        raise ConfigError(
            f"{data} holds a node already. Start it with `understudy serve --data {data}`, "
            "or name an empty directory with --data"
        )
    if (data / "journal").exists() or (data / files.AUTHORITY_FILE).exists():
        raise ConfigError(
            f"{data} holds a node that was never finished. Remove the directory and type the command again"
        )


def found_cluster(data: Path, name: str, password_phc: str) -> tuple[Identity, Change[None]]:
    """Write the keys of a new cluster and return its first node with the change that writes its first rows.

    `identity.json` is left to the caller, who writes it when the rows are durable: without it the directory
    counts as unfinished and nothing starts from it.
    """
    files.make_directory(data)
    now = datetime.now(UTC)
    identity = Identity("node", files.new_id(), files.new_id(), name)
    authority = tls.Authority.create(identity.cluster, now)
    seal_key = secrets.token_bytes(32)
    key = tls.new_key()
    certificate = authority.issue(tls.certificate_request(key), tls.Peer("node", identity.id), (), now)
    files.write_private(data / files.AUTHORITY_FILE, authority.certificate_pem())
    files.write_private(data / files.SEAL_FILE, seal_key)
    files.write_private(data / files.KEY_FILE, tls.private_pem(key))
    files.write_private(data / files.CERTIFICATE_FILE, certificate)
    nonce, ciphertext = tls.seal(seal_key, tls.SEALED_AUTHORITY_KEY, authority.key_pem())

    def first_rows(transaction: Transaction) -> None:
        now_us = int(now.timestamp() * 1e6)
        sealed.put(transaction.connection, tls.SEALED_AUTHORITY_KEY, nonce, ciphertext)
        users.create(ADMINISTRATOR, password_phc, "administrator", SYSTEM, now_us)(transaction)

    return identity, first_rows
