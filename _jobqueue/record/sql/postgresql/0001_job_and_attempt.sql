-- The record of jobs.

CREATE TABLE job (
    id           uuid           NOT NULL PRIMARY KEY,
    rev          bigint         NOT NULL,               -- of the state that this row shows; a lower one never replaces it
    queue        text           NOT NULL,
    type         text           NOT NULL,
    status       text           NOT NULL,               -- as the last written change left it
    deleted      boolean        NOT NULL DEFAULT false, -- somebody has deleted the job; its content is erased
    priority     smallint       NOT NULL,
    attempts     integer        NOT NULL,               -- since the submit or the last retry by an operator
    max_attempts integer        NOT NULL,
    timeout_ms   bigint         NOT NULL,
    created_at   timestamptz(3) NOT NULL,
    run_at       timestamptz(3),                        -- when it is or was due
    started_at   timestamptz(3),                        -- of the last attempt
    finished_at  timestamptz(3),                        -- NULL until it has ended
    worker       text,
    kind         text,                                  -- of the last error; NULL once it is done
    error        text,                                  -- the last error's message; NULL once it is done
    tags         text           NOT NULL,               -- with a space between two
    payload      json,                                  -- as it was submitted; NULL: erased, or not stored
    result       json,                                  -- NULL unless it is done
    log          text,
    more         json                                   -- the fields without a column of their own
);

CREATE INDEX job_created ON job (created_at);
CREATE INDEX job_finished ON job (finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX job_type ON job (type, created_at);
CREATE INDEX job_queue ON job (queue, created_at);
CREATE INDEX job_failed ON job (finished_at) WHERE status = 'failed';
CREATE INDEX job_cancelled ON job (finished_at) WHERE status = 'cancelled';
CREATE INDEX job_kind ON job (kind, finished_at) WHERE kind IS NOT NULL;
CREATE INDEX job_deleted ON job (created_at) WHERE deleted AND finished_at IS NULL;

-- Attempts that have ended.
CREATE TABLE attempt (
    job_id      uuid    NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    number      integer NOT NULL, -- 1 for the first of the job's life; a retry by an operator counts on
    attempt     integer NOT NULL, -- as the job counted it: a retry by an operator begins at 1 again
    outcome     text    NOT NULL, -- done, failed or cancelled
    kind        text,             -- of the error
    message     text,
    traceback   text,
    worker      text,
    started_at  timestamptz(3),
    finished_at timestamptz(3),
    PRIMARY KEY (job_id, number)
);

-- The jobs of a tag by time.
CREATE TABLE job_tag (
    tag        text           NOT NULL,
    created_at timestamptz(3) NOT NULL,
    job_id     uuid           NOT NULL REFERENCES job (id) ON DELETE CASCADE,
    PRIMARY KEY (tag, created_at, job_id)
);
CREATE INDEX job_tag_job ON job_tag (job_id);

-- The highest revision that was ever written of a queue: it stays when rows expire.
CREATE TABLE jobqueue_progress (
    queue text   NOT NULL PRIMARY KEY,
    rev   bigint NOT NULL
);
