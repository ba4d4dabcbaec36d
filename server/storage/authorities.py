"""The cluster's authorities, and the certificates that its members showed last."""

from __future__ import annotations

import sqlite3

import msgspec

from server.core.authorities import CURRENT, AuthorityRow, Bearer, Shown
from server.storage import rows


def every(connection: sqlite3.Connection) -> list[AuthorityRow]:
    """All authorities there ever were, the oldest first."""
    return rows.every(connection, AuthorityRow, "FROM authorities ORDER BY created_at_us, fingerprint", ())


def current(connection: sqlite3.Connection) -> AuthorityRow | None:
    """The authority that signs; None in a cluster whose authority was never noted: `ca.crt` has it."""
    return rows.first(connection, AuthorityRow, "FROM authorities WHERE state = ?", (CURRENT,))


def insert(connection: sqlite3.Connection, authority: AuthorityRow) -> None:
    """Add an authority."""
    rows.insert(connection, "authorities", msgspec.structs.asdict(authority))


def set_state(connection: sqlite3.Connection, fingerprint: str, state: str, now_us: int) -> None:
    """Move an authority on."""
    rows.update(connection, "authorities", {"state": state, "state_since_us": now_us}, {"fingerprint": fingerprint})


def remove(connection: sqlite3.Connection, fingerprint: str) -> None:
    """Forget an authority that never signed."""
    connection.execute("DELETE FROM authorities WHERE fingerprint = ?", (fingerprint,))


def shown(connection: sqlite3.Connection, kind: str, identifier: str) -> Shown | None:
    """What a member showed last."""
    return rows.first(connection, Shown, "FROM certificates WHERE kind = ? AND id = ?", (kind, identifier))


def note(connection: sqlite3.Connection, seen: Shown) -> bool:
    """Keep what a member shows; False when that is what it showed before, and nothing is written."""
    before = shown(connection, seen.kind, seen.id)
    if before is not None and msgspec.structs.replace(before, shown_at_us=seen.shown_at_us) == seen:
        return False
    connection.execute("DELETE FROM certificates WHERE kind = ? AND id = ?", (seen.kind, seen.id))
    rows.insert(connection, "certificates", msgspec.structs.asdict(seen))
    return True


def bearers(connection: sqlite3.Connection) -> list[Bearer]:
    """Everybody who bears a certificate: nodes and agents that are neither removed, dead nor replaced; by name."""
    names = "SELECT 'node', id, name FROM nodes WHERE removed_at_us IS NULL"
    agents = "removed_at_us IS NULL AND dead_at_us IS NULL AND replaced_at_us IS NULL"
    names += f" UNION ALL SELECT 'agent', id, name FROM agents WHERE {agents} ORDER BY 1 DESC, 3"
    by_place = {(one.kind, one.id): one for one in rows.every(connection, Shown, "FROM certificates", ())}
    return [
        Bearer(kind, name, by_place.get((kind, identifier))) for kind, identifier, name in connection.execute(names)
    ]
