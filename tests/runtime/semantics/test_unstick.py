"""Stuck runs go on in a worker that can, and runs already (rule L9), and are not handed to and fro for ever by those that cannot."""

from __future__ import annotations

from typing import Any

import pytest

from durable import Context, Signal, step, workflow
from durable.codec import AesGcmCodec, ZlibCodec
from durable.interceptor import Interceptor, RunFailure
from runtime import Client, Worker
from semantics.waiting import until_row, until_stuck

pytestmark = pytest.mark.anyio

go = Signal("go", int)
KEY, OTHER_KEY = b"1" * 32, b"2" * 32


@step
async def one() -> int:
    return 1


@step
async def other() -> int:
    return 2


def flow(version: str, first: Any = one) -> Any:
    @workflow(name="rolls", version=version)
    async def definition(ctx: Context) -> int:
        found: int = await ctx.step(first)
        return found + await ctx.wait_signal(go)

    return definition


class Alarm(Interceptor):
    """Counts how often a run got stuck."""

    def __init__(self) -> None:
        self.rung = 0

    async def on_failed(self, failure: RunFailure) -> None:
        self.rung += 1


async def begun(client: Client, url: str, cache_size: int, **options: Any) -> Any:
    """A run of good code that waits, and its worker gone."""
    run = await client.start("rolls")
    async with Worker(url, cache_size=cache_size, workflows=[flow("good")], **options):
        await run.until_waiting("go", timeout=30)
    return run


def was_tried(times: int) -> Any:
    async def holds(row: Any) -> bool:
        return row.owner is None and len((row.code or "").split()) == times

    return holds


async def test_a_worker_that_runs_already_takes_what_other_code_made_stuck(url: str, cache_size: int) -> None:
    """Semantics 39: old code beside new in a rolling deployment: what gets stuck on the old goes on with the new, which was
    there all the time."""
    async with Client(url) as client:
        run = await begun(client, url, cache_size)
        async with Worker(url, cache_size=cache_size, workflows=[flow("bad", other)], recover=False) as old:
            old.serve(run.run_id)
            await run.signal(go, 41)
            await until_stuck(run)
            async with Worker(url, cache_size=cache_size, workflows=[flow("good")]):
                assert (await run.row()).owner == old.worker_id
                await old.stop()
                assert await run.result(timeout=30) == 42


async def test_workers_that_cannot_go_on_try_a_run_once_each(url: str, cache_size: int) -> None:
    """Semantics 39: two codes that both get stuck do not hand the run to each other for ever."""
    alarms = [Alarm(), Alarm()]
    async with Client(url) as client:
        run = await begun(client, url, cache_size)
        await run.signal(go, 41)
        async with (
            Worker(url, cache_size=cache_size, workflows=[flow("bad", other)], interceptors=alarms[:1]) as bad,
            Worker(url, cache_size=cache_size, workflows=[flow("worse", other)], interceptors=alarms[1:]) as worse,
        ):
            row = await until_row(run, was_tried(2))
            assert bad.engine is not None
            assert worse.engine is not None
            assert {bad.engine.code["rolls"], worse.engine.code["rolls"]} == set((row.code or "").split())
            assert (await bad.engine.claims.unstick(), await worse.engine.claims.unstick()) == (0, 0)
            assert await run.row() == row
        assert [alarm.rung for alarm in alarms] == [1, 1]
        async with Worker(url, cache_size=cache_size, workflows=[flow("good")]):
            assert await run.result(timeout=30) == 42


@pytest.mark.parametrize(
    ("codecs", "reason"),
    [
        ([ZlibCodec()], "needs the codec 'aes-gcm', which is not configured"),
        ([AesGcmCodec(OTHER_KEY, "two")], "was encrypted with key 'one', which is not configured"),
        ([AesGcmCodec(OTHER_KEY, "one")], "cannot be decrypted with key 'one'"),
    ],
    ids=["no codec", "no key", "another key"],
)
async def test_a_run_that_is_stuck_for_want_of_a_key_goes_on_where_it_is(
    url: str, cache_size: int, codecs: Any, reason: str
) -> None:
    """Semantics 39: a worker without the codecs or keys makes a run stuck and says so; one that has them goes on with it."""
    right = [AesGcmCodec(KEY, "one")]
    async with Client(url, codecs=right) as client:
        run = await begun(client, url, cache_size, codecs=right)
        await run.signal(go, 41)
        async with Worker(url, cache_size=cache_size, workflows=[flow("good")], codecs=codecs, recover=False) as wrong:
            wrong.serve(run.run_id)
            text = (await until_stuck(run)).reason or ""
            assert text.startswith("[DUR2005] a payload ")
            assert reason in text
            assert "--codecs" in text
            async with Worker(url, cache_size=cache_size, workflows=[flow("good")], codecs=right):
                await wrong.stop()
                assert await run.result(timeout=30) == 42
