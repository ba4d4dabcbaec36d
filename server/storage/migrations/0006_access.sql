-- Maintenance, messages, tenants, access and security.

-- A tenant's things carry its name. '' is the host: what belongs to no tenant.
CREATE TABLE tenants (
    name TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', created_at_us INTEGER NOT NULL, created_by TEXT NOT NULL,
    closed_at_us INTEGER
) STRICT;
ALTER TABLE users ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX users_by_tenant ON users (tenant, name) WHERE tenant != '';
