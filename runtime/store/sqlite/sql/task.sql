-- Steps routed to queues that other workers serve.

-- name: insert
INSERT INTO durable_tasks (run_key, command, queue, step, input, options, idempotency_key, attempt, available_at_us, losses, owner, epoch,
    cancel_requested)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (run_key, command) DO UPDATE SET queue = excluded.queue, step = excluded.step, input = excluded.input,
    options = excluded.options, idempotency_key = excluded.idempotency_key, attempt = excluded.attempt,
    available_at_us = excluded.available_at_us, losses = excluded.losses, owner = excluded.owner, epoch = excluded.epoch,
    cancel_requested = excluded.cancel_requested;

-- name: get
SELECT * FROM durable_task_rows WHERE run_key = ? AND command = ?;

-- name: of_run
SELECT * FROM durable_task_rows WHERE run_id = ? ORDER BY command;

-- name: of_run_key
SELECT * FROM durable_task_rows WHERE run_key = ? ORDER BY command;

-- name: of_owner
SELECT * FROM durable_task_rows WHERE owner = ? ORDER BY run_key, command;

-- name: owners
-- Walks the index from one owner to the next.
WITH RECURSIVE found (owner) AS (
    SELECT min(owner) FROM durable_tasks WHERE owner IS NOT NULL
    UNION ALL
    SELECT (SELECT min(owner) FROM durable_tasks WHERE owner > found.owner) FROM found WHERE found.owner IS NOT NULL
)
SELECT owner FROM found WHERE owner IS NOT NULL;

-- name: available
SELECT * FROM durable_task_rows WHERE owner IS NULL AND queue = ? AND step = ? AND available_at_us <= ? ORDER BY available_at_us LIMIT ?;

-- name: next
SELECT min(available_at_us) FROM durable_tasks WHERE owner IS NULL AND queue = ? AND step = ?;

-- name: take
UPDATE durable_tasks SET owner = ?, epoch = epoch + 1 WHERE run_key = ? AND command = ?;

-- name: put_back
UPDATE durable_tasks SET owner = NULL, epoch = ?, losses = ?, attempt = ?, available_at_us = ? WHERE run_key = ? AND command = ?;

-- name: want_no_more
UPDATE durable_tasks SET cancel_requested = 1 WHERE run_key = ? AND command = ?;

-- name: delete
DELETE FROM durable_tasks WHERE run_key = ? AND command = ?;

-- name: cancelled
SELECT r.run_id, t.command FROM durable_tasks AS t JOIN durable_runs AS r ON r.key = t.run_key WHERE t.owner = ? AND t.cancel_requested;
