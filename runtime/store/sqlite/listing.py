"""Lists of runs: filters to SQL, and pages by keyset.

The order is that of creation, newest first, which is the order of keys; a cursor is the last key of the page
before, so the cost of a page does not depend on how many came before it.

SQLite cannot know which condition is rare, and a wrong guess reads a million rows. So conditions are counted
first, each up to a limit: what few runs meet is read by its own index and sorted; when all conditions are common,
runs are walked in order, and matches come soon.
"""

from __future__ import annotations

import re
import sqlite3
from typing import Any, Final, NamedTuple

from durable.errors import CallerError
from runtime.store.row import RunFilter, RunRow
from runtime.store.sqlite.pool import ReadPool
from runtime.store.sqlite.start import canonical
from runtime.store.sqlite.state import Run
from runtime.store.sqlite.statement import load

_LIST: Final = load("list")

_RARE: Final = 10_000
"""Runs that are sorted rather than walked."""

_CURSOR: Final = re.compile(r"s(\d{1,18})", re.ASCII)


class _Condition(NamedTuple):
    """One condition on runs.

    Attributes:
        sql: over the columns of ``runs``.
        parameters: of ``sql``.
        source: the FROM clause that finds the runs that meet it by an index.
        is_ordered: whether that index lists them in the order of keys.
    """

    sql: str
    parameters: tuple[Any, ...]
    source: str
    is_ordered: bool = False


def _by(index: str) -> str:
    return f"durable_runs INDEXED BY durable_runs_by_{index}"


def _conditions(where: RunFilter) -> list[_Condition]:
    found: list[_Condition] = []
    if where.workflow_id is not None:
        found.append(_Condition("workflow_id = ?", (where.workflow_id,), _by("workflow_id"), is_ordered=True))
    if where.parent_run_id is not None:
        found.append(_Condition("parent_run_id = ?", (where.parent_run_id,), _by("parent"), is_ordered=True))
    if where.status:
        statuses = tuple(str(status) for status in where.status)
        sql = f"status IN ({','.join('?' * len(statuses))})"
        found.append(_Condition(sql, statuses, _by("status"), is_ordered=len(statuses) == 1))
    if where.rollback is not None:
        rollback = (str(where.rollback),)
        if where.rollback == "none":
            found.append(_Condition("rollback = ?", rollback, "durable_runs NOT INDEXED", is_ordered=True))
        else:
            found.append(_Condition("rollback <> 'none' AND rollback = ?", rollback, _by("rollback"), is_ordered=True))
    if where.workflow is not None:
        found.append(_Condition("workflow = ?", (where.workflow,), _by("workflow"), is_ordered=True))
    if where.actor is not None:
        found.append(_Condition("actor = ?", (where.actor,), _by("actor"), is_ordered=True))
    if where.workflow_id_prefix:
        found.append(_prefix(where.workflow_id_prefix))
    if where.closed_before_us is not None:
        found.append(_Condition("closed_at_us < ?", (where.closed_before_us,), _by("closed")))
    found += [_attribute(name, value) for name, value in where.attributes.items()]
    return found


def _prefix(prefix: str) -> _Condition:
    """Ids from the prefix on and up to the first text that is behind all that begin with it."""
    stem = prefix.rstrip("\U0010ffff")
    if not stem:
        return _Condition("workflow_id >= ?", (prefix,), _by("workflow_id"))
    following = ord(stem[-1]) + 1
    if 0xD800 <= following <= 0xDFFF:  # surrogates are no text
        following = 0xE000
    behind = stem[:-1] + chr(following)
    return _Condition("workflow_id >= ? AND workflow_id < ?", (prefix, behind), _by("workflow_id"))


def _attribute(name: str, value: Any) -> _Condition:
    sql = "key IN (SELECT run_key FROM durable_attributes WHERE name = ? AND value = ?)"
    return _Condition(sql, (name, canonical(value)), "durable_runs NOT INDEXED")


def _created(where: RunFilter) -> _Condition | None:
    first, behind = where.started_after_us, where.started_before_us
    if first is not None and behind is not None:
        return _Condition("created_at_us >= ? AND created_at_us < ?", (first, behind), _by("created"))
    if first is not None:
        return _Condition("created_at_us >= ?", (first,), _by("created"))
    if behind is not None:
        return _Condition("created_at_us < ?", (behind,), _by("created"))
    return None


class _Plan(NamedTuple):
    """Where to read the runs that meet all conditions, and in what order they come."""

    source: str
    where: str
    parameters: tuple[Any, ...]


def _plan(connection: sqlite3.Connection, where: RunFilter) -> _Plan:
    conditions = _conditions(where)
    created = _created(where)
    if created is not None:
        conditions.append(created)
    sql = " AND ".join(condition.sql for condition in conditions) or "TRUE"
    parameters = tuple(value for condition in conditions for value in condition.parameters)
    for condition in conditions:
        if _is_rare(connection, condition):
            return _Plan(condition.source, sql, parameters)
    if created is not None:
        # Times grow with keys but for the differences of clocks, so most runs that do not match are left out.
        bounds = connection.execute(_LIST["key_bounds"].format(where=created.sql), created.parameters).fetchone()
        sql += " AND key BETWEEN ? AND ?"
        parameters += tuple(bounds)
    ordered = [condition.source for condition in conditions if condition.is_ordered]
    return _Plan(ordered[0] if ordered else "durable_runs NOT INDEXED", sql, parameters)


def _is_rare(connection: sqlite3.Connection, condition: _Condition) -> bool:
    counted = _LIST["count_some"].format(source=condition.source, where=condition.sql)
    is_indexed = "INDEXED BY" in condition.source or condition.sql.startswith("key IN")
    return is_indexed and bool(connection.execute(counted, (*condition.parameters, _RARE)).fetchone()[0] < _RARE)


async def list_runs(
    pool: ReadPool, where: RunFilter, limit: int, cursor: str | None
) -> tuple[list[RunRow], str | None]:
    """``Store.list_runs``."""
    before = _parse_cursor(cursor)

    def read(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
        plan = _plan(connection, where)
        page = _LIST["page"].format(source=plan.source, where=plan.where)
        return connection.execute(page, (*plan.parameters, before, limit + 1)).fetchall()

    rows = await pool.run(read)
    runs = [Run(columns) for columns in rows[:limit]]
    following = f"s{runs[-1].key}" if runs and len(rows) > limit else None
    return [run.row() for run in runs], following


async def count_runs(pool: ReadPool, where: RunFilter) -> int:
    """``Store.count_runs``."""

    def read(connection: sqlite3.Connection) -> int:
        plan = _plan(connection, where)
        counted = _LIST["count"].format(source=plan.source, where=plan.where)
        count: int = connection.execute(counted, plan.parameters).fetchone()[0]
        return count

    found: int = await pool.run(read)
    return found


def _parse_cursor(cursor: str | None) -> int:
    """The key before which the page begins."""
    if cursor is None:
        return 2**63 - 1
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise CallerError(f"expected a cursor from an earlier page, got {cursor!r}", cursor=cursor)
    return int(match[1])
