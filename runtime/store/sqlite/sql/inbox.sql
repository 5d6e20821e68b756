-- Facts waiting to be applied, and the memory of what was accepted.

-- name: insert
INSERT INTO durable_inbox (workflow_id, run_id, message_id, kind, command, name, detail, payload, actor, at_us) VALUES {rows};

-- name: consume
DELETE FROM durable_inbox WHERE row_id IN (VALUES {rows});

-- name: read
-- The start comes first: what a continued run hands on is older than its successor's start.
SELECT i.workflow_id, i.run_id, i.message_id, i.kind, i.command, i.name, i.detail, i.payload, i.actor, i.at_us, i.row_id
FROM (VALUES {rows}) AS v
CROSS JOIN durable_inbox AS i ON i.workflow_id = v.column1
ORDER BY i.kind <> 'RunStarted', i.row_id;

-- name: unread
SELECT v.column1, i.kind, min(i.at_us), count(*)
FROM (VALUES {rows}) AS v
CROSS JOIN durable_inbox AS i ON i.workflow_id = v.column2 AND (i.run_id = v.column3 OR (i.run_id IS NULL AND v.column4))
GROUP BY v.column1, i.kind;

-- name: remember_message
INSERT OR IGNORE INTO durable_message_ids (workflow_id, message_id) VALUES (?, ?);

-- name: has_message
SELECT 1 FROM durable_message_ids WHERE workflow_id = ? AND message_id = ?;

-- name: has_answer
SELECT 1 FROM durable_inbox WHERE workflow_id = ? AND run_id = ? AND command = ? AND kind = 'QuestionAnswered' LIMIT 1;

-- name: remember_outcome
INSERT OR IGNORE INTO durable_outcomes (run_key, command) VALUES (?, ?);

-- name: has_outcome
SELECT 1 FROM durable_outcomes WHERE run_key = ? AND command = ?;

-- name: drop_unread
-- For runs that ended: (workflow id, run id, whether a successor takes over the messages). Outcomes and the start never pass on (rule H6).
DELETE FROM durable_inbox
WHERE row_id IN (
    SELECT i.row_id
    FROM (VALUES {rows}) AS v
    CROSS JOIN durable_inbox AS i ON i.workflow_id = v.column1 AND (i.run_id = v.column2 OR i.run_id IS NULL)
    WHERE NOT v.column3 OR i.command IS NOT NULL OR i.kind = 'RunStarted'
);

-- name: pass_on
UPDATE durable_inbox SET run_id = NULL FROM (VALUES {rows}) AS v WHERE durable_inbox.workflow_id = v.column1 AND durable_inbox.run_id = v.column2;
