-- Runs, their heads and their histories.

-- name: by_run_id
SELECT r.* FROM (VALUES {rows}) AS v CROSS JOIN durable_run_rows AS r ON r.run_id = v.column1;

-- name: by_key
SELECT r.* FROM (VALUES {rows}) AS v CROSS JOIN durable_run_rows AS r ON r.key = v.column1;

-- name: current
-- A run is created only when none of its workflow id is open, so the newest is the open one if there is any.
SELECT r.* FROM (VALUES {rows}) AS v
CROSS JOIN durable_run_rows AS r ON r.key = (SELECT max(key) FROM durable_runs WHERE workflow_id = v.column1);

-- name: last_key
SELECT coalesce(max(key), 0) FROM durable_runs;

-- name: insert_run
INSERT INTO durable_runs (key, run_id, workflow_id, workflow, queue, status, rollback, created_at_us, started_at_us, closed_at_us,
    origin_id, first_run_id, parent_run_id, parent_command, on_parent_close, code, reason, input_digest, actor)
VALUES {rows};

-- name: insert_head
INSERT INTO durable_heads (key, seq, epoch, owner, ready_at_us, lane, lost, waiting_for) VALUES {rows};

-- name: insert_event
INSERT INTO durable_events (run_key, seq, batch, kind, at_us, actor, command, name, detail, payload, hash) VALUES {rows};

-- name: move_head
-- Leaves the indexed columns alone: what most turns change.
UPDATE durable_heads SET seq = v.column2, waiting_for = v.column3 FROM (VALUES {rows}) AS v WHERE durable_heads.key = v.column1;

-- name: change_head
UPDATE durable_heads
SET seq = v.column2, waiting_for = v.column3, epoch = v.column4, owner = v.column5, ready_at_us = v.column6, lost = v.column7
FROM (VALUES {rows}) AS v
WHERE durable_heads.key = v.column1;

-- name: change_run
UPDATE durable_runs
SET status = v.column2, rollback = v.column3, started_at_us = v.column4, closed_at_us = v.column5, code = v.column6,
    reason = v.column7
FROM (VALUES {rows}) AS v
WHERE durable_runs.key = v.column1;

-- name: lanes
SELECT id, workflow, queue FROM durable_lanes;

-- name: insert_lane
INSERT INTO durable_lanes (workflow, queue) VALUES (?, ?) RETURNING id;

-- name: owned_ready
SELECT key, ready_at_us FROM durable_heads WHERE owner = ? AND ready_at_us <= ? ORDER BY ready_at_us LIMIT ?;

-- name: free_ready
SELECT key, ready_at_us FROM durable_heads WHERE owner IS NULL AND lane = ? AND ready_at_us <= ? ORDER BY ready_at_us LIMIT ?;

-- name: owned_next
SELECT min(ready_at_us) FROM durable_heads WHERE owner = ? AND ready_at_us IS NOT NULL;

-- name: free_next
SELECT min(ready_at_us) FROM durable_heads WHERE owner IS NULL AND lane = ? AND ready_at_us IS NOT NULL;

-- name: owners
-- Walks the index from one owner to the next.
WITH RECURSIVE found (owner) AS (
    SELECT min(owner) FROM durable_heads WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM durable_heads WHERE owner > found.owner) FROM found WHERE found.owner IS NOT NULL
)
SELECT owner FROM found WHERE owner IS NOT NULL;

-- name: owned_by
SELECT key FROM durable_heads WHERE owner = ?;

-- name: stuck
SELECT r.key, h.lane, r.code
FROM durable_runs AS r INDEXED BY durable_runs_by_status
CROSS JOIN durable_heads AS h ON h.key = r.key
WHERE r.status = 'stuck' AND h.owner IS NULL
ORDER BY r.key;

-- name: open_children
SELECT key FROM durable_runs WHERE parent_run_id = ? AND closed_at_us IS NULL ORDER BY key;

-- name: last_event
SELECT seq, batch, kind, at_us, actor, command, name, detail, payload, hash FROM durable_events WHERE run_key = ? ORDER BY seq DESC LIMIT 1;

-- name: unread_start
SELECT actor, detail, payload FROM durable_inbox WHERE workflow_id = ? AND run_id = ? AND kind = 'RunStarted';
