"""The memory store's leases, by a clock that the test holds. All else about it is in tests/conformance."""

import pytest
from conformance.build import RUNNING, STARTED, T0, begin, get, worker_row

from runtime.store.memory import MemoryStore

pytestmark = pytest.mark.anyio


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def store(clock):
    return MemoryStore(clock)


async def test_lease_lapses_when_the_loop_is_silent_for_its_length(store, clock):
    lease = await store.join(worker_row("a"), 30)
    clock.now += 29.9
    assert lease.is_fresh()
    clock.now += 0.1
    assert not lease.is_fresh()
    assert await store.workers() == []


async def test_lease_is_renewed_by_every_sign_of_the_loop(store, clock):
    lease = await store.join(worker_row("a"), 30)
    for _ in range(5):
        clock.now += 20
        assert lease.is_fresh()
        lease.loop_alive()


async def test_lease_that_lapsed_stays_so_until_the_worker_joins_again(store, clock):
    lease = await store.join(worker_row("a"), 30)
    clock.now += 30
    lease.loop_alive()
    assert not lease.is_fresh()
    assert (await store.join(worker_row("a"), 30)).is_fresh()


async def test_lease_that_ended_is_never_fresh_again(store):
    lease = await store.join(worker_row("a"), 30)
    await lease.end()
    lease.loop_alive()
    assert not lease.is_fresh()


async def test_runs_of_a_worker_past_its_lease_are_freed(store, clock):
    await store.join(worker_row("a"), 30)
    author = await begin(store, worker_id="a")
    held = await author.commit(STARTED, consumed=author.row_ids, change=RUNNING)
    clock.now += 29
    assert await store.take_over(T0) == 0
    assert await get(store) == held
    clock.now += 1
    assert await store.take_over(T0) == 1
    assert (await get(store)).owner is None
