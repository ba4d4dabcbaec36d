-- Which request wrote a row last: what lies beyond a fork point is then told apart exactly, whatever the clocks said.
-- The replication keeps this table too; here it exists for databases that it has not written yet.
CREATE TABLE IF NOT EXISTS replication_position (id INTEGER PRIMARY KEY CHECK (id = 1), sequence INTEGER NOT NULL) STRICT;
ALTER TABLE audit ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;
ALTER TABLE runs ADD COLUMN sequence INTEGER NOT NULL DEFAULT 0;

-- BEY-3: what an old master had and the new one never will, as the node that keeps it described it. The bytes stay there.
-- state: kept | deleting | deleted. contents: whole | part | unknown, with the reason in `problem`.
CREATE TABLE forks (
    name TEXT PRIMARY KEY, node TEXT NOT NULL, epoch INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL,
    requests INTEGER NOT NULL, bytes INTEGER NOT NULL, kept_at_us INTEGER NOT NULL, why TEXT NOT NULL,
    contents TEXT NOT NULL, problem TEXT NOT NULL DEFAULT '', runs INTEGER NOT NULL, edits INTEGER NOT NULL,
    recorded_at_us INTEGER NOT NULL, state TEXT NOT NULL DEFAULT 'kept', deleted_by TEXT NOT NULL DEFAULT '',
    deleted_at_us INTEGER, deleted_reason TEXT NOT NULL DEFAULT ''
) STRICT;

CREATE TABLE fork_runs (
    fork TEXT NOT NULL REFERENCES forks(name), number INTEGER NOT NULL, key TEXT NOT NULL, job TEXT NOT NULL,
    agent_id TEXT NOT NULL, agent TEXT NOT NULL, state TEXT NOT NULL, reason TEXT NOT NULL, exit_code INTEGER,
    signal INTEGER, submitted_at_us INTEGER NOT NULL, started_at_us INTEGER, ended_at_us INTEGER,
    requested_by TEXT NOT NULL, output_bytes INTEGER NOT NULL,
    output_kept INTEGER NOT NULL,                    -- bytes of its output that are kept as an object here
    history_id INTEGER,                              -- its entry of server_history, once somebody adopted it
    PRIMARY KEY (fork, number)
) STRICT;

CREATE TABLE fork_edits (
    fork TEXT NOT NULL REFERENCES forks(name), id INTEGER NOT NULL, at_us INTEGER NOT NULL, who TEXT NOT NULL,
    address TEXT NOT NULL, action TEXT NOT NULL, object TEXT NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL,
    reason TEXT NOT NULL, PRIMARY KEY (fork, id)
) STRICT;

ALTER TABLE server_history ADD COLUMN from_fork TEXT NOT NULL DEFAULT '';
