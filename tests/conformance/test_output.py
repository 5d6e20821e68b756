"""What a run shows without being asked: published values, streams, logs."""

import pytest

from conformance.build import STARTED, begin, log
from runtime.store.row import LogRow, StreamItem

pytestmark = pytest.mark.anyio


async def test_published_values_are_kept_by_key_and_the_newest_counts(store):
    author = await begin(store)
    await author.commit(STARTED, published={"progress": '"10 %"', "größe": "1"})
    await author.commit(published={"progress": '"20 %"'})
    assert await store.read_published(author.run.run_id) == {"progress": '"20 %"', "größe": "1"}


async def test_published_values_belong_to_their_run(store):
    first, second = await begin(store, "a"), await begin(store, "b")
    await first.commit(STARTED, published={"k": "1"})
    assert await store.read_published(second.run.run_id) == {}


async def test_stream_is_read_from_a_position_on(store):
    author = await begin(store)
    run_id = author.run.run_id
    items = [StreamItem("out", position, f'"{position}"') for position in range(12)]
    await author.commit(STARTED, stream=items[:5])
    await author.commit(stream=[*items[5:], StreamItem("err", 0, '"e"')])
    assert await store.read_stream(run_id, "out", 0, 100) == items
    assert await store.read_stream(run_id, "out", 9, 2) == items[9:11]
    assert await store.read_stream(run_id, "out", 12, 5) == []
    assert await store.read_stream(run_id, "err", 0, 5) == [StreamItem("err", 0, '"e"')]
    assert await store.read_stream(run_id, "nothing", 0, 5) == []


async def test_stream_item_at_a_position_that_is_taken_replaces_it(store):
    author = await begin(store)
    await author.commit(STARTED, stream=[StreamItem("out", 0, '"a"')])
    await author.commit(stream=[StreamItem("out", 0, '"b"')])
    assert await store.read_stream(author.run.run_id, "out", 0, 5) == [StreamItem("out", 0, '"b"')]


async def test_newest_log_lines_are_read_oldest_first(store):
    author = await begin(store)
    run = author.run
    await author.commit(STARTED, logs=[log(run, "1"), log(run, "2")])
    await store.write_logs([log(run, "3"), log(run, "4")])
    assert await store.read_logs(run.run_id, 3) == [log(run, "2"), log(run, "3"), log(run, "4")]
    assert [row.message for row in await store.read_logs(run.run_id, 10)] == ["1", "2", "3", "4"]
    assert await store.read_logs(run.run_id, 0) == []


async def test_log_line_is_kept_as_it_was_written(store):
    run = (await begin(store)).run
    row = LogRow(run.run_id, 5, "warning", "step charge", 'größe "1"\nnext line')
    await store.write_logs([row])
    assert await store.read_logs(run.run_id, 1) == [row]


async def test_log_line_of_an_unknown_run_is_dropped(store):
    await store.write_logs([LogRow("nobody", 5, "info", "workflow", "hello")])
    assert await store.read_logs("nobody", 1) == []


async def test_newest_thousand_log_lines_of_a_run_are_kept(store):
    author = await begin(store)
    other = (await begin(store, "other")).run
    run = author.run
    await store.write_logs([log(other, "kept")])
    await store.write_logs([log(run, str(number)) for number in range(900)])
    await author.commit(STARTED, logs=[log(run, str(number)) for number in range(900, 1500)])
    kept = [row.message for row in await store.read_logs(run.run_id, 5000)]
    assert kept == [str(number) for number in range(500, 1500)]
    assert await store.read_logs(other.run_id, 5) == [log(other, "kept")]
