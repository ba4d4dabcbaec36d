-- Maintenance of one tenant, ways to sign in, the rules that were missing. Each part has its own section: add there.

-- Maintenance and tenants.

-- Sign-in.
-- Ways to sign in beside the password, as core.sign_in_ways has them (JSON). No row: off.
CREATE TABLE sign_in_ways (
    way TEXT PRIMARY KEY, value TEXT NOT NULL, changed_at_us INTEGER NOT NULL, changed_by TEXT NOT NULL
) STRICT;
-- Passkeys: public keys alone. alone: good without a password. sign_count: what it said last.
CREATE TABLE passkeys (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), credential TEXT NOT NULL UNIQUE,
    public_key BLOB NOT NULL, name TEXT NOT NULL, rp_id TEXT NOT NULL, sign_count INTEGER NOT NULL,
    alone INTEGER NOT NULL CHECK (alone IN (0, 1)), created_at_us INTEGER NOT NULL, last_used_at_us INTEGER
) STRICT;
CREATE INDEX passkeys_by_user ON passkeys (user_id);
-- What was signed for a browser and is good once: kept from its use until it would have ended anyhow.
CREATE TABLE spent_once (hash TEXT PRIMARY KEY, expires_at_us INTEGER NOT NULL) STRICT, WITHOUT ROWID;
-- Whom an OpenID provider names. made: the account was made for it, and the provider says its role.
CREATE TABLE linked_accounts (
    issuer TEXT NOT NULL, subject TEXT NOT NULL, user_id INTEGER NOT NULL REFERENCES users(id),
    made INTEGER NOT NULL CHECK (made IN (0, 1)), created_at_us INTEGER NOT NULL, PRIMARY KEY (issuer, subject)
) STRICT, WITHOUT ROWID;
CREATE INDEX linked_accounts_by_user ON linked_accounts (user_id);
CREATE INDEX spent_once_ending ON spent_once (expires_at_us);

-- Rules, job monitors, workflows.

-- Runs of a group at once, over all its members; 0: no limit (core.limits).
ALTER TABLE groups ADD COLUMN runs_at_once INTEGER NOT NULL DEFAULT 0;

-- Security.
