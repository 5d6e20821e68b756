"""The sticky cache: bounded, least recently used first out, and never with a replayer that stands elsewhere."""

from __future__ import annotations

from typing import Any, cast

import pytest

from durable import Context, Signal, workflow
from runtime import Runtime
from runtime.worker.cache import StickyCache

go = Signal("go", int)


class Kept:
    """A replayer, as far as the cache looks at it."""

    def __init__(self, seq: int = 1) -> None:
        self.recorder = type("Place", (), {"seq": seq})
        self.evictions = 0

    def evict(self) -> int:
        self.evictions += 1
        return 0


def test_least_recently_used_goes_first() -> None:
    cache = StickyCache(2)
    kept = {name: Kept() for name in "abc"}
    for name in "ab":
        cache.put(name, cast("Any", kept[name]))
    assert cache.take("a", 1) is kept["a"]
    cache.put("a", cast("Any", kept["a"]))
    cache.put("c", cast("Any", kept["c"]))
    assert len(cache) == 2
    assert [kept[name].evictions for name in "abc"] == [0, 1, 0]
    assert (cache.take("b", 1), cache.hits, cache.misses) == (None, 1, 1)


def test_replayer_that_stands_elsewhere_is_not_handed_out() -> None:
    cache = StickyCache(2)
    cache.put("a", cast("Any", kept := Kept(seq=3)))
    assert cache.take("a", 4) is None
    assert (kept.evictions, len(cache), cache.misses) == (1, 0, 1)


@workflow(messages=[go])
async def adds(ctx: Context) -> int:
    return await ctx.wait_signal(go) + await ctx.wait_signal(go)


@pytest.mark.anyio
async def test_runs_beyond_the_capacity_go_on_from_their_history() -> None:
    async with Runtime("memory://", workflows=[adds], cache_size=2) as runtime:
        runs = [await runtime.start(adds) for _ in range(5)]
        for value in (1, 2):
            for run in runs:
                await run.until_waiting("go", timeout=30)
            engine = runtime.worker.engine
            assert engine is not None
            assert len(engine.cache) <= 2
            for run in runs:
                await run.signal(go, value)
        assert [await run.result(timeout=30) for run in runs] == [3] * 5
