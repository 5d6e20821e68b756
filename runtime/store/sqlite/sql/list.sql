-- Pages of runs. {source} is a table with the index to use, {where} conditions on its columns; both come from code, values are bound.

-- name: page
SELECT r.* FROM (
    SELECT key FROM {source} WHERE {where} AND key < ? ORDER BY key DESC LIMIT ?
) AS page
CROSS JOIN durable_run_rows AS r ON r.key = page.key
ORDER BY page.key DESC;

-- name: count
SELECT count(*) FROM {source} WHERE {where};

-- name: count_some
SELECT count(*) FROM (SELECT 1 FROM {source} WHERE {where} LIMIT ?);

-- name: key_bounds
SELECT coalesce(min(key), 0), coalesce(max(key), 0) FROM durable_runs INDEXED BY durable_runs_by_created WHERE {where};
