-- Deleting what is over. {rows} are keys of runs unless said otherwise.

-- name: purgeable
SELECT r.key, r.run_id, r.workflow_id
FROM durable_runs AS r INDEXED BY durable_runs_by_closed
WHERE r.closed_at_us < ? AND r.rollback NOT IN ('running', 'failed')
    AND NOT EXISTS (
        SELECT 1 FROM durable_runs AS parent WHERE parent.run_id = r.parent_run_id AND parent.closed_at_us IS NULL
    )
ORDER BY r.closed_at_us LIMIT ?;

-- name: referenced_blobs
SELECT DISTINCT hash FROM durable_blob_refs WHERE run_key IN (VALUES {rows});

-- name: delete_runs
DELETE FROM durable_runs WHERE key IN (VALUES {rows});

-- name: delete_heads
DELETE FROM durable_heads WHERE key IN (VALUES {rows});

-- name: delete_events
DELETE FROM durable_events WHERE run_key IN (VALUES {rows});

-- name: delete_outcomes
DELETE FROM durable_outcomes WHERE run_key IN (VALUES {rows});

-- name: delete_tasks
DELETE FROM durable_tasks WHERE run_key IN (VALUES {rows});

-- name: delete_attempts
DELETE FROM durable_attempts WHERE run_key IN (VALUES {rows});

-- name: delete_heartbeats
DELETE FROM durable_heartbeats WHERE run_key IN (VALUES {rows});

-- name: delete_questions
DELETE FROM durable_questions WHERE run_key IN (VALUES {rows});

-- name: delete_attributes
DELETE FROM durable_attributes WHERE run_key IN (VALUES {rows});

-- name: delete_published
DELETE FROM durable_published WHERE run_key IN (VALUES {rows});

-- name: delete_streams
DELETE FROM durable_streams WHERE run_key IN (VALUES {rows});

-- name: delete_logs
DELETE FROM durable_logs WHERE run_key IN (VALUES {rows});

-- name: delete_blob_refs
DELETE FROM durable_blob_refs WHERE run_key IN (VALUES {rows});

-- name: delete_blobs
-- By hash: those that nothing refers to any more.
DELETE FROM durable_blobs
WHERE hash IN (VALUES {rows}) AND NOT EXISTS (SELECT 1 FROM durable_blob_refs AS f WHERE f.hash = durable_blobs.hash);

-- name: orphans
-- By workflow id: those of which no run is left.
SELECT v.column1 FROM (VALUES {rows}) AS v WHERE NOT EXISTS (SELECT 1 FROM durable_runs AS r WHERE r.workflow_id = v.column1);

-- name: delete_message_ids
DELETE FROM durable_message_ids WHERE workflow_id IN (VALUES {rows});

-- name: delete_updates
DELETE FROM durable_updates WHERE workflow_id IN (VALUES {rows});

-- name: delete_inbox
DELETE FROM durable_inbox WHERE workflow_id IN (VALUES {rows});

-- name: delete_queries
-- By run id. There are few: they expire.
DELETE FROM durable_queries WHERE run_id IN (VALUES {rows});
