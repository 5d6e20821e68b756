-- Queries and definitions.

-- name: ask
INSERT INTO durable_queries (query_id, run_id, workflow, name, payload, expires_at_us, state, reply) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (query_id) DO NOTHING;

-- name: expire
DELETE FROM durable_queries WHERE expires_at_us <= ?;

-- name: pending
SELECT query_id, run_id, workflow, name, payload, expires_at_us, state, reply FROM durable_queries
WHERE state = 'pending' AND workflow = ? AND expires_at_us > ? ORDER BY rowid;

-- name: reply
UPDATE durable_queries SET state = ?, reply = ? WHERE query_id = ? AND state = 'pending';

-- name: publish
INSERT INTO durable_definitions (workflow, definition) VALUES (?, ?) ON CONFLICT (workflow) DO UPDATE SET definition = excluded.definition;
