-- Maintenance of one tenant, ways to sign in, the rules that were missing. Each part has its own section: add there.

-- Maintenance and tenants.

-- Sign-in.
-- Ways to sign in beside the password, as core.sign_in_ways has them (JSON). No row: off.
CREATE TABLE sign_in_ways (
    way TEXT PRIMARY KEY, value TEXT NOT NULL, changed_at_us INTEGER NOT NULL, changed_by TEXT NOT NULL
) STRICT;

-- Rules, job monitors, workflows.

-- Runs of a group at once, over all its members; 0: no limit (core.limits).
ALTER TABLE groups ADD COLUMN runs_at_once INTEGER NOT NULL DEFAULT 0;

-- Security.
