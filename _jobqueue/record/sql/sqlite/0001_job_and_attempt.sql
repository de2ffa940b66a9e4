-- The record of jobs. Times are UTC, RFC 3339 with milliseconds: they sort as text, and SQLite's date functions read them.

CREATE TABLE job (
    id           TEXT    NOT NULL PRIMARY KEY,
    rev          INTEGER NOT NULL,           -- of the state that this row shows; a lower one never replaces it
    queue        TEXT    NOT NULL,
    type         TEXT    NOT NULL,
    status       TEXT    NOT NULL,           -- as the last written change left it
    deleted      INTEGER NOT NULL DEFAULT 0, -- 1: somebody has deleted the job; its content is erased
    priority     INTEGER NOT NULL,
    attempts     INTEGER NOT NULL,           -- since the submit or the last retry by an operator
    max_attempts INTEGER NOT NULL,
    timeout_ms   INTEGER NOT NULL,
    created_at   TEXT    NOT NULL,
    run_at       TEXT,                       -- when it is or was due
    started_at   TEXT,                       -- of the last attempt
    finished_at  TEXT,                       -- NULL until it has ended
    worker       TEXT,
    kind         TEXT,                       -- of the last error; NULL once it is done
    error        TEXT,                       -- the last error's message; NULL once it is done
    tags         TEXT    NOT NULL,           -- with a space between two
    payload      TEXT,                       -- JSON; NULL: erased, or not stored
    result       TEXT,                       -- JSON; NULL unless it is done
    log          TEXT,
    more         TEXT                        -- JSON: the fields without a column of their own
);

CREATE INDEX job_created ON job (created_at);
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_type ON job (type, created_at);
CREATE INDEX job_queue ON job (queue, created_at);
CREATE INDEX job_failed ON job (finished_at) WHERE status = 'failed';
CREATE INDEX job_cancelled ON job (finished_at) WHERE status = 'cancelled';
CREATE INDEX job_kind ON job (kind, finished_at) WHERE kind IS NOT NULL;
CREATE INDEX job_deleted ON job (created_at) WHERE deleted = 1 AND finished_at IS NULL;

-- Attempts that have ended.
CREATE TABLE attempt (
    job_id      TEXT    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number      INTEGER NOT NULL, -- 1 for the first of the job's life; a retry by an operator counts on
    attempt     INTEGER NOT NULL, -- as the job counted it: a retry by an operator begins at 1 again
    outcome     TEXT    NOT NULL, -- done, failed or cancelled
    kind        TEXT,             -- of the error
    message     TEXT,
    traceback   TEXT,
    worker      TEXT,
    started_at  TEXT,
    finished_at TEXT,
    PRIMARY KEY (job_id, number)
) WITHOUT ROWID;

-- The jobs of a tag by time.
CREATE TABLE job_tag (
    tag        TEXT NOT NULL,
    created_at TEXT NOT NULL,
    job_id     TEXT NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, created_at, job_id)
) WITHOUT ROWID;
CREATE INDEX job_tag_job ON job_tag (job_id);

-- The highest revision that was ever written of a queue: it stays when rows expire.
CREATE TABLE jobqueue_progress (
    queue TEXT    NOT NULL PRIMARY KEY,
    rev   INTEGER NOT NULL
) WITHOUT ROWID;
