-- Agents that run on by themselves: one section for each noun, only additions.

-- An agent whose standing orders begin after a reboot before a master has answered.
ALTER TABLE agents ADD COLUMN start_alone_after_reboot INTEGER NOT NULL DEFAULT 0;
CREATE INDEX agents_that_start_alone ON agents (id) WHERE start_alone_after_reboot = 1;

-- Silent agents. give_up_after_s: 0 never; else a run is killed when its agent had no answer from a master for so long.
ALTER TABLE jobs ADD COLUMN give_up_after_s INTEGER NOT NULL DEFAULT 0;
-- SKY-11: what an adopted entry needs to be a run. `state` is the one that it would have ended in, '' while no end is
-- known; `output_cut`: there was more output than is kept.
ALTER TABLE server_history ADD COLUMN state TEXT NOT NULL DEFAULT '';
ALTER TABLE server_history ADD COLUMN command TEXT NOT NULL DEFAULT '';
ALTER TABLE server_history ADD COLUMN output_cut INTEGER NOT NULL DEFAULT 0;
CREATE INDEX server_history_open ON server_history (id) WHERE adopted_run = '';
-- Changes of gates by revision: what an agent that acknowledged an earlier one has still to be told, by whom and since when.
CREATE TABLE gate_changes (
    agent_id TEXT NOT NULL, kind TEXT NOT NULL, revision INTEGER NOT NULL, in_force INTEGER NOT NULL,
    changed_by TEXT NOT NULL, changed_at_us INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '',
    PRIMARY KEY (agent_id, kind, revision)
) STRICT, WITHOUT ROWID;
INSERT INTO gate_changes (agent_id, kind, revision, in_force, changed_by, changed_at_us, reason)
    SELECT agent_id, kind, revision, 1, set_by, set_at_us, reason FROM gates;

-- Drains of agents. origin: request (a person asked) | stop (its program or machine is stopped). state: asked | draining |
-- drained | withdrawn. outcomes: JSON [[run key, finished | cut | handed over | not started | ...], ...], at most 1000.
ALTER TABLE agents ADD COLUMN drain_s INTEGER NOT NULL DEFAULT 600;
ALTER TABLE agents ADD COLUMN on_stop TEXT NOT NULL DEFAULT 'auto';   -- auto | keep | drain
CREATE TABLE drains (
    agent_id TEXT NOT NULL, asked_at_us INTEGER NOT NULL, origin TEXT NOT NULL, asked_by TEXT NOT NULL,
    reason TEXT NOT NULL DEFAULT '', limit_s INTEGER NOT NULL, state TEXT NOT NULL, began_at_us INTEGER,
    ended_at_us INTEGER, outcomes TEXT NOT NULL DEFAULT '[]', outcomes_left INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (agent_id, asked_at_us, origin)
) STRICT, WITHOUT ROWID;
CREATE INDEX drains_open ON drains (agent_id) WHERE state IN ('asked', 'draining');

-- SKY-16: event monitors. kind: file | directory | process | manual. settings: JSON of core.monitors.Settings.
-- A monitor is bound to one agent for ever; on another agent it is another row that has the name.
CREATE TABLE monitors (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, agent_id TEXT NOT NULL REFERENCES agents(id),
    kind TEXT NOT NULL, settings TEXT NOT NULL, enabled INTEGER NOT NULL DEFAULT 1,
    description TEXT NOT NULL DEFAULT '', version INTEGER NOT NULL DEFAULT 1,
    acknowledged_version INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '',                -- what its agent said last of what it cannot watch
    created_at_us INTEGER NOT NULL, updated_at_us INTEGER NOT NULL, deleted_at_us INTEGER
) STRICT;
CREATE INDEX monitors_by_agent ON monitors (agent_id);
CREATE INDEX monitors_to_give ON monitors (agent_id) WHERE acknowledged_version != version;

CREATE TABLE reactions (
    monitor_id INTEGER NOT NULL REFERENCES monitors(id), job_id INTEGER NOT NULL REFERENCES jobs(id),
    PRIMARY KEY (monitor_id, job_id)
) STRICT;
CREATE INDEX reactions_by_job ON reactions (job_id);

-- token: the agent's number of the event, or r<request id> of one fired here; it stands in the keys of the runs.
CREATE TABLE events (
    id INTEGER PRIMARY KEY, monitor_id INTEGER NOT NULL REFERENCES monitors(id), token TEXT NOT NULL, number INTEGER,
    what TEXT NOT NULL, at_us INTEGER NOT NULL, variables TEXT NOT NULL, fired_by TEXT NOT NULL DEFAULT '',
    recorded_at_us INTEGER NOT NULL, UNIQUE (monitor_id, token)
) STRICT;
CREATE INDEX events_by_monitor ON events (monitor_id, id);
CREATE INDEX events_by_number ON events (monitor_id, number);
ALTER TABLE runs ADD COLUMN event_id INTEGER;
CREATE INDEX runs_by_event ON runs (event_id) WHERE event_id IS NOT NULL;
-- Exceptions of single occurrences: skipped, moved, or begun with another command or environment (JSON) once. One that
-- has neither a run nor a row in the ledger is open. orders.exceptions: JSON, those that this version names.
CREATE TABLE exceptions (
    id INTEGER PRIMARY KEY, job_id INTEGER NOT NULL REFERENCES jobs(id), schedule_id INTEGER NOT NULL,
    instant_us INTEGER NOT NULL, skipped INTEGER NOT NULL DEFAULT 0, moved_to_us INTEGER, command TEXT,
    environment TEXT NOT NULL DEFAULT 'null', created_by TEXT NOT NULL, created_at_us INTEGER NOT NULL,
    reason TEXT NOT NULL DEFAULT '', UNIQUE (schedule_id, instant_us)
) STRICT;
CREATE INDEX exceptions_by_job ON exceptions (job_id, instant_us);
ALTER TABLE orders ADD COLUMN exceptions TEXT NOT NULL DEFAULT '[]';
-- Until when the version that the agent has acknowledged is valid; 0 when it has none.
ALTER TABLE orders ADD COLUMN acknowledged_until_us INTEGER NOT NULL DEFAULT 0;
UPDATE orders SET acknowledged_until_us = valid_until_us WHERE acknowledged_version > 0;

-- What nobody knows of silent agents.
-- silent_since_us: its last link has ended then, or an office began without it. dead_at_us: somebody said so.
-- A dead machine's orders have the state 'dead' up to valid_until_us: what of them has neither run nor row is unknown.
ALTER TABLE agents ADD COLUMN silent_since_us INTEGER;
ALTER TABLE agents ADD COLUMN dead_at_us INTEGER;
CREATE INDEX agents_silent ON agents (id) WHERE silent_since_us IS NOT NULL;
CREATE INDEX orders_dead ON orders (id) WHERE state = 'dead';
-- Until when the agent may act on the order: that of the newest version that it may have received.
ALTER TABLE orders ADD COLUMN held_until_us INTEGER NOT NULL DEFAULT 0;
UPDATE orders SET held_until_us = valid_until_us;
-- give_up_after_s: as the agent was told it. given_up_at_us: its agent has certainly killed it, were it still running.
ALTER TABLE runs ADD COLUMN give_up_after_s INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN given_up_at_us INTEGER;
CREATE INDEX runs_to_give_up ON runs (agent_id) WHERE state = 'unknown' AND give_up_after_s > 0 AND given_up_at_us IS NULL;

-- When the wish to end a run was given to its agent: until then it can be withdrawn.
ALTER TABLE runs ADD COLUMN stop_sent_at_us INTEGER;

-- Agents that may hold what a lost master gave them, since a takeover that may have lost something.
-- orders.withheld: given to nobody until all of these have answered.
CREATE TABLE debts (
    agent_id TEXT PRIMARY KEY, since_us INTEGER NOT NULL, held_until_us INTEGER NOT NULL
) STRICT;
ALTER TABLE orders ADD COLUMN withheld INTEGER NOT NULL DEFAULT 0;
CREATE INDEX orders_withheld ON orders (id) WHERE withheld = 1;
-- Groups (SKY-18, SMA-5 to SMA-7; docs/decisions/0078). A group is also a row of `agents`, removed from the start and
-- named `group NAME`, so that jobs, orders and runs name whoever has them in one column: the group itself while no
-- member was chosen. policy: least_loaded | round_robin | preferred | all. turn: position of the member chosen last.
CREATE TABLE groups (
    id TEXT PRIMARY KEY REFERENCES agents(id), name TEXT NOT NULL UNIQUE, policy TEXT NOT NULL,
    description TEXT NOT NULL DEFAULT '', turn INTEGER NOT NULL DEFAULT -1,
    deployment INTEGER NOT NULL DEFAULT 1,           -- grows by one whenever its members are replaced
    deployed_by TEXT NOT NULL, deployed_at_us INTEGER NOT NULL, created_at_us INTEGER NOT NULL, deleted_at_us INTEGER
) STRICT;

CREATE TABLE group_members (
    group_id TEXT NOT NULL REFERENCES groups(id), agent_id TEXT NOT NULL REFERENCES agents(id),
    position INTEGER NOT NULL, capacity INTEGER NOT NULL DEFAULT 0,      -- runs of the group at once; 0: the agent's own
    PRIMARY KEY (group_id, agent_id)
) STRICT;
CREATE INDEX group_members_by_agent ON group_members (agent_id);

ALTER TABLE agents ADD COLUMN capacity INTEGER NOT NULL DEFAULT 0;       -- runs at once that groups may fill; 0: unlimited
ALTER TABLE agents ADD COLUMN deployment INTEGER NOT NULL DEFAULT 1;     -- grows when its groups change
ALTER TABLE agents ADD COLUMN deployment_kept INTEGER NOT NULL DEFAULT 0;    -- the highest that the agent has persisted
CREATE INDEX agents_to_tell ON agents (id) WHERE deployment > deployment_kept AND removed_at_us IS NULL;

-- Of a group with the policy `all`: the schedule of one member, made of the one that people wrote (docs/decisions/0079).
ALTER TABLE schedules ADD COLUMN member_id TEXT NOT NULL DEFAULT '';

-- by_master: the order of a group, whose runs the master makes when they are due.
ALTER TABLE orders ADD COLUMN by_master INTEGER NOT NULL DEFAULT 0;
CREATE INDEX orders_by_master ON orders (next_instant_us) WHERE by_master = 1 AND state = 'active' AND suppressed = '';

-- group_id: the group that the run was submitted to, '' for none. While dispatched_epoch is empty nobody has it.
ALTER TABLE runs ADD COLUMN group_id TEXT NOT NULL DEFAULT '';
CREATE INDEX runs_in_pool ON runs (group_id, number)
    WHERE group_id != '' AND dispatched_epoch IS NULL AND ended_at_us IS NULL;
CREATE INDEX runs_of_groups ON runs (group_id, agent_id, state) WHERE group_id != '' AND ended_at_us IS NULL;

-- Durable requests to give back a run that was sent and has not begun. answer: given back | began | ended.
CREATE TABLE recalls (
    id INTEGER PRIMARY KEY, run INTEGER NOT NULL REFERENCES runs(number), agent_id TEXT NOT NULL,
    group_id TEXT NOT NULL, requested_by TEXT NOT NULL, requested_at_us INTEGER NOT NULL, reason TEXT NOT NULL,
    answer TEXT NOT NULL DEFAULT '', answered_at_us INTEGER
) STRICT;
CREATE UNIQUE INDEX recalls_pending ON recalls (run) WHERE answered_at_us IS NULL;
CREATE INDEX recalls_to_give ON recalls (agent_id) WHERE answered_at_us IS NULL;

-- SKY-20: replaced_at_us: the name was given to a new machine then, and this one is heard and given nothing; of the
-- new one, `replaces` is the id of the machine before.
ALTER TABLE agents ADD COLUMN replaced_at_us INTEGER;
ALTER TABLE agents ADD COLUMN replaces TEXT NOT NULL DEFAULT '';
CREATE INDEX agents_replaced ON agents (id) WHERE replaced_at_us IS NOT NULL;

-- The list of ten thousand agents: its counts and its pages.
CREATE INDEX agents_by_name ON agents (name) WHERE removed_at_us IS NULL;
CREATE INDEX agents_by_gates ON agents (gates_acknowledged) WHERE removed_at_us IS NULL;
