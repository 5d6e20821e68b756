"""Opening, closing, workers and definitions."""

import pytest

from conformance.build import (
    COMPLETED,
    T0,
    begin,
    begin_waiting,
    claim,
    ended,
    get,
    message,
    new_run,
    worker_row,
)

pytestmark = pytest.mark.anyio


async def test_open_and_close_are_idempotent(connect):
    store = connect()
    await store.open()
    await store.open()
    await store.start(new_run())
    await store.close()
    await store.close()


async def test_url_names_a_technology(store):
    assert store.url.partition("://")[0] in {"memory", "sqlite", "postgresql"}


async def test_everything_acknowledged_is_there_after_reopening(connect):
    first = connect()
    await first.open()
    author = await begin(first, attributes={"region": "eu"})
    await author.commit(COMPLETED, consumed=author.row_ids, change=ended(), published={"k": '"v"'})
    waiting = await begin_waiting(first, "other")
    await first.send(message("other"))
    history, inbox = await first.read_history(author.run.run_id), await first.read_inbox(waiting.run.run_id)
    runs = [await get(first), await get(first, "other")]
    await first.close()

    second = connect()
    await second.open()
    assert [await get(second), await get(second, "other")] == runs
    assert await second.read_history(author.run.run_id) == history
    assert await second.read_inbox(waiting.run.run_id) == inbox
    assert await second.read_attributes(author.run.run_id) == {"region": "eu"}
    assert await second.read_published(author.run.run_id) == {"k": '"v"'}
    await second.close()


async def test_close_finishes_submitted_commits(connect):
    first = connect()
    await first.open()
    author = await begin(first)
    outcomes = []
    first.commit([author.turn(COMPLETED, consumed=author.row_ids, change=ended())], outcomes.extend)
    await first.close()
    assert outcomes == [None]

    second = connect()
    await second.open()
    assert (await get(second)).seq == 1
    await second.close()


async def test_two_clients_see_the_same_runs(connect):
    first, second = connect(), connect()
    await first.open()
    await second.open()
    run = (await first.start(new_run())).run
    assert await second.get_run("w") == run
    assert [taken.run.run_id for taken in await claim(second, "b")] == [run.run_id]
    assert await claim(first, "a") == []
    await first.close()
    await second.close()


async def test_workers_lists_those_that_joined_and_have_not_left(store):
    assert await store.workers() == []
    first = await store.join(worker_row("a"), 30)
    second = await store.join(worker_row("b", queues=("default", "gpu")), 30)
    first_row, second_row = sorted(await store.workers(), key=lambda row: row.worker_id)
    assert (first_row.worker_id, first_row.host, first_row.pid, first_row.started_at_us) == (
        "a",
        "host",
        1,
        T0,
    )
    assert (list(second_row.queues), list(second_row.workflows)) == (["default", "gpu"], ["order"])
    await first.end()
    assert [row.worker_id for row in await store.workers()] == ["b"]
    await second.end()
    assert await store.workers() == []


async def test_lease_is_fresh_until_it_ends(store):
    lease = await store.join(worker_row("a"), 30)
    lease.loop_alive()
    assert lease.is_fresh()
    await lease.end()
    await lease.end()
    assert not lease.is_fresh()


async def test_definitions_are_kept_by_name_and_the_newest_counts(store):
    assert await store.read_definition("order") is None
    await store.publish_definitions({"order": '{"v":1}', "refund": '{"v":1}'})
    await store.publish_definitions({"order": '{"v":2}'})
    assert await store.read_definition("order") == '{"v":2}'
    assert await store.read_definition("refund") == '{"v":1}'


async def test_what_is_unknown_reads_as_nothing(store):
    assert await store.get_run("nobody") is None
    assert await store.get_run_by_id("nobody") is None
    assert await store.successor("nobody") is None
    assert await store.get_update("nobody", "u") is None
    assert await store.get_query("nobody") is None
    assert await store.read_heartbeat("nobody", 1) is None
    assert await store.read_history("nobody") == []
    assert await store.read_inbox("nobody") == []
    assert await store.read_attempts("nobody") == []
    assert await store.read_tasks("nobody") == []
    assert await store.read_stream("nobody", "s", 0, 10) == []
    assert await store.read_logs("nobody", 10) == []
    assert await store.children("nobody") == []
    assert await store.questions("nobody") == []
    assert await store.read_blobs("nobody") == {}
    assert await store.read_attributes("nobody") == {}
    assert await store.read_published("nobody") == {}
