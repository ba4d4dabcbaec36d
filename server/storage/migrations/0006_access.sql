-- Maintenance, messages, tenants, access and security.

-- A tenant's things carry its name. '' is the host: what belongs to no tenant.
CREATE TABLE tenants (
    name TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', created_at_us INTEGER NOT NULL, created_by TEXT NOT NULL,
    closed_at_us INTEGER
) STRICT;
ALTER TABLE users ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX users_by_tenant ON users (tenant, name) WHERE tenant != '';

-- What administrators tell people (CRY-4, CRY-5). kind: banner | login_message. audience: role names, none: everybody.
-- version is raised by a change of the text: what was dismissed before is shown again.
CREATE TABLE announcements (
    kind TEXT PRIMARY KEY, title TEXT NOT NULL, body TEXT NOT NULL DEFAULT '', severity TEXT NOT NULL DEFAULT 'info',
    audience TEXT NOT NULL DEFAULT '[]', before_sign_in INTEGER NOT NULL DEFAULT 0, is_on INTEGER NOT NULL DEFAULT 0,
    start_us INTEGER, expiry_us INTEGER, version INTEGER NOT NULL, changed_by TEXT NOT NULL, changed_at_us INTEGER NOT NULL
) STRICT;
CREATE TABLE login_message_dismissals (
    user_id INTEGER PRIMARY KEY REFERENCES users(id), version INTEGER NOT NULL, dismissed_at_us INTEGER NOT NULL
) STRICT;

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

-- An account is locked after failed sign-ins.
ALTER TABLE users ADD COLUMN locked_until_us INTEGER;

-- UIP, CRY: maintenance. One open session for each scope: '' the host, 'agent:NAME', 'tenant:NAME'.
CREATE TABLE maintenance_sessions (
    id INTEGER PRIMARY KEY, scope TEXT NOT NULL, agent_id TEXT NOT NULL DEFAULT '',
    phase TEXT NOT NULL CHECK (phase IN ('none', 'draining', 'suspended')),
    running TEXT NOT NULL CHECK (running IN ('finish', 'stop', 'kill')),
    submissions TEXT NOT NULL CHECK (submissions IN ('queue', 'reject')),
    pages TEXT NOT NULL CHECK (pages IN ('notice', 'closed')),
    reason TEXT NOT NULL DEFAULT '', started_at_us INTEGER NOT NULL, started_by TEXT NOT NULL,
    ended_at_us INTEGER, ended_by TEXT NOT NULL DEFAULT '',
    stops_attempted INTEGER NOT NULL DEFAULT 0, kills_attempted INTEGER NOT NULL DEFAULT 0,
    suspend_at_us INTEGER, suspend_when_idle INTEGER NOT NULL DEFAULT 0 CHECK (suspend_when_idle IN (0, 1)),
    suspend_kill INTEGER NOT NULL DEFAULT 0 CHECK (suspend_kill IN (0, 1)), end_at_us INTEGER
) STRICT;
CREATE UNIQUE INDEX maintenance_open ON maintenance_sessions (scope) WHERE ended_at_us IS NULL;
CREATE INDEX maintenance_by_scope ON maintenance_sessions (scope, id);
CREATE INDEX maintenance_at_work ON maintenance_sessions (id)
    WHERE ended_at_us IS NULL AND (running != 'finish' OR suspend_when_idle = 1 OR suspend_at_us IS NOT NULL OR end_at_us IS NOT NULL);
-- Each change of a session. The first row of a session says what was before: none.
CREATE TABLE maintenance_log (
    id INTEGER PRIMARY KEY, session_id INTEGER NOT NULL REFERENCES maintenance_sessions(id), phase TEXT NOT NULL,
    policy TEXT NOT NULL DEFAULT '', at_us INTEGER NOT NULL, changed_by TEXT NOT NULL, reason TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX maintenance_log_by_session ON maintenance_log (session_id, id);
-- The runs that a session asked to stop, and to be killed.
CREATE TABLE maintenance_runs (
    session_id INTEGER NOT NULL REFERENCES maintenance_sessions(id), run INTEGER NOT NULL,
    kill INTEGER NOT NULL CHECK (kill IN (0, 1)), at_us INTEGER NOT NULL, PRIMARY KEY (session_id, run, kill)
) STRICT, WITHOUT ROWID;
-- What a maintenance suppressed is found by time: occurrences in the ledger, and runs of events.
CREATE INDEX missed_by_maintenance ON missed (scheduled_for_us) WHERE cause = 'maintenance';
CREATE INDEX runs_by_maintenance ON runs (submitted_at_us) WHERE state = 'missed' AND reason = 'maintenance';
-- Agents that a former release has put into maintenance: their gates become sessions.
INSERT INTO maintenance_sessions (scope, agent_id, phase, running, submissions, pages, reason, started_at_us, started_by)
    SELECT CASE g.agent_id WHEN '' THEN '' ELSE 'agent:' || a.name END, g.agent_id,
        CASE g.kind WHEN 'maintenance' THEN 'draining' ELSE 'suspended' END, 'finish', 'queue', 'notice', g.reason,
        g.set_at_us, g.set_by FROM gates g LEFT JOIN agents a ON a.id = g.agent_id
    WHERE g.kind IN ('maintenance', 'maintenance_suspended') AND (g.agent_id = '' OR a.name IS NOT NULL);
INSERT INTO maintenance_log (session_id, phase, at_us, changed_by)
    SELECT id, 'none', started_at_us, started_by FROM maintenance_sessions;
INSERT INTO maintenance_log (session_id, phase, at_us, changed_by, reason)
    SELECT id, phase, started_at_us, started_by, reason FROM maintenance_sessions;
-- What a takeover with loss withholds (docs/decisions/0123): agents whose machine was declared dead before they had
-- answered, until it is decided what they may have run. Runs that wait for an answer leave every queue.
CREATE TABLE dead_debts (agent_id TEXT PRIMARY KEY, dead_at_us INTEGER NOT NULL) STRICT;
UPDATE runs SET begin_after_us = 2305843009213693952
    WHERE state = 'waiting' AND dispatched_epoch IS NULL AND reason = 'a silent agent may have it';
