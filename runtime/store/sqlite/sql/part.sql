-- What hangs on a run or a workflow id beside history and inbox.

-- name: add_blob
INSERT OR IGNORE INTO durable_blobs (hash, data) VALUES (?, ?);

-- name: refer_to_blob
INSERT OR IGNORE INTO durable_blob_refs (run_key, hash) VALUES (?, ?);

-- name: set_attribute
INSERT INTO durable_attributes (run_key, name, value) VALUES (?, ?, ?)
ON CONFLICT (run_key, name) DO UPDATE SET value = excluded.value;

-- name: delete_attribute
DELETE FROM durable_attributes WHERE run_key = ? AND name = ?;

-- name: publish
INSERT INTO durable_published (run_key, key, payload) VALUES (?, ?, ?)
ON CONFLICT (run_key, key) DO UPDATE SET payload = excluded.payload;

-- name: write_stream
INSERT INTO durable_streams (run_key, name, position, payload) VALUES (?, ?, ?, ?)
ON CONFLICT (run_key, name, position) DO UPDATE SET payload = excluded.payload;

-- name: write_log
INSERT INTO durable_logs (run_key, at_us, level, source, message) VALUES (?, ?, ?, ?, ?);

-- name: trim_logs
DELETE FROM durable_logs WHERE run_key = ? AND id <= (SELECT id FROM durable_logs WHERE run_key = ? ORDER BY id DESC LIMIT 1 OFFSET ?);

-- name: ask_question
INSERT INTO durable_questions (run_key, command, key, kind, prompt, schema, detail, asked_at_us, deadline_us)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_key, command) DO UPDATE SET key = excluded.key, kind = excluded.kind, prompt = excluded.prompt,
    schema = excluded.schema, detail = excluded.detail, asked_at_us = excluded.asked_at_us, deadline_us = excluded.deadline_us;

-- name: has_question
SELECT 1 FROM durable_questions WHERE run_key = ? AND command = ?;

-- name: close_question
DELETE FROM durable_questions WHERE run_key = ? AND command = ?;

-- name: close_questions
DELETE FROM durable_questions WHERE run_key = ?;

-- name: has_update
SELECT 1 FROM durable_updates WHERE workflow_id = ? AND update_id = ?;

-- name: write_update
INSERT INTO durable_updates (workflow_id, update_id, run_id, name, state, payload) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (workflow_id, update_id) DO UPDATE
SET run_id = excluded.run_id, name = excluded.name, state = excluded.state, payload = excluded.payload;

-- name: close_updates
UPDATE durable_updates SET state = 'closed' WHERE workflow_id = ? AND state = 'pending';

-- name: end_attempt
-- Lost attempts share their number with the next one, so only the row of one that had begun is replaced.
DELETE FROM durable_attempts WHERE run_key = ? AND command = ? AND attempt = ? AND outcome = 'started';

-- name: write_attempt
INSERT INTO durable_attempts (run_key, command, attempt, outcome, started_at_us, ended_at_us, next_at_us, error, heartbeat, worker)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?);

-- name: trim_attempts
-- Keeps as many from the beginning as from the end.
DELETE FROM durable_attempts
WHERE id IN (
    SELECT id FROM (
        SELECT id, row_number() OVER (ORDER BY id) AS first, row_number() OVER (ORDER BY id DESC) AS last
        FROM durable_attempts WHERE run_key = ? AND command = ?
    )
    WHERE first > ? AND last > ?
);

-- name: keep_heartbeat
INSERT INTO durable_heartbeats (run_key, command, at_us, payload) VALUES (?, ?, ?, ?)
ON CONFLICT (run_key, command) DO UPDATE SET at_us = excluded.at_us, payload = excluded.payload;
