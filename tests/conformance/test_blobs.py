"""Large payloads, kept once by their hash."""

import pytest

from conformance.build import (
    COMPLETED,
    LATER,
    RUNNING,
    STARTED,
    Author,
    begin,
    begin_closed,
    ended,
    new_run,
)
from durable.handle import RunStatus
from durable.history import EventKind, Fact
from runtime.store.row import Claimed

pytestmark = pytest.mark.anyio


def step_with(blob):
    """A fact whose payload refers to a blob."""
    return Fact(EventKind.STEP_COMPLETED, 1, "charge", payload=f'{{"v":1,"codec":"json","blob":"{blob}"}}')


async def test_blobs_of_a_history_are_read_by_hash(store):
    author = await begin(store)
    data = bytes(range(256)) * 200
    await author.commit(STARTED, step_with("h1"), step_with("h2"), blobs={"h1": data, "h2": b""})
    assert await store.read_blobs(author.run.run_id) == {"h1": data, "h2": b""}


async def test_run_that_refers_to_no_blob_has_none(store):
    author = await begin(store)
    text = Fact(EventKind.STEP_COMPLETED, 1, payload='{"v":1,"codec":"json","data":"{\\"blob\\":\\"h1\\"}"}')
    await author.commit(STARTED, text)
    assert await store.read_blobs(author.run.run_id) == {}


async def test_runs_share_a_blob_of_the_same_hash(store):
    first, second = await begin(store, "a"), await begin(store, "b")
    await first.commit(STARTED, step_with("h"), blobs={"h": b"data"})
    await second.commit(STARTED, step_with("h"), step_with("own"), blobs={"h": b"data", "own": b"mine"})
    assert await store.read_blobs(first.run.run_id) == {"h": b"data"}
    assert await store.read_blobs(second.run.run_id) == {"h": b"data", "own": b"mine"}


async def test_run_may_refer_again_to_a_blob_that_it_brought_before(store):
    author = await begin(store)
    await author.commit(STARTED, step_with("h"), blobs={"h": b"data"})
    await author.commit(step_with("h"), blobs={"h": b"data"})
    assert await store.read_blobs(author.run.run_id) == {"h": b"data"}


async def test_retry_reads_the_blobs_of_the_history_that_it_begins_with(store):
    author = await begin(store)
    failed = await author.commit(
        STARTED,
        step_with("early"),
        step_with("late"),
        Fact(EventKind.RUN_FAILED),
        blobs={"early": b"1", "late": b"2"},
        change=ended(RunStatus.FAILED),
    )
    history = await store.read_history(failed.run_id)
    retry = new_run(history=history[:2], start=None, on_conflict="replace", first_run_id=failed.first_run_id)
    operator = Author(store, Claimed(failed, []), history[-1])
    await operator.commit(epoch=None, fence=True, new_runs=[retry], change=None)
    assert await store.read_blobs(retry.run_id) == {"early": b"1"}


async def test_purge_keeps_blobs_that_another_run_refers_to(store):
    author = await begin(store, "a")
    await author.commit(
        STARTED,
        step_with("shared"),
        step_with("own"),
        COMPLETED,
        blobs={"shared": b"1", "own": b"2"},
        change=ended(),
    )
    other = await begin(store, "b")
    await other.commit(STARTED, step_with("shared"), blobs={"shared": b"1"}, change=RUNNING)
    fork = new_run("c", history=(await store.read_history(author.run.run_id))[:3], start=None)
    await store.start(fork)
    assert await store.purge(LATER, 10) == 1
    assert await store.read_blobs(other.run.run_id) == {"shared": b"1"}
    assert await store.read_blobs(fork.run_id) == {"shared": b"1", "own": b"2"}


async def test_blob_that_was_purged_may_come_back(store):
    closed = await begin_closed(store)
    first = await begin(store, "a")
    await first.commit(STARTED, step_with("h"), COMPLETED, blobs={"h": b"data"}, change=ended())
    assert await store.purge(LATER, 10) == 2
    second = await begin(store, "a")
    await second.commit(STARTED, step_with("h"), blobs={"h": b"data"})
    assert await store.read_blobs(second.run.run_id) == {"h": b"data"}
    assert await store.read_blobs(closed.run.run_id) == {}
