-- Rules of when and why runs begin, workflows and checkpoints: one section for each noun, only additions.

-- What happened and is not yet followed: the outbox of the scheduler. A row is written by the change that made it happen
-- and deleted by the change that follows it. kind: run | event | monitor | workflow. source_id: the job, the event
-- monitor, the job monitor, the workflow. subject: the run, the event, the trip, the workflow's run. status: a word.
CREATE TABLE happenings (
    id INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, source_id INTEGER NOT NULL, subject INTEGER NOT NULL,
    status TEXT NOT NULL, at_us INTEGER NOT NULL
) STRICT;

-- Who wants to know what: nothing is written to the outbox that nobody watches. watcher: the name of a follower.
CREATE TABLE watches (
    kind TEXT NOT NULL, source_id INTEGER NOT NULL, watcher TEXT NOT NULL, PRIMARY KEY (kind, source_id, watcher)
) STRICT, WITHOUT ROWID;

-- Orders that the master acts on itself. prerequisites: what must have happened before the job begins
-- (core.prerequisites), resolved to ids. released_at_us: up to when it is known what became of an order's instants, so
-- that the next order of its schedule begins there and no instant falls between the two; 0 when nobody said.
ALTER TABLE jobs ADD COLUMN prerequisites TEXT NOT NULL DEFAULT '{}';
ALTER TABLE orders ADD COLUMN released_at_us INTEGER NOT NULL DEFAULT 0;

-- What is known of each condition of a job's prerequisites. kind, source_id: as of a happening. subject: the run, event or
-- trip whose status counted last, since then; a released job keeps it with met = 0, so that it counts once.
CREATE TABLE prerequisite_conditions (
    job_id INTEGER NOT NULL REFERENCES jobs (id), number INTEGER NOT NULL, kind TEXT NOT NULL,
    source_id INTEGER NOT NULL, met INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT '',
    subject INTEGER NOT NULL DEFAULT 0, since_us INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (job_id, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX prerequisite_conditions_by_source ON prerequisite_conditions (kind, source_id);

-- Workflows. name: free again once deleted_at_us is set. version: the current one of workflow_versions.
CREATE TABLE workflows (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, held INTEGER NOT NULL DEFAULT 0,
    created_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL, deleted_at_us INTEGER
) STRICT;

-- Every version of a workflow: the text as written (format yaml | json) and what it means, as JSON. Never edited.
CREATE TABLE workflow_versions (
    workflow_id INTEGER NOT NULL REFERENCES workflows (id), version INTEGER NOT NULL, text TEXT NOT NULL,
    format TEXT NOT NULL, spec TEXT NOT NULL, made_by TEXT NOT NULL, made_at_us INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '', PRIMARY KEY (workflow_id, version)
) STRICT;
CREATE TRIGGER workflow_versions_are_never_edited BEFORE UPDATE ON workflow_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of a workflow is never edited');
END;

-- What the current version of a workflow names. kind: agent | group | job | workflow.
CREATE TABLE workflow_uses (
    workflow_id INTEGER NOT NULL REFERENCES workflows (id), kind TEXT NOT NULL, name TEXT NOT NULL,
    PRIMARY KEY (workflow_id, kind, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_uses_of ON workflow_uses (kind, name);

-- Retries and exit rules of jobs: JSON of core.retry.RetryRule and core.exit_rules.ExitRules, {} for the defaults.
ALTER TABLE jobs ADD COLUMN retry TEXT NOT NULL DEFAULT '{}';
ALTER TABLE jobs ADD COLUMN exit_rules TEXT NOT NULL DEFAULT '{}';
-- A waiting run that shall not begin before: no gate and no placer lets it go until the scheduler has cleared this.
ALTER TABLE runs ADD COLUMN begin_after_us INTEGER;
CREATE INDEX runs_to_begin ON runs (begin_after_us) WHERE begin_after_us IS NOT NULL AND state = 'waiting';

-- Calendars: which days they mark, by rules. kind: free (free days; the others are working days) | list. days, without: JSON
-- lists of lines (core.calendar_days), holidays: the resolved days of the country as such lines, until the end of
-- holidays_until (a year). digest stands for all three: what was read for one is kept in memory by it.
CREATE TABLE calendars (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, description TEXT NOT NULL DEFAULT '',
    country TEXT NOT NULL DEFAULT '', subdivision TEXT NOT NULL DEFAULT '',
    days TEXT NOT NULL DEFAULT '[]', without TEXT NOT NULL DEFAULT '[]', holidays TEXT NOT NULL DEFAULT '[]',
    holidays_until INTEGER NOT NULL DEFAULT 0, digest TEXT NOT NULL, version INTEGER NOT NULL DEFAULT 1,
    created_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL
) STRICT;

-- What a schedule says beside its expression (the column cron: of any form) and zone: JSON of core.timing.TimingRules.
-- blackout_next_us: when to look next for what its blackout windows leave out, which the ledger has; NULL: nothing.
ALTER TABLE schedules ADD COLUMN calendar_id INTEGER REFERENCES calendars(id);
ALTER TABLE schedules ADD COLUMN rules TEXT NOT NULL DEFAULT '{}';
ALTER TABLE schedules ADD COLUMN blackout_next_us INTEGER;
CREATE INDEX schedules_by_calendar ON schedules (calendar_id) WHERE calendar_id IS NOT NULL AND deleted_at_us IS NULL;
CREATE INDEX schedules_blacked_out ON schedules (blackout_next_us) WHERE blackout_next_us IS NOT NULL;
-- SKY-17: variables. scope: '' for all jobs, 'job ID' for one. The value of a secret is in the table sealed.
CREATE TABLE variables (
    id INTEGER PRIMARY KEY, scope TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
    secret INTEGER NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '', created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL, updated_by TEXT NOT NULL, UNIQUE (scope, name)
) STRICT;
-- Who names a variable. kind: job | environment | command_set. clear: in a text that people see, where no secret may be.
CREATE TABLE variable_uses (
    kind TEXT NOT NULL, owner_id INTEGER NOT NULL, name TEXT NOT NULL, clear INTEGER NOT NULL,
    PRIMARY KEY (kind, owner_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX variable_uses_by_name ON variable_uses (name);

-- SKY-17: agent environments (base: JSON of core.environments.Place; agents: the same by agent id) and command sets.
CREATE TABLE environments (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '', base TEXT NOT NULL,
    agents TEXT NOT NULL, created_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT;
CREATE TABLE command_sets (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, description TEXT NOT NULL DEFAULT '', before TEXT NOT NULL,
    after TEXT NOT NULL, created_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT;
ALTER TABLE jobs ADD COLUMN environment_id INTEGER;
ALTER TABLE jobs ADD COLUMN command_set_id INTEGER;
CREATE INDEX jobs_by_environment ON jobs (environment_id) WHERE environment_id IS NOT NULL;
CREATE INDEX jobs_by_command_set ON jobs (command_set_id) WHERE command_set_id IS NOT NULL;


-- Job monitors: late start, overrun, must complete by, underrun. jobs.job_monitors: JSON of core.job_monitors.JobMonitors.
-- A row of job_monitors is what a prerequisite names; it stays when the monitor is switched off.
ALTER TABLE jobs ADD COLUMN job_monitors TEXT NOT NULL DEFAULT '{}';
CREATE TABLE job_monitors (
    id INTEGER PRIMARY KEY AUTOINCREMENT, job_id INTEGER NOT NULL, kind TEXT NOT NULL, deleted_at_us INTEGER,
    UNIQUE (job_id, kind)
) STRICT;
-- When a monitor is to look. run_key: of the run, or of the first attempt of the occurrence that is expected.
CREATE TABLE job_monitor_watches (
    monitor_id INTEGER NOT NULL, run_key TEXT NOT NULL, schedule_id INTEGER, instant_us INTEGER, due_us INTEGER NOT NULL,
    is_ahead INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (monitor_id, run_key)
) STRICT, WITHOUT ROWID;
CREATE INDEX job_monitor_watches_by_due ON job_monitor_watches (due_us);
CREATE TABLE job_monitor_trips (
    id INTEGER PRIMARY KEY AUTOINCREMENT, monitor_id INTEGER NOT NULL, run_key TEXT NOT NULL, job_id INTEGER NOT NULL,
    kind TEXT NOT NULL, run INTEGER, at_us INTEGER NOT NULL, text TEXT NOT NULL, UNIQUE (monitor_id, run_key)
) STRICT;
CREATE INDEX job_monitor_trips_by_job ON job_monitor_trips (job_id, id);
CREATE INDEX job_monitor_trips_by_run ON job_monitor_trips (run_key);
-- A run of a version of a workflow. key: r<request id>, or w<run>-<step>-<item>.a<attempt> of the workflow it is a step of.
-- state: running | deciding | suspending | suspended | cancelling | succeeded | failed | cancelled. wish: '' | suspend |
-- cancel. variables, places: JSON {name: text}.
CREATE TABLE workflow_runs (
    id INTEGER PRIMARY KEY, workflow_id INTEGER NOT NULL REFERENCES workflows (id), version INTEGER NOT NULL,
    key TEXT NOT NULL UNIQUE, state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', state_since_us INTEGER NOT NULL,
    requested_by TEXT NOT NULL, requested_at_us INTEGER NOT NULL, ended_at_us INTEGER,
    variables TEXT NOT NULL DEFAULT '{}', wish TEXT NOT NULL DEFAULT '', wish_by TEXT NOT NULL DEFAULT '',
    deadline_us INTEGER, parent_run INTEGER, parent_step INTEGER, parent_item INTEGER, places TEXT NOT NULL DEFAULT '{}'
) STRICT;
CREATE INDEX workflow_runs_by_workflow ON workflow_runs (workflow_id, id);
CREATE INDEX workflow_runs_by_state ON workflow_runs (state, id);
CREATE INDEX workflow_runs_by_deadline ON workflow_runs (deadline_us) WHERE deadline_us IS NOT NULL;

-- One item of a step of a workflow's run; a step without for_each has item 0. step: its place in the version, from 0.
-- state: open | succeeded | failed | skipped | lost | again. run, sub_run: its latest attempt.
CREATE TABLE workflow_steps (
    workflow_run INTEGER NOT NULL REFERENCES workflow_runs (id), step INTEGER NOT NULL, item INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT NOT NULL DEFAULT '', run INTEGER, sub_run INTEGER,
    attempt INTEGER NOT NULL DEFAULT 0, outputs TEXT NOT NULL DEFAULT '{}', begun_at_us INTEGER, ended_at_us INTEGER,
    PRIMARY KEY (workflow_run, step, item)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflow_steps_by_run ON workflow_steps (run) WHERE run IS NOT NULL;

-- The job that stands for a step with a command. In no list of jobs; its name cannot be written by people.
ALTER TABLE jobs ADD COLUMN workflow_id INTEGER;
ALTER TABLE jobs ADD COLUMN workflow_version INTEGER;
ALTER TABLE jobs ADD COLUMN workflow_step TEXT;
CREATE UNIQUE INDEX jobs_of_steps ON jobs (workflow_id, workflow_version, workflow_step) WHERE workflow_id IS NOT NULL;
ALTER TABLE runs ADD COLUMN workflow_run INTEGER;
CREATE INDEX runs_by_workflow ON runs (workflow_run) WHERE workflow_run IS NOT NULL;
-- SKY-17: tags. kind: job | workflow.
CREATE TABLE tags (
    kind TEXT NOT NULL, owner_id INTEGER NOT NULL, tag TEXT NOT NULL, PRIMARY KEY (kind, owner_id, tag)
) STRICT, WITHOUT ROWID;
CREATE INDEX tags_by_tag ON tags (tag, kind, owner_id);


-- Checkpoints inside jobs (SMA-1 to SMA-3; docs/checkpoints.md). jobs.checkpoints: JSON of core.checkpoints.CheckpointRule.
-- runs.resumed_run and resumed_checkpoint: the attempt, and the number of its checkpoint, from which this one goes on.
-- suspend_*: who wants it to stop at its next checkpoint; until it was sent to the agent that can be withdrawn.
-- dismissed_by: who decided that nobody goes on with it.
ALTER TABLE jobs ADD COLUMN checkpoints TEXT NOT NULL DEFAULT '{}';
ALTER TABLE runs ADD COLUMN resumed_run INTEGER;
ALTER TABLE runs ADD COLUMN resumed_checkpoint INTEGER;
ALTER TABLE runs ADD COLUMN suspend_requested_by TEXT NOT NULL DEFAULT '';
ALTER TABLE runs ADD COLUMN suspend_requested_at_us INTEGER;
ALTER TABLE runs ADD COLUMN suspend_sent_at_us INTEGER;
ALTER TABLE runs ADD COLUMN suspended_at_us INTEGER;
ALTER TABLE runs ADD COLUMN dismissed_by TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_resumed ON runs (resumed_run) WHERE resumed_run IS NOT NULL;
CREATE INDEX runs_to_suspend ON runs (agent_id) WHERE state = 'suspending';

-- at_us: by the agent that took it; kept_at_us: when it was committed here. held: 0 once its run has succeeded, and the
-- bytes are gone.
CREATE TABLE checkpoints (
    run INTEGER NOT NULL REFERENCES runs(number), number INTEGER NOT NULL, at_us INTEGER NOT NULL,
    kept_at_us INTEGER NOT NULL, bytes INTEGER NOT NULL, sha256 TEXT NOT NULL, held INTEGER NOT NULL DEFAULT 1,
    PRIMARY KEY (run, number)
) STRICT, WITHOUT ROWID;
CREATE TABLE checkpoint_data (
    run INTEGER NOT NULL, number INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run, number)
) STRICT;

-- How far a run said that it is: the last word only, and one may be lost.
CREATE TABLE progress (
    run INTEGER PRIMARY KEY REFERENCES runs(number), percent INTEGER NOT NULL, text TEXT NOT NULL, at_us INTEGER NOT NULL
) STRICT;
-- SKY-17: priorities, limits and counted resources. limits: JSON of core.limits.Limits, '{}' for none. rank_us: runs go
-- in this order. limited: it waits for its turn. holds: JSON of what it took when it was let go, until it has ended.
ALTER TABLE jobs ADD COLUMN limits TEXT NOT NULL DEFAULT '{}';
CREATE INDEX jobs_limited ON jobs (id) WHERE limits != '{}';
ALTER TABLE runs ADD COLUMN rank_us INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN limited INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN holds TEXT NOT NULL DEFAULT '{}';
CREATE INDEX runs_limited ON runs (rank_us, number)
    WHERE limited = 1 AND state = 'waiting' AND dispatched_epoch IS NULL AND begin_after_us IS NULL;
CREATE INDEX runs_holding ON runs (number) WHERE holds != '{}' AND ended_at_us IS NULL;
CREATE INDEX runs_open_of_job ON runs (job_id) WHERE ended_at_us IS NULL;
CREATE TABLE resources (
    name TEXT PRIMARY KEY, count INTEGER NOT NULL, description TEXT NOT NULL DEFAULT '', created_at_us INTEGER NOT NULL,
    updated_at_us INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;


-- Notification lists: emails, webhooks, traps are JSON lists of addresses; what is secret of them is in `sealed`.
CREATE TABLE notification_lists (
    name TEXT PRIMARY KEY, emails TEXT NOT NULL, webhooks TEXT NOT NULL, traps TEXT NOT NULL,
    alarms INTEGER NOT NULL DEFAULT 0, description TEXT NOT NULL DEFAULT '',
    updated_at_us INTEGER NOT NULL, updated_by TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE smtp (
    host TEXT NOT NULL, port INTEGER NOT NULL, sender TEXT NOT NULL, user TEXT NOT NULL, security TEXT NOT NULL
) STRICT;
-- What is to be told to whom. state: waiting | sent | given up. key: what it is about, once for each receiver.
CREATE TABLE notification_deliveries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, list TEXT NOT NULL, kind TEXT NOT NULL, address TEXT NOT NULL,
    what TEXT NOT NULL, key TEXT NOT NULL, subject TEXT NOT NULL, text TEXT NOT NULL, created_at_us INTEGER NOT NULL,
    state TEXT NOT NULL DEFAULT 'waiting', attempts INTEGER NOT NULL DEFAULT 0, next_us INTEGER NOT NULL,
    error TEXT NOT NULL DEFAULT '', ended_at_us INTEGER, UNIQUE (list, kind, address, what, key)
) STRICT;
CREATE INDEX notification_deliveries_due ON notification_deliveries (next_us) WHERE state = 'waiting';
CREATE INDEX notification_deliveries_ended ON notification_deliveries (ended_at_us) WHERE ended_at_us IS NOT NULL;

-- Happenings that a follower could not follow, with the reason: each row is a defect, and was told by an alarm.
CREATE TABLE happenings_aside (
    id INTEGER NOT NULL, kind TEXT NOT NULL, source_id INTEGER NOT NULL, subject INTEGER NOT NULL,
    status TEXT NOT NULL, at_us INTEGER NOT NULL, follower TEXT NOT NULL, error TEXT NOT NULL,
    aside_at_us INTEGER NOT NULL, PRIMARY KEY (id, follower)
) STRICT, WITHOUT ROWID;

-- Jobs that begin a workflow instead of running a command: command is '' then, and agent_id 'workflows', a row of agents
-- that stands for nobody. The workflow's run has the key of the job's run that began it.
ALTER TABLE jobs ADD COLUMN begins_workflow_id INTEGER REFERENCES workflows (id);
CREATE INDEX jobs_by_workflow ON jobs (begins_workflow_id) WHERE begins_workflow_id IS NOT NULL;

-- Special instances (SKY-17). jobs.special_instances: JSON list of core.special_instances.SpecialInstance. runs.instance:
-- the name of the one that the run is of, '' for none.
ALTER TABLE jobs ADD COLUMN special_instances TEXT NOT NULL DEFAULT '[]';
ALTER TABLE runs ADD COLUMN instance TEXT NOT NULL DEFAULT '';
