"""Lists: filters, searchable attributes, pages."""

import pytest

from conformance.build import (
    SECOND,
    STARTED,
    T0,
    WAITING,
    begin,
    begin_closed,
    begin_paused,
    begin_waiting,
    new_run,
)
from durable.errors import CallerError
from durable.handle import RollbackStatus, RunStatus
from runtime.store.row import RunFilter

pytestmark = pytest.mark.anyio


async def ids(store, **conditions):
    """Workflow ids that match, newest first; the count must agree."""
    where = RunFilter(**conditions)
    rows, cursor = await store.list_runs(where, 100)
    assert cursor is None
    assert await store.count_runs(where) == len(rows)
    return [row.workflow_id for row in rows]


async def test_list_gives_whole_rows_newest_first(store):
    runs = [(await store.start(new_run(f"{number}", created_at_us=T0 - number))).run for number in range(3)]
    assert await store.list_runs(RunFilter(), 10) == (runs[::-1], None)
    assert await store.count_runs(RunFilter()) == 3


async def test_list_of_an_empty_store_is_empty(store):
    assert await store.list_runs(RunFilter(), 10) == ([], None)
    assert await store.count_runs(RunFilter()) == 0


async def test_filter_by_status_takes_any_of_those_given(store):
    await store.start(new_run("pending"))
    await begin_waiting(store, "waiting")
    await begin_paused(store, "paused")
    await begin_closed(store, "failed", RunStatus.FAILED)
    await store.start(new_run("pending-2"))
    assert await ids(store, status=["failed"]) == ["failed"]
    assert await ids(store, status=[RunStatus.WAITING, RunStatus.PAUSED]) == ["paused", "waiting"]
    assert await ids(store, status=["stuck"]) == []


async def test_filter_by_equal_columns(store):
    await store.start(new_run("a", workflow="refund", actor="user:bob", parent_run_id="p"))
    await store.start(new_run("b"))
    await begin_closed(store, "c", RunStatus.FAILED, RollbackStatus.COMPLETED)
    assert await ids(store, workflow="refund") == ["a"]
    assert await ids(store, workflow_id="b") == ["b"]
    assert await ids(store, actor="user:bob") == ["a"]
    assert await ids(store, parent_run_id="p") == ["a"]
    assert await ids(store, rollback="completed") == ["c"]
    assert await ids(store, rollback=RollbackStatus.NONE) == ["b", "a"]


async def test_every_condition_must_hold(store):
    await store.start(new_run("a", workflow="refund", attributes={"x": 1}))
    await store.start(new_run("b", workflow="refund", attributes={"x": 2}))
    await store.start(new_run("c", attributes={"x": 1}))
    assert await ids(store, workflow="refund", attributes={"x": 1}) == ["a"]
    assert await ids(store, workflow="refund", status=["pending"], attributes={"x": 1}, workflow_id="b") == []


@pytest.mark.parametrize(
    ("prefix", "expected"),
    [
        ("", ["größe-1", "Order-1", "order%2", "order_1", "order-1"]),
        ("order", ["order%2", "order_1", "order-1"]),
        ("order-", ["order-1"]),
        ("order_", ["order_1"]),
        ("order%", ["order%2"]),
        ("Order", ["Order-1"]),
        ("größ", ["größe-1"]),
        ("rder", []),
        ("*", []),
        ("order?", []),
        ("[o]rder", []),
    ],
)
async def test_prefix_is_literal_and_in_the_same_case(store, prefix, expected):
    for workflow_id in ["order-1", "order_1", "order%2", "Order-1", "größe-1"]:
        await store.start(new_run(workflow_id))
    assert await ids(store, workflow_id_prefix=prefix) == expected


async def test_filter_by_time_of_start_includes_its_beginning_only(store):
    for number in range(4):
        await store.start(new_run(f"{number}", created_at_us=T0 + number))
    assert await ids(store, started_after_us=T0 + 1, started_before_us=T0 + 3) == ["2", "1"]
    assert await ids(store, started_after_us=T0 + 3) == ["3"]
    assert await ids(store, started_before_us=T0) == []


async def test_filter_by_time_of_end_leaves_out_open_runs(store):
    await store.start(new_run("open"))
    await begin_closed(store, "early", closed_at_us=T0 + SECOND)
    await begin_closed(store, "late", closed_at_us=T0 + 2 * SECOND)
    assert await ids(store, closed_before_us=T0 + 2 * SECOND) == ["early"]
    assert await ids(store, closed_before_us=T0 + 3 * SECOND) == ["late", "early"]


VALUES = {
    "true": True,
    "one": 1,
    "text": "1",
    "null-like": "null",
    "list": [1, "a"],
    "object": {"b": 1, "a": [2]},
    "umlaut": "ö",
}


@pytest.mark.parametrize("name", VALUES)
async def test_attributes_are_compared_as_json(store, name):
    for workflow_id, value in VALUES.items():
        await store.start(new_run(workflow_id, attributes={"x": value}))
    await store.start(new_run("without"))
    assert await ids(store, attributes={"x": VALUES[name]}) == [name]
    assert await ids(store, attributes={"y": VALUES[name]}) == []


async def test_order_of_keys_in_an_attribute_does_not_matter(store):
    await store.start(new_run(attributes={"x": {"a": 1, "b": 2}}))
    assert await ids(store, attributes={"x": {"b": 2, "a": 1}}) == ["w"]


@pytest.mark.parametrize("key", ["plain", "with.dot", 'with"quote', "with space", "ключ", "$", "a[0]"])
async def test_attributes_may_have_any_name(store, key):
    await store.start(new_run(attributes={key: "value", "other": 1}))
    assert await ids(store, attributes={key: "value"}) == ["w"]
    assert await ids(store, attributes={key: "else"}) == []


async def test_turn_sets_replaces_and_removes_attributes(store):
    author = await begin(store, attributes={"keep": 1, "replace": 1, "remove": 1})
    run = await author.commit(
        STARTED, attributes={"replace": 2, "remove": None, "add": [True], "absent": None}, change=WAITING
    )
    assert await store.read_attributes(run.run_id) == {"keep": 1, "replace": 2, "add": [True]}
    assert await ids(store, attributes={"replace": 1}) == []
    assert await ids(store, attributes={"remove": 1}) == []
    assert await ids(store, attributes={"keep": 1, "replace": 2}) == ["w"]


@pytest.mark.parametrize("limit", [1, 3, 7, 20])
async def test_pages_give_every_run_once(store, limit):
    for number in range(7):
        await store.start(new_run(f"{number}", created_at_us=T0))
    found, cursor = [], None
    while True:
        rows, cursor = await store.list_runs(RunFilter(), limit, cursor)
        assert len(rows) <= limit
        found += [row.workflow_id for row in rows]
        if cursor is None:
            break
    assert found == ["6", "5", "4", "3", "2", "1", "0"]


async def test_pages_respect_the_filter(store):
    for number in range(10):
        await store.start(new_run(f"{number}", workflow="refund" if number % 3 == 0 else "order"))
    where = RunFilter(workflow="refund")
    first, cursor = await store.list_runs(where, 3)
    second, end = await store.list_runs(where, 3, cursor)
    assert [row.workflow_id for row in first + second] == ["9", "6", "3", "0"]
    assert end is None


async def test_runs_that_start_between_pages_do_not_shift_them(store):
    for number in range(4):
        await store.start(new_run(f"{number}"))
    first, cursor = await store.list_runs(RunFilter(), 2)
    await store.start(new_run("new"))
    second, _ = await store.list_runs(RunFilter(), 2, cursor)
    assert [row.workflow_id for row in first + second] == ["3", "2", "1", "0"]


async def test_last_page_that_is_full_has_no_cursor(store):
    for number in range(4):
        await store.start(new_run(f"{number}"))
    _, cursor = await store.list_runs(RunFilter(), 2)
    rows, end = await store.list_runs(RunFilter(), 2, cursor)
    assert (len(rows), end) == (2, None)


@pytest.mark.parametrize("cursor", ["", "nonsense", "m", "m-1", "mé", "0x10", "💥", "'; drop table runs"])
async def test_foreign_cursor_is_refused(store, cursor):
    with pytest.raises(CallerError):
        await store.list_runs(RunFilter(), 10, cursor)
