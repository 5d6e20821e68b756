"""Shapes that need nobody: steps in every delivery, timers, failures, undoing, output."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import anyio

from crash.ledger import effect
from crash.steps import act, refuse, reserve
from durable import (
    Context,
    RetryAfter,
    RetryPolicy,
    StepInDoubtError,
    StepTimeoutError,
    heartbeat,
    step,
    step_info,
    workflow,
)

QUICK = RetryPolicy(max_attempts=5, initial_interval=0.002, backoff=1.0, max_interval=1)


@workflow
async def sequential(ctx: Context, count: int) -> list[str]:
    """Steps one after the other."""
    return [await ctx.step(act, f"step {number}") for number in range(count)]


@workflow
async def parallel(ctx: Context) -> list[Any]:
    """Steps side by side: gather, both kinds of task groups, and a group that a failure ends."""
    seen: list[Any] = [await asyncio.gather(*(ctx.step(act, f"gather {n}") for n in range(3)))]
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.step(act, f"task {n}")) for n in range(2)]
    seen.append([task.result() for task in tasks])
    async with anyio.create_task_group() as scope:
        for number in range(2):
            scope.start_soon(ctx.step(act, f"scope {number}"))
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(ctx.step(refuse, "refused"))
            group.create_task(ctx.sleep(3600))
    except* ValueError as failures:
        seen.append([str(error) for error in failures.exceptions])
    return seen


@step(retry=QUICK)
async def stutter(label: str, failures: int) -> int:
    """Fails at first; its attempts are counted across crashes."""
    attempt = step_info().attempt
    effect(f"{label} {attempt}")
    if attempt <= failures:
        if attempt == 2:
            raise RetryAfter(0.003, "later")
        raise OSError(label)
    return attempt


@workflow
async def retrying(ctx: Context) -> list[Any]:
    """Steps that fail before they succeed, and one that never does."""
    seen: list[Any] = [await ctx.step(stutter, "thrice", 3)]
    try:
        await ctx.step(stutter.options(retry=RetryPolicy(max_attempts=2, initial_interval=0)), "never", 9)
    except RetryAfter as error:
        seen.append(str(error))
    return [*seen, await ctx.step(stutter, "once", 1)]


@step
def in_thread(label: str, count: int) -> int:
    """A step that is no coroutine."""
    effect(label)
    for number in range(count):
        heartbeat(number)
    return count


@step
async def endless() -> None:
    """Only a limit ends it."""
    await asyncio.Event().wait()


@step(timeout=0.02)
async def endless_but_limited() -> None:
    """Its own limit ends it."""
    await asyncio.Event().wait()


@workflow
async def limited(ctx: Context) -> list[Any]:
    """A thread with heartbeats, a step that runs into its limit, and one that the workflow loses patience with."""
    seen: list[Any] = [await ctx.step(in_thread, "thread", 3)]
    try:
        await ctx.step(endless_but_limited)
    except StepTimeoutError:
        seen.append("timed out")
    try:
        async with asyncio.timeout(0.02):
            await ctx.step(endless)
    except TimeoutError:
        seen.append("lost patience")
    return [*seen, await ctx.step(act, "after")]


@workflow
async def timers(ctx: Context) -> list[str]:
    """Timers that fire, timers that are taken back, and steps between them."""
    began = ctx.now()
    await ctx.sleep(0.01)
    seen = [await ctx.step(act, "after a sleep")]
    await asyncio.sleep(0.01)
    async with asyncio.timeout(3600):
        seen.append(await ctx.step(act, "within its limit"))
    with anyio.move_on_after(0.01):
        await ctx.sleep(timedelta(days=30))
    await ctx.sleep_until(ctx.now() + timedelta(milliseconds=5))
    slept = ctx.now() - began
    return [*seen, "long enough" if slept >= timedelta(milliseconds=35) else f"only {slept}"]


@workflow(timeout=1)
async def overdue(ctx: Context) -> None:
    """A run that its own timeout ends, and that is rolled back."""
    await ctx.step(reserve, "room")
    try:
        await ctx.sleep(3600)
    finally:
        await ctx.step(act, "tidy up")


@step(delivery="at_most_once")
async def pay(label: str) -> str:
    """Must never be done twice."""
    effect(label)
    return "paid"


@workflow
async def at_most_once(ctx: Context) -> list[str]:
    """Payments; what became of one that a crash interrupted is unknown, and the workflow is told so."""
    seen = []
    for number in range(3):
        try:
            seen.append(await ctx.step(pay, f"invoice {number}"))
        except StepInDoubtError:
            seen.append("in doubt")
        await ctx.step(act, f"book {number}")
    return seen


@step(transactional=True)
def transfer(amount: int) -> int:
    """Commits together with its completion."""
    connection = step_info().connection
    connection.execute("CREATE TABLE IF NOT EXISTS accounts (number INTEGER PRIMARY KEY, amount INTEGER)")
    connection.execute("INSERT INTO accounts (amount) VALUES (?)", (amount,))
    (balance,) = connection.execute("SELECT sum(amount) FROM accounts").fetchone()
    return int(balance)


@workflow
async def transactional(ctx: Context) -> list[int]:
    """Writes into the store's own database; each counts exactly once."""
    seen = [await ctx.step(transfer, 10)]
    await ctx.step(act, "between")
    return [*seen, await ctx.step(transfer, 20), await ctx.step(transfer, 30)]


@workflow
async def rolled_back(ctx: Context) -> None:
    """A saga within, undone on its own, and a failure that undoes the rest."""
    await ctx.step(reserve, "flight")
    try:
        async with ctx.saga():
            await ctx.step(reserve, "hotel")
            await ctx.step(refuse, "no parking")
    except ValueError:
        await ctx.step(reserve, "train")
    ctx.compensate(act, "say sorry")
    await ctx.step(refuse, "no tickets")


@step
async def enlarge(text: str) -> str:
    """Returns what is kept apart from history."""
    effect(f"enlarge {text}")
    return text * 50_000


@workflow
async def outspoken(ctx: Context) -> int:
    """Output that others read: attributes, published values, a stream, log lines, large payloads."""
    length = 0
    for word in ("a", "b", "c"):
        ctx.set_attributes(word=word)
        ctx.stream("words").write(word)
        ctx.log.info("enlarging %s", word)
        length += len(await ctx.step(enlarge, word))
        ctx.publish("length", length)
    await ctx.step(enlarge, "d" * 5)
    return length


@step(queue="elsewhere", retry=QUICK)
async def far_away(label: str, failures: int) -> str:
    """Run by another worker."""
    attempt = step_info().attempt
    effect(f"{label} {attempt}")
    if attempt <= failures:
        raise OSError(label)
    return label


@step(queue="elsewhere", delivery="at_most_once")
async def pay_far_away(label: str) -> str:
    """Run by another worker, never twice."""
    effect(label)
    return "paid"


@workflow
async def routed(ctx: Context) -> list[str]:
    """Steps on a queue that another worker serves."""
    seen = [await ctx.step(far_away, "routed", 0), await ctx.step(far_away, "routed and failing", 1)]
    try:
        seen.append(await ctx.step(pay_far_away, "far invoice"))
    except StepInDoubtError:
        seen.append("in doubt")
    return [*seen, await ctx.step(act, "here again")]
