-- Jobs to submit. A program inserts (key, queue, type, payload, options) in its own transaction; outbox.py sends and deletes.
-- Times are UTC, RFC 3339 with milliseconds.

CREATE TABLE jobqueue_outbox (
    id         INTEGER PRIMARY KEY AUTOINCREMENT,                                   -- sent in this order
    key        TEXT    NOT NULL UNIQUE DEFAULT (lower(hex(randomblob(16)))),        -- the job's idempotency key
    queue      TEXT    NOT NULL DEFAULT 'default',
    type       TEXT    NOT NULL,
    payload    TEXT,                                                                -- JSON; NULL is null
    options    TEXT,                                                                -- JSON: other fields of POST /jobs
    created_at TEXT    NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
    tried_at   TEXT,                                                                -- when it may have been stored first
    claim      TEXT,                                                                -- of the relay that has it
    error      TEXT,                                                                -- why it is refused: it is not sent
    unsure     INTEGER NOT NULL DEFAULT 0                                           -- 1: nobody knows whether it was sent
);

CREATE INDEX jobqueue_outbox_waits ON jobqueue_outbox (id) WHERE error IS NULL AND unsure = 0;
