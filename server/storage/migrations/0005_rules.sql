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
