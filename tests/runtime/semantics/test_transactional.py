"""Rule D4: a transactional step's writes and its completion are one transaction."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from typing import Any

import pytest

from durable import Context, RetryPolicy, StepTimeoutError, step, step_info, workflow
from durable.errors import RunFailedError
from runtime import Runtime

pytestmark = pytest.mark.anyio


@step(transactional=True, retry=RetryPolicy(max_attempts=3, initial_interval=0.001))
def deposit(amount: int, fail_first: bool) -> int:
    info = step_info()
    info.connection.execute("CREATE TABLE IF NOT EXISTS account (key TEXT, amount INTEGER)")
    info.connection.execute("INSERT INTO account VALUES (?, ?)", (info.idempotency_key, amount))
    if fail_first and info.attempt == 1:
        raise ConnectionError("after the write")
    return amount


@step(transactional=True)
async def deposit_async(amount: int) -> int:
    step_info().connection.execute("INSERT INTO account VALUES ('async', ?)", (amount,))
    return amount


@step(transactional=True, timeout=0.05)
def deposit_for_ever() -> None:
    connection = step_info().connection
    connection.execute("INSERT INTO account VALUES ('never', 1)")
    connection.execute(
        "WITH RECURSIVE n (x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT max(x) FROM n"
    ).fetchone()


@workflow
async def deposits(ctx: Context, fail_first: bool) -> int:
    total = await ctx.step(deposit, 10, fail_first)
    total += await ctx.step(deposit_async, 5)
    return total


@workflow
async def times_out(ctx: Context) -> str:
    await ctx.step(deposit, 1, False)
    try:
        await ctx.step(deposit_for_ever)
    except StepTimeoutError:
        return "timed out"
    return "not reached"


def amounts(url: str) -> list[int]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection:
        return [amount for (amount,) in connection.execute("SELECT amount FROM account ORDER BY amount")]


@pytest.mark.parametrize("fail_first", [False, True])
async def test_writes_commit_once_with_the_completion(open_runtime, url, fail_first):
    async with open_runtime(deposits) as rt:
        assert await (await rt.start(deposits, fail_first)).result(timeout=30) == 15
    assert amounts(url) == [5, 10]


async def test_many_transactional_steps_at_once(open_runtime, url):
    async with open_runtime(deposits) as rt:
        runs = await asyncio.gather(*(rt.start(deposits, False) for _ in range(20)))
        results: list[Any] = await asyncio.gather(*(run.result(timeout=60) for run in runs))
    assert results == [15] * 20
    assert amounts(url) == [5] * 20 + [10] * 20


async def test_expired_transaction_writes_nothing(open_runtime, url):
    async with open_runtime(times_out) as rt:
        assert await (await rt.start(times_out)).result(timeout=30) == "timed out"
    assert amounts(url) == [1]


async def test_store_without_transactions_says_so():
    async with Runtime("memory://", workflows=[deposits]) as rt:
        with pytest.raises(RunFailedError, match="use a SQLite store"):
            await (await rt.start(deposits, False)).result(timeout=30)
