"""Nothing new is forgotten between tenants: tables have rules, parameters of routes have kinds (docs/tenants.md)."""

from __future__ import annotations

from server.core import tenancy
from server.storage import tenancy as scopes
from tests.unit.ledger import Ledger
from tests.unit.tenant_kinds import API_KINDS, PAGE_KINDS, ROUTES, kinds


def test_every_table_of_the_schema_has_a_rule() -> None:
    """Whoever adds a table says in core/tenancy.py what tenants see of it; until then they see nothing."""
    assert set(scopes.columns(Ledger().connection)) == tenancy.rules()


def test_every_parameter_has_a_kind() -> None:
    """Whoever adds a route says what its parameters name, so that tests/unit/test_tenant_routes.py asks for it."""
    for _, path, is_page in ROUTES:
        kinds(path, PAGE_KINDS if is_page else API_KINDS)
