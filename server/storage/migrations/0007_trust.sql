-- Maintenance of one tenant, ways to sign in, the rules that were missing. Each part has its own section: add there.

-- Maintenance and tenants.

-- Sign-in.

-- Rules, job monitors, workflows.

-- Runs of a group at once, over all its members; 0: no limit (core.limits).
ALTER TABLE groups ADD COLUMN runs_at_once INTEGER NOT NULL DEFAULT 0;

-- Security.
