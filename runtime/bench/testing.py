"""The harness: how many unit tests a second, of a workflow that sleeps a month and retries for an hour."""

from __future__ import annotations

from datetime import timedelta
from time import perf_counter
from typing import Final

from durable import Context, RetryPolicy, step, workflow
from durable.testing import WorkflowEnvironment
from runtime.bench.measure import Row

TESTS = 200

_RETRIES: Final = 60


@step(retry=RetryPolicy(max_attempts=None, initial_interval=60, backoff=1.0))
async def unreliable() -> int:
    """Stubbed."""
    return 0


@workflow
async def patient(ctx: Context) -> int:
    """Sleeps 30 days, then retries for an hour."""
    await ctx.sleep(timedelta(days=30))
    return await ctx.step(unreliable)


async def measure_tests() -> Row:
    """One environment a test: start, skip the time, retry, replay strictly."""
    began = perf_counter()
    for _ in range(TESTS):
        env = WorkflowEnvironment()
        env.stub(unreliable, sequence=[*[ConnectionError("down")] * _RETRIES, 1])
        assert await env.execute(patient) == 1
    seconds = perf_counter() - began
    return Row("tests/s in virtual time: a month of sleep, an hour of retries", TESTS / seconds, "tests/s", "200")
