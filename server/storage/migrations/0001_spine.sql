-- Times are integers: microseconds since 1970 UTC (`_us`). Booleans are 0/1. STRICT everywhere; migrations only add.

CREATE TABLE settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;

-- The pair. Filled at init and at enrolment; both nodes read it, the standby from its copy.
CREATE TABLE nodes (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, address TEXT NOT NULL, web_port INTEGER NOT NULL,
    cluster_port INTEGER NOT NULL, enrolled_at_us INTEGER NOT NULL, removed_at_us INTEGER
) STRICT;

CREATE TABLE join_tokens (
    id TEXT PRIMARY KEY, secret_hash TEXT NOT NULL, name TEXT NOT NULL, created_by TEXT NOT NULL,
    created_at_us INTEGER NOT NULL, expires_at_us INTEGER NOT NULL, used_at_us INTEGER,
    replaces TEXT NOT NULL DEFAULT ''                -- id of the agent whose jobs the new machine takes over
) STRICT;

CREATE TABLE agents (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, enrolled_at_us INTEGER NOT NULL,
    witness INTEGER NOT NULL DEFAULT 0,
    ticket INTEGER NOT NULL DEFAULT 0,               -- last number given
    ticket_confirmed INTEGER NOT NULL DEFAULT 0,     -- last number the agent has shown
    quarantined_at_us INTEGER, quarantine_reason TEXT NOT NULL DEFAULT '',
    removed_at_us INTEGER, version TEXT NOT NULL DEFAULT '', boot_id TEXT NOT NULL DEFAULT '',
    gates_acknowledged INTEGER NOT NULL DEFAULT 0,   -- highest gate revision that the agent has persisted
    reconciled_epoch INTEGER NOT NULL DEFAULT 0      -- highest epoch in which its inventory was reconciled
) STRICT;

CREATE TABLE users (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, password TEXT NOT NULL, role TEXT NOT NULL,
    created_at_us INTEGER NOT NULL, disabled_at_us INTEGER
) STRICT;

CREATE TABLE sessions (
    token_hash TEXT PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), created_at_us INTEGER NOT NULL,
    expires_at_us INTEGER NOT NULL, address TEXT NOT NULL, user_agent TEXT NOT NULL, ended_at_us INTEGER
) STRICT;
CREATE INDEX sessions_by_expiry ON sessions (expires_at_us);

CREATE TABLE api_tokens (
    id INTEGER PRIMARY KEY, user_id INTEGER NOT NULL REFERENCES users(id), name TEXT NOT NULL,
    token_hash TEXT NOT NULL UNIQUE, created_at_us INTEGER NOT NULL, expires_at_us INTEGER, revoked_at_us INTEGER
) STRICT;

-- Idempotency: the answer given for a key, for 7 days.
CREATE TABLE outcomes (
    key TEXT PRIMARY KEY, principal TEXT NOT NULL, request_hash TEXT NOT NULL, status INTEGER NOT NULL,
    answer TEXT NOT NULL, recorded_at_us INTEGER NOT NULL
) STRICT;
CREATE INDEX outcomes_by_age ON outcomes (recorded_at_us);

-- What stops work. kind: scheduler_stopped | queue_locked | swap; agent_id '' is host-wide.
-- settings.gate_revision grows by one with every change; agents acknowledge the revision.
CREATE TABLE gates (
    kind TEXT NOT NULL, agent_id TEXT NOT NULL DEFAULT '', set_by TEXT NOT NULL, set_at_us INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '', revision INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (kind, agent_id)
) STRICT;

-- Lifted stops whose suppressed instants are not all accounted for yet; the scheduler deletes them when they are.
CREATE TABLE stops (
    id INTEGER PRIMARY KEY, kind TEXT NOT NULL, from_us INTEGER NOT NULL, until_us INTEGER NOT NULL,
    revision INTEGER NOT NULL
) STRICT;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, command TEXT NOT NULL, agent_id TEXT NOT NULL REFERENCES agents(id),
    environment TEXT NOT NULL DEFAULT '{}', working_directory TEXT NOT NULL DEFAULT '', run_as TEXT NOT NULL DEFAULT '',
    timeout_s INTEGER NOT NULL DEFAULT 0, output_bytes_max INTEGER NOT NULL DEFAULT 10485760,
    misfire_policy TEXT NOT NULL DEFAULT 'once',     -- skip | once | all | ask
    misfire_grace_s INTEGER NOT NULL DEFAULT 3600,
    may_run_twice INTEGER NOT NULL DEFAULT 0, skip_if_running INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
    description TEXT NOT NULL DEFAULT '', standard_input TEXT NOT NULL DEFAULT '',
    version INTEGER NOT NULL DEFAULT 1,
    planned_version INTEGER NOT NULL DEFAULT 0,      -- the version that the standing orders reflect
    created_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL, deleted_at_us INTEGER
) STRICT;
CREATE INDEX jobs_to_plan ON jobs (id) WHERE version != planned_version;
CREATE INDEX jobs_by_agent ON jobs (agent_id) WHERE deleted_at_us IS NULL;

CREATE TABLE schedules (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES jobs(id), cron TEXT NOT NULL, zone TEXT NOT NULL,
    created_at_us INTEGER NOT NULL, deleted_at_us INTEGER
) STRICT;
CREATE INDEX schedules_by_job ON schedules (job_id);

-- A standing order: one schedule bound to one agent, with its instants until valid_until.
-- instants: JSON [[first_us, step_us, count], ...]. state: active | releasing | released.
CREATE TABLE orders (
    id INTEGER PRIMARY KEY, schedule_id INTEGER NOT NULL REFERENCES schedules(id), job_id INTEGER NOT NULL,
    agent_id TEXT NOT NULL REFERENCES agents(id), version INTEGER NOT NULL, state TEXT NOT NULL,
    valid_from_us INTEGER NOT NULL, valid_until_us INTEGER NOT NULL, instants TEXT NOT NULL, specification TEXT NOT NULL,
    acknowledged_version INTEGER NOT NULL DEFAULT 0,
    accounted_until_us INTEGER NOT NULL,             -- every instant up to it has a run, a missed row or is open
    renew_at_us INTEGER NOT NULL,
    next_instant_us INTEGER NOT NULL,                -- the first instant after it; valid_until_us when there is none
    suppressed TEXT NOT NULL DEFAULT ''              -- cause by which the master itself suppresses it: 'job held'
) STRICT;
CREATE INDEX orders_by_agent ON orders (agent_id, state);
CREATE INDEX orders_by_validity ON orders (agent_id, valid_until_us) WHERE state = 'active';
CREATE INDEX orders_by_renewal ON orders (renew_at_us) WHERE state = 'active';
CREATE INDEX orders_by_instant ON orders (state, next_instant_us);
CREATE INDEX orders_by_schedule ON orders (schedule_id, state);
CREATE INDEX orders_to_give ON orders (agent_id) WHERE acknowledged_version < version AND state != 'released';
CREATE INDEX orders_suppressed ON orders (next_instant_us) WHERE suppressed != '';

-- key: j<job>.s<schedule>.<YYYYMMDDTHHMMSSZ>.a<attempt> for an occurrence, j<job>.r<request id>.a<attempt> on request.
CREATE TABLE runs (
    number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, job_id INTEGER NOT NULL REFERENCES jobs(id),
    schedule_id INTEGER, scheduled_for_us INTEGER, attempt INTEGER NOT NULL DEFAULT 1, agent_id TEXT NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', state_since_us INTEGER NOT NULL,
    command TEXT NOT NULL, requested_by TEXT NOT NULL DEFAULT '',
    dispatched_epoch INTEGER,                        -- set: it is at the agent, also while it is held there
    submitted_at_us INTEGER NOT NULL, started_at_us INTEGER, ended_at_us INTEGER, exit_code INTEGER, signal INTEGER,
    output_bytes INTEGER NOT NULL DEFAULT 0, output_cut INTEGER NOT NULL DEFAULT 0,
    cancel_requested_by TEXT NOT NULL DEFAULT '', cancel_requested_at_us INTEGER,
    cancel_kill INTEGER NOT NULL DEFAULT 0           -- the request is to kill at once
) STRICT;
CREATE INDEX runs_by_job ON runs (job_id, number);
CREATE INDEX runs_by_state ON runs (state, number);
CREATE INDEX runs_by_agent ON runs (agent_id, state);
CREATE INDEX runs_to_dispatch ON runs (agent_id) WHERE state = 'starting' AND dispatched_epoch IS NULL;
CREATE INDEX runs_to_stop ON runs (agent_id) WHERE cancel_requested_at_us IS NOT NULL AND ended_at_us IS NULL;
CREATE INDEX runs_by_end ON runs (state, ended_at_us);
CREATE INDEX runs_by_schedule ON runs (schedule_id, scheduled_for_us) WHERE schedule_id IS NOT NULL;

-- The ledger of what was suppressed. resolution '' while open, else run | dismissed | policy.
CREATE TABLE missed (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES jobs(id), schedule_id INTEGER NOT NULL,
    scheduled_for_us INTEGER NOT NULL, cause TEXT NOT NULL, recorded_at_us INTEGER NOT NULL,
    resolution TEXT NOT NULL DEFAULT '', resolved_by TEXT NOT NULL DEFAULT '', resolved_at_us INTEGER,
    UNIQUE (schedule_id, scheduled_for_us)
) STRICT;
CREATE INDEX missed_open ON missed (id) WHERE resolution = '';
CREATE INDEX missed_open_by_schedule ON missed (schedule_id, scheduled_for_us) WHERE resolution = '';

-- SKY-11: completions that no known run matches.
CREATE TABLE server_history (
    id INTEGER PRIMARY KEY, run_key TEXT NOT NULL, agent_id TEXT NOT NULL, job_name TEXT NOT NULL, started_at_us INTEGER,
    ended_at_us INTEGER, exit_code INTEGER, signal INTEGER, output BLOB NOT NULL, why TEXT NOT NULL,
    recorded_at_us INTEGER NOT NULL, adopted_run TEXT NOT NULL DEFAULT '', adopted_by TEXT NOT NULL DEFAULT ''
) STRICT;
CREATE INDEX server_history_by_key ON server_history (run_key);

-- A planned swap is a row that whichever node is master finishes. steps: JSON [{name, state, started_at_us, ended_at_us, proof}].
CREATE TABLE swaps (
    id INTEGER PRIMARY KEY, requested_by TEXT NOT NULL, requested_at_us INTEGER NOT NULL, kind TEXT NOT NULL,
    from_node TEXT NOT NULL, to_node TEXT NOT NULL, state TEXT NOT NULL,      -- running | done | aborted | failed
    prior_gates TEXT NOT NULL, steps TEXT NOT NULL, accepted TEXT NOT NULL DEFAULT '[]',
    abort_requested_by TEXT NOT NULL DEFAULT '', ended_at_us INTEGER, report TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE audit (
    id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, who TEXT NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL,
    object TEXT NOT NULL, before TEXT NOT NULL DEFAULT '', after TEXT NOT NULL DEFAULT '', reason TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE system_messages (
    id INTEGER PRIMARY KEY, at_us INTEGER NOT NULL, severity TEXT NOT NULL, text TEXT NOT NULL,
    acknowledged_by TEXT NOT NULL DEFAULT '', acknowledged_at_us INTEGER
) STRICT;
CREATE INDEX system_messages_open ON system_messages (text) WHERE acknowledged_at_us IS NULL;

-- CA key, TOTP secrets and the like, sealed with the cluster's seal key (AEAD).
CREATE TABLE sealed (name TEXT PRIMARY KEY, nonce BLOB NOT NULL, ciphertext BLOB NOT NULL) STRICT;
