-- Maintenance, messages, tenants, access and security.

-- A tenant's things carry its name. '' is the host: what belongs to no tenant.
CREATE TABLE tenants (
    name TEXT PRIMARY KEY, title TEXT NOT NULL DEFAULT '', created_at_us INTEGER NOT NULL, created_by TEXT NOT NULL,
    closed_at_us INTEGER
) STRICT;
ALTER TABLE users ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX users_by_tenant ON users (tenant, name) WHERE tenant != '';

-- After a loss thousands of agents may owe an answer, and the latest loss is asked for at each of their messages.
CREATE INDEX debts_since ON debts (since_us, agent_id);
-- Who is given nothing: looked at after every commit, however many agents there are.
CREATE INDEX agents_aside ON agents (id) WHERE quarantined_at_us IS NOT NULL OR removed_at_us IS NOT NULL;

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

-- The hash chain of the audit history (core.audit_chain). The entries of before begin it: they have no hash of their own.
ALTER TABLE audit ADD COLUMN previous_hash TEXT NOT NULL DEFAULT '';
ALTER TABLE audit ADD COLUMN hash TEXT NOT NULL DEFAULT '';
CREATE TABLE audit_chain (
    id INTEGER PRIMARY KEY CHECK (id = 1), anchor_id INTEGER NOT NULL, anchor_hash TEXT NOT NULL,
    head_id INTEGER NOT NULL, head_hash TEXT NOT NULL, removed INTEGER NOT NULL DEFAULT 0, removed_at_us INTEGER,
    verified_id INTEGER NOT NULL DEFAULT 0, verified_at_us INTEGER, verified_by TEXT NOT NULL DEFAULT '',
    problem TEXT NOT NULL DEFAULT ''
) STRICT;
INSERT INTO audit_chain (id, anchor_id, anchor_hash, head_id, head_hash)
    SELECT 1, coalesce(min(id), 1) - 1, hex(zeroblob(32)), coalesce(min(id), 1) - 1,
        hex(zeroblob(32)) FROM audit;
-- What retention removes: messages that were read long ago.
CREATE INDEX system_messages_read ON system_messages (acknowledged_at_us) WHERE acknowledged_at_us IS NOT NULL;

-- Planned maintenance windows (BEY-10): the next occurrence, or the present one. state: planned | open | over.
CREATE TABLE maintenance_windows (
    id INTEGER PRIMARY KEY, title TEXT NOT NULL, scope TEXT NOT NULL, expression TEXT NOT NULL, zone TEXT NOT NULL,
    duration_us INTEGER NOT NULL, lead_us INTEGER NOT NULL, start_us INTEGER NOT NULL, end_us INTEGER NOT NULL,
    state TEXT NOT NULL, created_by TEXT NOT NULL, created_at_us INTEGER NOT NULL,
    said TEXT NOT NULL DEFAULT '', said_at_us INTEGER
) STRICT;
CREATE INDEX maintenance_windows_coming ON maintenance_windows (start_us) WHERE state != 'over';

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
-- When a session was used last, to some minutes; NULL: when it was made.
ALTER TABLE sessions ADD COLUMN seen_at_us INTEGER;
-- Second factors: the secret is the row 'totp/<user id>' of sealed. A code is good once.
CREATE TABLE second_factors (
    user_id INTEGER PRIMARY KEY REFERENCES users(id), created_at_us INTEGER NOT NULL, confirmed_at_us INTEGER,
    last_step INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE recovery_codes (
    user_id INTEGER NOT NULL REFERENCES users(id), code_hash TEXT NOT NULL, used_at_us INTEGER,
    PRIMARY KEY (user_id, code_hash)
) STRICT, WITHOUT ROWID;
CREATE TABLE role_rules (role TEXT PRIMARY KEY, second_factor INTEGER NOT NULL CHECK (second_factor IN (0, 1))) STRICT;

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
-- Of whom things are (docs/decisions/0128). What a tenant names is stored as `TENANT:NAME`; own_name is what its people
-- type and see. Rows without a name get the tenant of what they belong to by a trigger, whoever writes them.
-- The indexes are partial: the host's rows, and a cluster without tenants, pay nothing.
ALTER TABLE jobs ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE jobs ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX jobs_of_tenant ON jobs (tenant, own_name) WHERE tenant != '';
ALTER TABLE workflows ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE workflows ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX workflows_of_tenant ON workflows (tenant, own_name) WHERE tenant != '';
ALTER TABLE calendars ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE calendars ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX calendars_of_tenant ON calendars (tenant, own_name) WHERE tenant != '';
ALTER TABLE environments ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE environments ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX environments_of_tenant ON environments (tenant, own_name) WHERE tenant != '';
ALTER TABLE command_sets ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE command_sets ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX command_sets_of_tenant ON command_sets (tenant, own_name) WHERE tenant != '';
ALTER TABLE monitors ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE monitors ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX monitors_of_tenant ON monitors (tenant, own_name) WHERE tenant != '';
ALTER TABLE resources ADD COLUMN tenant TEXT GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE resources ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX resources_of_tenant ON resources (tenant, own_name) WHERE tenant != '';
ALTER TABLE notification_lists ADD COLUMN tenant TEXT
    GENERATED ALWAYS AS (substr(name, 1, max(instr(name, ':') - 1, 0))) VIRTUAL;
ALTER TABLE notification_lists ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX notification_lists_of_tenant ON notification_lists (tenant, own_name) WHERE tenant != '';
ALTER TABLE notification_deliveries ADD COLUMN tenant TEXT
    GENERATED ALWAYS AS (substr(list, 1, max(instr(list, ':') - 1, 0))) VIRTUAL;
CREATE INDEX notification_deliveries_of_tenant ON notification_deliveries (tenant, id) WHERE tenant != '';

-- Variables of all jobs of a tenant (scope '') are named like other things; those of one job belong to whom it belongs.
ALTER TABLE variables ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
ALTER TABLE variables ADD COLUMN own_name TEXT GENERATED ALWAYS AS (substr(name, instr(name, ':') + 1)) VIRTUAL;
CREATE INDEX variables_of_tenant ON variables (tenant, scope, own_name) WHERE tenant != '';
CREATE TRIGGER variables_get_a_tenant AFTER INSERT ON variables
WHEN instr(NEW.name, ':') OR (SELECT tenant FROM jobs WHERE NEW.scope != '' AND id = CAST(substr(NEW.scope, 5) AS INTEGER)) != ''
BEGIN
    UPDATE variables SET tenant = CASE WHEN scope = '' THEN substr(name, 1, instr(name, ':') - 1)
        ELSE (SELECT tenant FROM jobs WHERE id = CAST(substr(NEW.scope, 5) AS INTEGER)) END WHERE id = NEW.id;
END;

ALTER TABLE orders ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX orders_of_tenant ON orders (tenant, state, next_instant_us) WHERE tenant != '';
CREATE TRIGGER orders_get_a_tenant AFTER INSERT ON orders WHEN (SELECT tenant FROM jobs WHERE id = NEW.job_id) != ''
BEGIN
    UPDATE orders SET tenant = (SELECT tenant FROM jobs WHERE id = NEW.job_id) WHERE id = NEW.id;
END;
ALTER TABLE runs ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_of_tenant ON runs (tenant, number) WHERE tenant != '';
CREATE INDEX runs_of_tenant_by_state ON runs (tenant, state, number) WHERE tenant != '';
CREATE TRIGGER runs_get_a_tenant AFTER INSERT ON runs WHEN (SELECT tenant FROM jobs WHERE id = NEW.job_id) != ''
BEGIN
    UPDATE runs SET tenant = (SELECT tenant FROM jobs WHERE id = NEW.job_id) WHERE number = NEW.number;
END;
ALTER TABLE missed ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX missed_of_tenant ON missed (tenant, resolution, id) WHERE tenant != '';
CREATE TRIGGER missed_get_a_tenant AFTER INSERT ON missed WHEN (SELECT tenant FROM jobs WHERE id = NEW.job_id) != ''
BEGIN
    UPDATE missed SET tenant = (SELECT tenant FROM jobs WHERE id = NEW.job_id) WHERE id = NEW.id;
END;
ALTER TABLE server_history ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX server_history_of_tenant ON server_history (tenant, id) WHERE tenant != '';
CREATE TRIGGER server_history_gets_a_tenant AFTER INSERT ON server_history
WHEN (SELECT tenant FROM jobs WHERE id = CAST(substr(NEW.run_key, 2) AS INTEGER)) != ''
BEGIN
    UPDATE server_history SET tenant = (SELECT tenant FROM jobs WHERE id = CAST(substr(NEW.run_key, 2) AS INTEGER))
        WHERE id = NEW.id;
END;
ALTER TABLE workflow_runs ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX workflow_runs_of_tenant ON workflow_runs (tenant, id) WHERE tenant != '';
CREATE TRIGGER workflow_runs_get_a_tenant AFTER INSERT ON workflow_runs
WHEN (SELECT tenant FROM workflows WHERE id = NEW.workflow_id) != ''
BEGIN
    UPDATE workflow_runs SET tenant = (SELECT tenant FROM workflows WHERE id = NEW.workflow_id) WHERE id = NEW.id;
END;
ALTER TABLE events ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX events_of_tenant ON events (tenant, id) WHERE tenant != '';
CREATE TRIGGER events_get_a_tenant AFTER INSERT ON events
WHEN (SELECT tenant FROM monitors WHERE id = NEW.monitor_id) != ''
BEGIN
    UPDATE events SET tenant = (SELECT tenant FROM monitors WHERE id = NEW.monitor_id) WHERE id = NEW.id;
END;
ALTER TABLE job_monitor_trips ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX job_monitor_trips_of_tenant ON job_monitor_trips (tenant, id) WHERE tenant != '';
CREATE TRIGGER job_monitor_trips_get_a_tenant AFTER INSERT ON job_monitor_trips
WHEN (SELECT tenant FROM jobs WHERE id = NEW.job_id) != ''
BEGIN
    UPDATE job_monitor_trips SET tenant = (SELECT tenant FROM jobs WHERE id = NEW.job_id) WHERE id = NEW.id;
END;

-- An agent (or a group) of one tenant alone; '' is shared by all. A group is a row of agents too.
ALTER TABLE agents ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
-- Who changed what of which tenant, and what it is told. '' is the host, whose people see all.
ALTER TABLE audit ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX audit_of_tenant ON audit (tenant, id) WHERE tenant != '';
ALTER TABLE system_messages ADD COLUMN tenant TEXT NOT NULL DEFAULT '';
CREATE INDEX system_messages_of_tenant ON system_messages (tenant, id) WHERE tenant != '';

-- What the scheduler put aside because a defect kept it from doing it. work: a key of core.asides.WORDS; subject: an
-- order, a run, a job ... by number or key; was: what it takes to do it again.
CREATE TABLE asides (
    id INTEGER PRIMARY KEY AUTOINCREMENT, work TEXT NOT NULL, subject TEXT NOT NULL, job_id INTEGER,
    was TEXT NOT NULL, error TEXT NOT NULL, aside_at_us INTEGER NOT NULL, UNIQUE (work, subject)
) STRICT;
CREATE INDEX asides_by_job ON asides (job_id) WHERE job_id IS NOT NULL;
INSERT INTO asides (work, subject, job_id, was, error, aside_at_us)
    SELECT 'follow', h.id || ' ' || h.follower, CASE h.kind WHEN 'run' THEN h.source_id END,
        json_array(h.id, h.kind, h.source_id, h.subject, h.status, h.at_us), h.error, h.aside_at_us
    FROM happenings_aside h;

-- Agents of which people were told that they do not answer (SKY-15): once for each silence, over failovers. message: the
-- system message, which is closed when all of its agents are back; silent_since_us: which silence.
CREATE TABLE silence_notices (
    agent_id TEXT PRIMARY KEY, message INTEGER NOT NULL, silent_since_us INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Step chains: what of a workflow's run one agent was told that it may begin by itself (JS7-4; docs/workflow-runs.md).
-- keys: JSON, [step's place in the version, key of its run]. told: 0 once the agent has dropped it and is to be told again.
CREATE TABLE step_chains (
    workflow_run INTEGER NOT NULL REFERENCES workflow_runs (id), agent_id TEXT NOT NULL, keys TEXT NOT NULL,
    told INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (workflow_run, agent_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX step_chains_to_tell ON step_chains (agent_id) WHERE told = 0;

-- The cluster's certificate authorities. state: next | current | former | retired. key_id: of its public key, hex. The
-- private key of the first is sealed as authority_key, of each later one as authority_key:<fingerprint>.
-- cross_certificate: its key as signed by the authority before it.
CREATE TABLE authorities (
    fingerprint TEXT PRIMARY KEY, certificate TEXT NOT NULL, key_id TEXT NOT NULL, state TEXT NOT NULL,
    created_at_us INTEGER NOT NULL, created_by TEXT NOT NULL, state_since_us INTEGER NOT NULL,
    cross_certificate TEXT NOT NULL DEFAULT ''
) STRICT;

-- The certificate that each node and agent showed last, and the authorities that it said it trusts. kind: node | agent.
CREATE TABLE certificates (
    kind TEXT NOT NULL, id TEXT NOT NULL, key_hash TEXT NOT NULL, issuer TEXT NOT NULL, valid_until_us INTEGER NOT NULL,
    trusts TEXT NOT NULL, shown_at_us INTEGER NOT NULL, PRIMARY KEY (kind, id)
) STRICT;
