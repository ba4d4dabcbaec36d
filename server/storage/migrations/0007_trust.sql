-- Maintenance of one tenant, ways to sign in, the rules that were missing. Each part has its own section: add there.

-- Maintenance and tenants.

-- Sign-in.

-- Rules, job monitors, workflows.

-- Security.
