"""Variables of all jobs and of single ones, and who names them. Values of secrets are in `storage.sealed`."""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterable, Mapping

from server.core.model import Row
from server.core.resolution import Values
from server.core.tenancy import qualified
from server.core.variables import HOST, Variable, job_scope, seal_name
from server.storage import rows, sealed, tenancy


class Use(Row, frozen=True, kw_only=True):
    """Something that names a variable. kind: job | environment | command_set."""

    kind: str
    owner_id: int
    name: str
    clear: bool


def get(connection: sqlite3.Connection, scope: str, name: str) -> Variable | None:
    """The variable of exactly that scope."""
    return rows.first(
        connection, Variable, "FROM variables WHERE scope = ? AND name = ?", (scope, tenancy.typed(connection, name))
    )


def page(connection: sqlite3.Connection, scope: str | None = None, after: int = 0, limit: int = 100) -> list[Variable]:
    """Variables by id, above `after`; of one scope when given."""
    if scope is None:
        return rows.every(connection, Variable, "FROM variables WHERE id > ? ORDER BY id LIMIT ?", (after, limit))
    tail = "FROM variables WHERE scope = ? AND id > ? ORDER BY id LIMIT ?"
    return rows.every(connection, Variable, tail, (scope, after, limit))


def put(connection: sqlite3.Connection, scope: str, name: str, now_us: int, by: str, **values: object) -> None:
    """Add a variable, or give the one that there is these columns."""
    stamp = {"updated_at_us": now_us, "updated_by": by}
    if not rows.update(connection, "variables", {**values, **stamp}, {"scope": scope, "name": name}):
        key = {"scope": scope, "name": name, "created_at_us": now_us}
        rows.insert(connection, "variables", {**key, **values, **stamp})


def place(connection: sqlite3.Connection, scope: str, name: str) -> str:
    """What its secret value is sealed for: the name as it is stored, so that tenants never share one."""
    return seal_name(scope, name if scope else tenancy.stored(connection, name))


def delete(connection: sqlite3.Connection, variable: Variable) -> None:
    """Take it away, and its sealed value."""
    connection.execute("DELETE FROM variables WHERE id = ?", (variable.id,))
    sealed.remove(connection, place(connection, variable.scope, variable.name))


def delete_of_job(connection: sqlite3.Connection, job_id: int) -> None:
    """A job is deleted: its own variables go, and it names none."""
    for variable in page(connection, job_scope(job_id), limit=10_000):
        delete(connection, variable)
    set_uses(connection, "job", job_id, {})


def known(connection: sqlite3.Connection, job_id: int | None, names: Iterable[str]) -> dict[str, Variable]:
    """Those of the names that there are: the job's own before those of all jobs of its tenant."""
    row = connection.execute("SELECT tenant FROM jobs WHERE id = ?", (job_id,)).fetchone() if job_id else None
    tenant = str(row[0]) if row is not None else ""
    found = {}
    for name in names:
        own = get(connection, job_scope(job_id), name) if job_id is not None else None
        variable = own or get(connection, HOST, qualified(tenant, name))
        if variable is not None:
            found[name] = variable
    return found


def values(connection: sqlite3.Connection, job_id: int, names: Iterable[str]) -> Values:
    """What the names stand for in a job's texts. Secrets stay sealed."""
    plain, secrets = {}, {}
    for name, variable in known(connection, job_id, names).items():
        if not variable.secret:
            plain[name] = variable.value
            continue
        sealed_for = place(connection, variable.scope, variable.name)
        kept = sealed.get(connection, sealed_for)
        if kept is not None:
            secrets[name] = (sealed_for, base64.b64encode(kept[0] + kept[1]).decode())
    return Values(plain, secrets)


def set_uses(connection: sqlite3.Connection, kind: str, owner_id: int, uses: Mapping[str, bool]) -> None:
    """What something names now. True: in a text that people see."""
    connection.execute("DELETE FROM variable_uses WHERE kind = ? AND owner_id = ?", (kind, owner_id))
    for name, clear in uses.items():
        values = {"kind": kind, "owner_id": owner_id, "name": name, "clear": int(clear)}
        rows.insert(connection, "variable_uses", values)


def uses(connection: sqlite3.Connection, name: str) -> list[Use]:
    """Who names it, whichever scope it has."""
    return rows.every(connection, Use, "FROM variable_uses WHERE name = ? ORDER BY kind, owner_id", (name,))


_JOBS = (
    "SELECT j.id FROM jobs j WHERE j.deleted_at_us IS NULL AND ("
    " EXISTS (SELECT 1 FROM variable_uses u WHERE u.kind = 'job' AND u.owner_id = j.id AND u.name = :name)"
    " OR j.environment_id IN (SELECT owner_id FROM variable_uses WHERE kind = 'environment' AND name = :name)"
    " OR j.command_set_id IN (SELECT owner_id FROM variable_uses WHERE kind = 'command_set' AND name = :name))"
    " ORDER BY j.id"
)


def jobs_naming(connection: sqlite3.Connection, name: str) -> list[int]:
    """Jobs whose texts name it, themselves or by what they share."""
    return [int(row[0]) for row in connection.execute(_JOBS, {"name": name})]
