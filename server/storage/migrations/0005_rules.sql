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
