-- The tables of a store. Instants are UTC microseconds (_us). A run is known inside by its compact integer `run_key` (runs.key) and
-- outside by its run_id. People query the views at the end of the newest migration instead.

-- Every (workflow, queue) pair ever used, so that a claim walks one short index a pair.
CREATE TABLE durable_lanes (
    id INTEGER PRIMARY KEY,
    workflow TEXT NOT NULL,
    queue TEXT NOT NULL,
    UNIQUE (workflow, queue)
);

-- What seldom changes of a run. Keys grow in the order of creation, and every index below ends with the key, so each lists its runs from the
-- oldest to the newest. NULL in origin_id or first_run_id means the run's own id: most runs need no second copy of it.
CREATE TABLE durable_runs (
    key INTEGER PRIMARY KEY,
    run_id TEXT NOT NULL UNIQUE,
    workflow_id TEXT NOT NULL,
    workflow TEXT NOT NULL,
    queue TEXT NOT NULL,
    status TEXT NOT NULL,
    rollback TEXT NOT NULL,
    created_at_us INTEGER NOT NULL,
    started_at_us INTEGER,
    closed_at_us INTEGER,
    origin_id TEXT,
    first_run_id TEXT,
    parent_run_id TEXT,
    parent_command INTEGER,
    on_parent_close TEXT NOT NULL,
    code TEXT,
    reason TEXT,
    input_digest TEXT NOT NULL,
    actor TEXT NOT NULL
);
CREATE INDEX durable_runs_by_workflow_id ON durable_runs (workflow_id);
CREATE INDEX durable_runs_by_created ON durable_runs (created_at_us);
CREATE INDEX durable_runs_by_status ON durable_runs (status);
CREATE INDEX durable_runs_by_workflow ON durable_runs (workflow);
CREATE INDEX durable_runs_by_actor ON durable_runs (actor);
CREATE INDEX durable_runs_by_parent ON durable_runs (parent_run_id) WHERE parent_run_id IS NOT NULL;
CREATE INDEX durable_runs_by_rollback ON durable_runs (rollback) WHERE rollback <> 'none';
CREATE INDEX durable_runs_by_closed ON durable_runs (closed_at_us) WHERE closed_at_us IS NOT NULL;

-- What changes with every turn of a run, apart, so that a turn rewrites 40 bytes and not the whole row.
CREATE TABLE durable_heads (
    key INTEGER PRIMARY KEY REFERENCES durable_runs (key),
    seq INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    owner TEXT,
    ready_at_us INTEGER,
    lane INTEGER NOT NULL REFERENCES durable_lanes (id),
    lost INTEGER NOT NULL,
    waiting_for TEXT
);
CREATE INDEX durable_heads_by_ready ON durable_heads (lane, ready_at_us) WHERE owner IS NULL AND ready_at_us IS NOT NULL;
CREATE INDEX durable_heads_by_owner ON durable_heads (owner, ready_at_us) WHERE owner IS NOT NULL;

-- History, in order of commit: appending to a rowid table dirties few pages, and the index finds one run's rows.
CREATE TABLE durable_events (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    seq INTEGER NOT NULL,
    batch INTEGER NOT NULL,
    kind TEXT NOT NULL,
    at_us INTEGER NOT NULL,
    actor TEXT NOT NULL,
    command INTEGER,
    name TEXT,
    detail TEXT,
    payload TEXT,
    hash BLOB NOT NULL
);
CREATE UNIQUE INDEX durable_events_by_run ON durable_events (run_key, seq);

-- Facts waiting to be applied (rule H5). AUTOINCREMENT: a consumed row's id never names another row.
CREATE TABLE durable_inbox (
    row_id INTEGER PRIMARY KEY AUTOINCREMENT,
    workflow_id TEXT NOT NULL,
    run_id TEXT,
    message_id TEXT,
    kind TEXT NOT NULL,
    command INTEGER,
    name TEXT,
    detail TEXT,
    payload TEXT,
    actor TEXT NOT NULL,
    at_us INTEGER NOT NULL
);
CREATE INDEX durable_inbox_by_workflow_id ON durable_inbox (workflow_id);

-- Message ids already accepted, kept for as long as the workflow id is.
CREATE TABLE durable_message_ids (
    workflow_id TEXT NOT NULL,
    message_id TEXT NOT NULL,
    PRIMARY KEY (workflow_id, message_id)
) WITHOUT ROWID;

-- Steps whose outcome came from outside the run's worker: one outcome a step.
CREATE TABLE durable_outcomes (
    run_key INTEGER NOT NULL,
    command INTEGER NOT NULL,
    PRIMARY KEY (run_key, command)
) WITHOUT ROWID;

CREATE TABLE durable_tasks (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    command INTEGER NOT NULL,
    queue TEXT NOT NULL,
    step TEXT NOT NULL,
    input TEXT NOT NULL,
    options TEXT,
    idempotency_key TEXT NOT NULL,
    attempt INTEGER NOT NULL,
    available_at_us INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    owner TEXT,
    epoch INTEGER NOT NULL,
    cancel_requested INTEGER NOT NULL
);
CREATE UNIQUE INDEX durable_tasks_by_run ON durable_tasks (run_key, command);
CREATE INDEX durable_tasks_by_available ON durable_tasks (queue, step, available_at_us) WHERE owner IS NULL;
CREATE INDEX durable_tasks_by_owner ON durable_tasks (owner) WHERE owner IS NOT NULL;

-- Lost attempts share their number with the next one (rule H4), so the order is that of arrival.
CREATE TABLE durable_attempts (
    id INTEGER PRIMARY KEY,
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    command INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    outcome TEXT NOT NULL,
    started_at_us INTEGER NOT NULL,
    ended_at_us INTEGER,
    next_at_us INTEGER,
    error TEXT,
    heartbeat TEXT,
    worker TEXT NOT NULL
);
CREATE INDEX durable_attempts_by_step ON durable_attempts (run_key, command);

CREATE TABLE durable_heartbeats (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    command INTEGER NOT NULL,
    at_us INTEGER NOT NULL,
    payload TEXT,
    PRIMARY KEY (run_key, command)
);

CREATE TABLE durable_questions (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    command INTEGER NOT NULL,
    key TEXT NOT NULL,
    kind TEXT NOT NULL,
    prompt TEXT NOT NULL,
    schema TEXT NOT NULL,
    detail TEXT,
    asked_at_us INTEGER NOT NULL,
    deadline_us INTEGER,
    PRIMARY KEY (run_key, command)
);
CREATE INDEX durable_questions_by_age ON durable_questions (asked_at_us);

CREATE TABLE durable_updates (
    workflow_id TEXT NOT NULL,
    update_id TEXT NOT NULL,
    run_id TEXT,
    name TEXT NOT NULL,
    state TEXT NOT NULL,
    payload TEXT,
    PRIMARY KEY (workflow_id, update_id)
);

CREATE TABLE durable_queries (
    query_id TEXT PRIMARY KEY,
    run_id TEXT NOT NULL,
    workflow TEXT NOT NULL,
    name TEXT NOT NULL,
    payload TEXT,
    expires_at_us INTEGER NOT NULL,
    state TEXT NOT NULL,
    reply TEXT
);
CREATE INDEX durable_queries_by_workflow ON durable_queries (workflow) WHERE state = 'pending';
CREATE INDEX durable_queries_by_expiry ON durable_queries (expires_at_us);

-- `value` is canonical JSON text, so that equal values are equal texts.
CREATE TABLE durable_attributes (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    name TEXT NOT NULL,
    value TEXT NOT NULL,
    PRIMARY KEY (run_key, name)
) WITHOUT ROWID;
CREATE INDEX durable_attributes_by_value ON durable_attributes (name, value, run_key);

CREATE TABLE durable_published (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    key TEXT NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (run_key, key)
);

CREATE TABLE durable_streams (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    name TEXT NOT NULL,
    position INTEGER NOT NULL,
    payload TEXT NOT NULL,
    PRIMARY KEY (run_key, name, position)
);

CREATE TABLE durable_logs (
    id INTEGER PRIMARY KEY,
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    at_us INTEGER NOT NULL,
    level TEXT NOT NULL,
    source TEXT NOT NULL,
    message TEXT NOT NULL
);
CREATE INDEX durable_logs_by_run ON durable_logs (run_key);

-- Payloads above the limit, stored once by the hash of their content (rule H2), and the runs that refer to them.
CREATE TABLE durable_blobs (
    hash TEXT PRIMARY KEY,
    data BLOB NOT NULL
);
CREATE TABLE durable_blob_refs (
    run_key INTEGER NOT NULL REFERENCES durable_runs (key),
    hash TEXT NOT NULL,
    PRIMARY KEY (run_key, hash)
) WITHOUT ROWID;
CREATE INDEX durable_blob_refs_by_hash ON durable_blob_refs (hash);

CREATE TABLE durable_definitions (
    workflow TEXT PRIMARY KEY,
    definition TEXT NOT NULL
);

-- A run in the column order that the code reads (state.Run), with the number of inbox rows that it may take, and whether tasks,
-- questions or updates of it are open.
CREATE VIEW durable_run_rows AS
SELECT
    r.key, r.run_id, r.workflow_id, r.workflow, r.queue, r.status, r.rollback,
    h.owner, h.epoch, h.seq, h.ready_at_us,
    r.created_at_us, r.started_at_us, r.closed_at_us, r.origin_id, r.first_run_id, r.parent_run_id, r.parent_command,
    r.on_parent_close, h.lost, r.code, r.reason, h.waiting_for, r.input_digest, r.actor, h.lane,
    (SELECT count(*) FROM durable_inbox AS i
     WHERE i.workflow_id = r.workflow_id AND (i.run_id IS NULL OR i.run_id = r.run_id)) AS unread,
    (EXISTS (SELECT 1 FROM durable_tasks AS t WHERE t.run_key = r.key)
     OR EXISTS (SELECT 1 FROM durable_questions AS q WHERE q.run_key = r.key)
     OR EXISTS (SELECT 1 FROM durable_updates AS u WHERE u.workflow_id = r.workflow_id AND u.state = 'pending')) AS has_parts
FROM durable_runs AS r
JOIN durable_heads AS h ON h.key = r.key;

-- A task in the column order of TaskRow, after its run's key.
CREATE VIEW durable_task_rows AS
SELECT
    t.run_key, r.run_id, r.workflow_id, t.command, t.queue, t.step, t.input, t.options, t.idempotency_key, t.attempt,
    t.available_at_us, t.losses, t.owner, t.epoch, t.cancel_requested
FROM durable_tasks AS t
JOIN durable_runs AS r ON r.key = t.run_key;

-- What people see who open the file with the sqlite3 shell: times as ISO text in UTC, durations in seconds.
CREATE VIEW workflows AS
SELECT
    r.workflow_id,
    r.workflow,
    r.status,
    h.waiting_for,
    r.reason,
    r.rollback,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.created_at_us / 1e6, 'unixepoch') AS created_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.started_at_us / 1e6, 'unixepoch') AS started_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', r.closed_at_us / 1e6, 'unixepoch') AS closed_at,
    round((r.closed_at_us - r.created_at_us) / 1e6, 3) AS duration_s,
    strftime('%Y-%m-%dT%H:%M:%fZ', h.ready_at_us / 1e6, 'unixepoch') AS ready_at,
    h.seq AS events,
    r.queue,
    h.owner AS worker,
    r.actor AS started_by,
    r.code AS stuck_on_code,
    (SELECT parent.workflow_id FROM durable_runs AS parent WHERE parent.run_id = r.parent_run_id) AS parent,
    r.run_id
FROM durable_runs AS r
JOIN durable_heads AS h ON h.key = r.key;

-- Every step: its StepScheduled event beside the event that ended it. An error is the payload of StepFailed, or of the last attempt while
-- the step is retried; it is readable if payloads are not encrypted.
CREATE VIEW workflow_steps AS
SELECT
    r.workflow_id,
    s.command,
    s.name AS step,
    CASE
        WHEN e.kind = 'StepCompleted' THEN 'completed'
        WHEN e.kind = 'StepFailed' THEN 'failed'
        WHEN e.kind = 'StepCancelled' THEN 'cancelled'
        WHEN r.closed_at_us IS NOT NULL AND r.rollback <> 'running' THEN 'abandoned'
        WHEN t.run_key IS NOT NULL AND t.owner IS NULL THEN 'queued'
        WHEN a.next_at_us IS NOT NULL THEN 'retrying'
        ELSE 'running'
    END AS status,
    CASE
        WHEN e.seq IS NOT NULL THEN coalesce(e.detail ->> '$.attempts', 1)
        ELSE coalesce(t.attempt, a.attempt + (a.next_at_us IS NOT NULL), 1)
    END AS attempts,
    CASE WHEN e.kind = 'StepFailed' THEN e.payload ->> '$.data.type[1]' ELSE a.error ->> '$.type[1]' END AS error_type,
    CASE WHEN e.kind = 'StepFailed' THEN e.payload ->> '$.data.message' ELSE a.error ->> '$.message' END AS error,
    strftime('%Y-%m-%dT%H:%M:%fZ', s.at_us / 1e6, 'unixepoch') AS scheduled_at,
    strftime('%Y-%m-%dT%H:%M:%fZ', e.at_us / 1e6, 'unixepoch') AS ended_at,
    round((e.at_us - s.at_us) / 1e6, 3) AS duration_s,
    strftime('%Y-%m-%dT%H:%M:%fZ', a.next_at_us / 1e6, 'unixepoch') AS next_attempt_at,
    coalesce(t.owner, e.actor, h.owner) AS worker,
    CASE WHEN s.detail ->> '$.role' = 'compensation' THEN s.detail ->> '$.for' END AS compensates,
    CASE WHEN s.detail ->> '$.role' = 'compensation' THEN s.detail ->> '$.undoes' END AS undoes,
    r.run_id
FROM durable_events AS s
JOIN durable_runs AS r ON r.key = s.run_key
JOIN durable_heads AS h ON h.key = s.run_key
LEFT JOIN durable_events AS e ON e.run_key = s.run_key AND e.seq = (
    SELECT o.seq FROM durable_events AS o
    WHERE o.run_key = s.run_key AND o.seq > s.seq AND o.command = s.command
        AND o.kind IN ('StepCompleted', 'StepFailed', 'StepCancelled')
    ORDER BY o.seq LIMIT 1
)
LEFT JOIN durable_tasks AS t ON t.run_key = s.run_key AND t.command = s.command
LEFT JOIN durable_attempts AS a ON e.seq IS NULL AND a.id = (
    SELECT max(l.id) FROM durable_attempts AS l WHERE l.run_key = s.run_key AND l.command = s.command
)
WHERE s.kind = 'StepScheduled';

-- What was undone, and how that went: `compensates` is the command number of the step, `undoes` its name.
CREATE VIEW compensation_log AS
SELECT
    workflow_id, compensates, undoes, command, step AS compensation, status, attempts, error_type, error, scheduled_at, ended_at,
    duration_s, next_attempt_at, run_id
FROM workflow_steps
WHERE compensates IS NOT NULL;
