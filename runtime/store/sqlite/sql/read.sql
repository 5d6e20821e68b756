-- What readers ask, on connections that cannot write.

-- name: successor
SELECT later.*
FROM durable_runs AS earlier
JOIN durable_runs AS next ON next.workflow_id = earlier.workflow_id AND next.key > earlier.key
    AND coalesce(next.first_run_id, next.run_id) = coalesce(earlier.first_run_id, earlier.run_id)
JOIN durable_run_rows AS later ON later.key = next.key
WHERE earlier.run_id = ?
ORDER BY next.key LIMIT 1;

-- name: children
SELECT * FROM durable_run_rows WHERE parent_run_id = ? ORDER BY key;

-- name: history
SELECT seq, batch, kind, at_us, actor, command, name, detail, payload, hash FROM durable_events
WHERE run_key = (SELECT key FROM durable_runs WHERE run_id = ?) AND seq > ? ORDER BY seq LIMIT ?;

-- name: histories
-- The run's place among those that are asked for, then the columns of ``history``.
SELECT v.column1, e.seq, e.batch, e.kind, e.at_us, e.actor, e.command, e.name, e.detail, e.payload, e.hash
FROM (VALUES {rows}) AS v
CROSS JOIN durable_runs AS r ON r.run_id = v.column2
CROSS JOIN durable_events AS e ON e.run_key = r.key
ORDER BY v.column1, e.seq;

-- name: blobs
SELECT b.hash, b.data FROM durable_runs AS r JOIN durable_blob_refs AS f ON f.run_key = r.key JOIN durable_blobs AS b ON b.hash = f.hash WHERE r.run_id = ?;

-- name: inbox
SELECT i.workflow_id, i.run_id, i.message_id, i.kind, i.command, i.name, i.detail, i.payload, i.actor, i.at_us, i.row_id
FROM durable_runs AS r
JOIN durable_inbox AS i ON i.workflow_id = r.workflow_id AND (i.run_id = r.run_id OR (i.run_id IS NULL AND r.closed_at_us IS NULL))
WHERE r.run_id = ?
ORDER BY i.kind <> 'RunStarted', i.row_id;

-- name: attempts
SELECT r.run_id, a.command, a.attempt, a.outcome, a.started_at_us, a.ended_at_us, a.next_at_us, a.error, a.heartbeat, a.worker
FROM durable_runs AS r JOIN durable_attempts AS a ON a.run_key = r.key
WHERE r.run_id = ? AND (? IS NULL OR a.command = ?)
ORDER BY a.command, a.id;

-- name: heartbeat
SELECT h.at_us, h.payload FROM durable_runs AS r JOIN durable_heartbeats AS h ON h.run_key = r.key WHERE r.run_id = ? AND h.command = ?;

-- name: questions
SELECT r.run_id, r.workflow_id, q.command, q.key, q.kind, q.prompt, q.schema, q.detail, q.asked_at_us, q.deadline_us
FROM durable_questions AS q JOIN durable_runs AS r ON r.key = q.run_key
ORDER BY q.asked_at_us, q.run_key, q.command;

-- name: questions_of
SELECT r.run_id, r.workflow_id, q.command, q.key, q.kind, q.prompt, q.schema, q.detail, q.asked_at_us, q.deadline_us
FROM durable_runs AS r JOIN durable_questions AS q ON q.run_key = r.key
WHERE r.workflow_id = ?
ORDER BY q.asked_at_us, q.run_key, q.command;

-- name: update
SELECT workflow_id, update_id, run_id, name, state, payload FROM durable_updates WHERE workflow_id = ? AND update_id = ?;

-- name: attributes
SELECT a.name, a.value FROM durable_runs AS r JOIN durable_attributes AS a ON a.run_key = r.key WHERE r.run_id = ?;

-- name: published
SELECT p.key, p.payload FROM durable_runs AS r JOIN durable_published AS p ON p.run_key = r.key WHERE r.run_id = ?;

-- name: stream
SELECT s.name, s.position, s.payload FROM durable_runs AS r JOIN durable_streams AS s ON s.run_key = r.key
WHERE r.run_id = ? AND s.name = ? AND s.position >= ? ORDER BY s.position LIMIT ?;

-- name: logs
SELECT r.run_id, l.at_us, l.level, l.source, l.message FROM durable_runs AS r JOIN durable_logs AS l ON l.run_key = r.key
WHERE r.run_id = ? ORDER BY l.id DESC LIMIT ?;

-- name: query
SELECT query_id, run_id, workflow, name, payload, expires_at_us, state, reply FROM durable_queries WHERE query_id = ?;

-- name: definition
SELECT definition FROM durable_definitions WHERE workflow = ?;
