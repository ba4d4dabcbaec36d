-- Maintenance, messages, tenants, access and security.

-- A tenant's things carry its name. '' is the host: what belongs to no tenant.
CREATE TABLE tenants (
    name TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', created_at_us INTEGER NOT NULL, created_by TEXT NOT NULL,
    closed_at_us INTEGER
) STRICT;
ALTER TABLE users ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX users_by_tenant ON users (tenant, name) WHERE tenant != '';

-- Roles of one's own: permissions is a JSON list of names of core.access.PERMISSIONS.
CREATE TABLE roles (
    name TEXT PRIMARY KEY, permissions TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',
    created_at_us INTEGER NOT NULL, created_by TEXT NOT NULL
) STRICT;
-- scope: words of core.access.scope_of, '' all that the owner may.
ALTER TABLE api_tokens ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE api_tokens ADD COLUMN last_used_at_us INTEGER;
ALTER TABLE api_tokens ADD COLUMN warned_at_us INTEGER;
CREATE INDEX api_tokens_expiring ON api_tokens (expires_at_us)
    WHERE expires_at_us IS NOT NULL AND revoked_at_us IS NULL AND warned_at_us IS NULL;
