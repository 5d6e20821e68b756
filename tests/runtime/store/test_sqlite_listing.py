"""Lists: every filter, by every way of reading, and never by looking at all runs (rule D5)."""

import sqlite3
from contextlib import closing
from itertools import product

import pytest
from conformance.build import STARTED, T0, begin, commit, ended, new_run

from durable.handle import RollbackStatus, RunStatus
from runtime.store.row import RunFilter, RunRow
from runtime.store.sqlite import SqliteStore, listing
from runtime.store.sqlite.statement import load
from runtime.store.turn import RunChange

pytestmark = pytest.mark.anyio

FILTERS = [
    RunFilter(),
    RunFilter(status=["waiting"]),
    RunFilter(status=["waiting", "completed"]),
    RunFilter(status=["stuck"]),
    RunFilter(workflow="order"),
    RunFilter(workflow_id="order-7"),
    RunFilter(workflow_id_prefix="order-1"),
    RunFilter(workflow_id_prefix="ord"),
    RunFilter(workflow_id_prefix="\U0010ffff"),
    RunFilter(workflow_id_prefix="\ud7ff"),
    RunFilter(actor="user:bob"),
    RunFilter(parent_run_id="parent"),
    RunFilter(rollback="none"),
    RunFilter(rollback="failed"),
    RunFilter(started_after_us=T0 + 10),
    RunFilter(started_before_us=T0 + 10),
    RunFilter(started_after_us=T0 + 5, started_before_us=T0 + 20),
    RunFilter(closed_before_us=T0 + 15),
    RunFilter(attributes={"region": "eu"}),
    RunFilter(attributes={"region": "eu", "big": True}),
    RunFilter(status=["waiting"], workflow="order", actor="user:bob", started_after_us=T0 + 3),
    RunFilter(status=["completed"], closed_before_us=T0 + 25, rollback="failed"),
]


@pytest.fixture
async def runs(sqlite: SqliteStore) -> list[RunRow]:
    """Thirty runs of many kinds, newest first."""
    for number in range(30):
        author = await begin(
            sqlite,
            f"{'order' if number % 3 else 'refund'}-{number}",
            workflow="order",
            actor="user:bob" if number % 4 else "user:alice",
            created_at_us=T0 + number,
            parent_run_id="parent" if number % 7 == 0 else None,
            parent_command=1 if number % 7 == 0 else None,
            attributes={"region": "eu" if number % 2 else "us", "big": number % 5 == 0},
        )
        rollback = RollbackStatus.FAILED if number % 6 == 0 else RollbackStatus.NONE
        change = ended(at_us=T0 + number + 1, rollback=rollback) if number % 2 else RunChange(RunStatus.WAITING)
        assert await commit(sqlite, author.turn(STARTED, change=change)) == [None]
    rows, _ = await sqlite.list_runs(RunFilter(), 100)
    assert [row.created_at_us for row in rows] == [T0 + number for number in reversed(range(30))]
    return rows


def holds(row: RunRow, where: RunFilter) -> bool:
    number = row.created_at_us - T0
    attributes = {"region": "eu" if number % 2 else "us", "big": number % 5 == 0}
    after, before = where.started_after_us, where.started_before_us
    return all(
        (
            not where.status or row.status in where.status,
            where.workflow in (None, row.workflow),
            where.workflow_id in (None, row.workflow_id),
            row.workflow_id.startswith(where.workflow_id_prefix or ""),
            where.actor in (None, row.actor),
            where.parent_run_id in (None, row.parent_run_id),
            where.rollback in (None, row.rollback),
            after is None or row.created_at_us >= after,
            before is None or row.created_at_us < before,
            where.closed_before_us is None or (row.closed_at_us or 10**18) < where.closed_before_us,
            all(attributes[name] == value for name, value in where.attributes.items()),
        )
    )


@pytest.mark.parametrize("rare", [0, 5, 10_000])
async def test_pages_and_counts_are_right_however_they_are_read(sqlite, runs, monkeypatch, rare):
    monkeypatch.setattr(listing, "_RARE", rare)
    for where, limit in product(FILTERS, [1, 7, 100]):
        expected = [row for row in runs if holds(row, where)]
        found: list[RunRow] = []
        cursor = None
        while True:
            page, cursor = await sqlite.list_runs(where, limit, cursor)
            found += page
            assert len(page) <= limit
            if cursor is None:
                break
        assert found == expected, where
        assert await sqlite.count_runs(where) == len(expected)


def plan(path, sql: str, parameters: int) -> str:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute(f"EXPLAIN QUERY PLAN {sql}", (None,) * parameters)
        return "\n".join(row[3] for row in rows)


@pytest.mark.parametrize("where", FILTERS, ids=lambda where: repr(where)[10:60])
async def test_page_of_common_runs_is_read_in_order_without_sorting(sqlite, where, monkeypatch):
    monkeypatch.setattr(listing, "_RARE", 0)
    with closing(sqlite3.connect(sqlite.path)) as connection:
        chosen = listing._plan(connection, where)
    sql = load("list")["page"].format(source=chosen.source, where=chosen.where)
    lines = plan(sqlite.path, sql, len(chosen.parameters) + 2)
    inner = lines.partition("SCAN page")[0]
    assert "TEMP B-TREE" not in inner, lines


@pytest.mark.parametrize(
    ("file", "name", "parameters", "index"),
    [
        ("run", "free_ready", 3, "durable_heads_by_ready (lane=? AND ready_at_us<?)"),
        ("run", "owned_ready", 3, "durable_heads_by_owner (owner=? AND ready_at_us<?)"),
        ("run", "free_next", 1, "durable_heads_by_ready"),
        ("run", "owned_next", 1, "durable_heads_by_owner"),
        ("run", "owned_by", 1, "durable_heads_by_owner"),
        ("run", "stuck", 0, "durable_runs_by_status (status=?)"),
        ("run", "open_children", 1, "durable_runs_by_parent"),
        ("task", "available", 4, "durable_tasks_by_available (queue=? AND step=? AND available_at_us<?)"),
        ("task", "next", 2, "durable_tasks_by_available"),
        ("task", "cancelled", 1, "durable_tasks_by_owner"),
        ("house", "purgeable", 2, "durable_runs_by_closed"),
        ("read", "history", 3, "durable_events_by_run (run_key=? AND seq>?)"),
    ],
)
async def test_no_statement_of_a_worker_looks_at_all_runs(sqlite, file, name, parameters, index):
    lines = plan(sqlite.path, load(file)[name], parameters)
    assert index in lines
    assert not any(line.startswith("SCAN") for line in lines.splitlines()), lines
    assert "TEMP B-TREE" not in lines


@pytest.mark.parametrize(
    ("name", "index"), [("by_run_id", "sqlite_autoindex_durable_runs_1"), ("current", "durable_runs_by_workflow_id")]
)
async def test_runs_are_found_by_their_ids_through_an_index(sqlite, name, index):
    lines = plan(sqlite.path, load("run")[name].format(rows="(?), (?)"), 2)
    assert index in lines
    scans = {line for line in lines.splitlines() if line.startswith("SCAN")}
    assert scans <= {"SCAN v", "SCAN 2 CONSTANT ROWS", "SCAN 2-ROW VALUES CLAUSE"}, "only the ids are gone through"


@pytest.mark.parametrize("name", ["owners"])
@pytest.mark.parametrize("file", ["run", "task"])
async def test_owners_are_found_by_steps_through_an_index(sqlite, file, name):
    lines = plan(sqlite.path, load(file)[name], 0)
    assert lines.count("SEARCH") == 2
    assert "_by_owner" in lines


async def test_started_runs_are_listed_at_once(sqlite):
    await sqlite.start(new_run("a"))
    rows, _ = await sqlite.list_runs(RunFilter(), 1)
    assert [row.workflow_id for row in rows] == ["a"]
