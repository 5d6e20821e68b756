"""Histories of many runs with one read."""

import pytest

from conformance.build import COMPLETED, STARTED, begin, begin_closed, begin_waiting, ended, new_run

pytestmark = pytest.mark.anyio


async def test_histories_come_in_the_order_of_the_ids(store):
    runs = [(await begin_closed(store, f"w{number}")).run for number in range(3)]
    ids = [run.run_id for run in reversed(runs)]
    found = await store.read_histories(ids)
    assert found == [await store.read_history(run_id) for run_id in ids]
    assert [[event.seq for event in history] for history in found] == [[1, 2]] * 3


async def test_history_of_a_run_without_events_or_of_an_unknown_run_is_empty(store):
    pending = (await store.start(new_run("pending"))).run
    waiting = (await begin_waiting(store, "waiting")).run
    found = await store.read_histories([pending.run_id, "unknown", waiting.run_id])
    assert [len(history) for history in found] == [0, 0, 1]
    assert await store.read_histories([]) == []


async def test_run_that_is_asked_for_twice_is_there_twice(store):
    run_id = (await begin_closed(store)).run.run_id
    first, second = await store.read_histories([run_id, run_id])
    assert first == second != []


async def test_more_runs_than_one_statement_takes(store):
    authors = [await begin(store, f"w{number}") for number in range(200)]
    for author in authors[::2]:
        await author.commit(STARTED, COMPLETED, consumed=author.row_ids, change=ended())
    found = await store.read_histories([author.run.run_id for author in authors])
    assert [len(history) for history in found] == [2, 0] * 100
