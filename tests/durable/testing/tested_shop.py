"""Workflows and steps that the harness's tests share."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from durable import (
    CompleteLater,
    Context,
    Query,
    RetryPolicy,
    Signal,
    StepInfo,
    Update,
    heartbeat,
    step,
    step_info,
    workflow,
)

go = Signal("go", bool)
total = Query("total", int)
add = Update("add", int, returns=int)


class Declined(Exception):
    """A card was refused."""


@step
async def fetch(name: str) -> str:
    return f"fetched {name}"


@step
def compute(number: int) -> int:
    return number * 2


@step
async def undo(receipt: str) -> None: ...


@step(compensate=undo)
async def charge(name: str) -> str:
    return f"receipt {name}"


@step(retry=RetryPolicy(max_attempts=60, initial_interval=60, backoff=1.0))
async def flaky() -> int:
    return 1


@step(timeout=30)
async def slow() -> str:
    await asyncio.Event().wait()
    return "never"


@step(heartbeat_timeout=10, retry=RetryPolicy(max_attempts=2, initial_interval=1))
async def silent() -> str:
    heartbeat({"attempt": step_info().attempt})
    await asyncio.Event().wait()
    return "never"


@step(delivery="at_most_once")
async def pay() -> str:
    return "paid"


@step(transactional=True)
def book() -> int:
    return step_info().connection.execute("SELECT 1").fetchone()[0]


@step(timeout=timedelta(days=1))
async def by_hand() -> str:
    tokens.append(step_info().token)
    raise CompleteLater


tokens: list[str] = []


@step
async def inform() -> list[str]:
    info: StepInfo = step_info()
    return [info.workflow, info.step, str(info.attempt), info.workflow_id]


@workflow
async def month(ctx: Context) -> int:
    await ctx.sleep(timedelta(days=30))
    return await ctx.step(flaky)


@workflow
async def plain(ctx: Context, name: str) -> str:
    return await ctx.step(fetch, name)


@workflow
async def both(ctx: Context) -> list[int | str]:
    return await asyncio.gather(ctx.step(compute, 4), ctx.step(fetch, "a"))


@workflow(messages=[go, total, add])
async def listens(ctx: Context) -> int:
    sum_ = 0

    @ctx.on(total)
    def tell() -> int:
        return sum_

    @ctx.on(add)
    async def take(number: int) -> int:
        nonlocal sum_
        await ctx.sleep(1)
        sum_ += number
        return sum_

    @take.validator
    def check(number: int) -> None:
        if number < 0:
            raise ValueError("negative")

    await ctx.wait_signal(go)
    ctx.publish("total", sum_)
    ctx.stream("log").write("one")
    ctx.stream("log").write("two")
    ctx.set_attributes(total=sum_)
    ctx.log.info("total is %d", sum_)
    return sum_


@workflow
async def asks(ctx: Context) -> list[str]:
    name = await ctx.ask_user("your name?", str, key="name")
    decision = await ctx.ask_approval("sure?", timeout=3600)
    return [name, decision.by, decision.comment]


@workflow
async def pays_and_fails(ctx: Context) -> None:
    await ctx.step(charge, "a")
    await ctx.step(charge, "b")
    raise Declined("4000")


@workflow
async def parent(ctx: Context, name: str) -> str:
    return await ctx.child_workflow(plain.options(id=f"child-{name}"), name)


@workflow
async def counts_down(ctx: Context, number: int) -> str:
    if number:
        await ctx.sleep(1)
        ctx.continue_as_new(number - 1)
    return "done"


@workflow
async def runs(ctx: Context, name: str) -> object:
    """Any one step by its name."""
    return await ctx.step({"slow": slow, "silent": silent, "pay": pay, "book": book, "by_hand": by_hand}[name])


@workflow
async def sends(ctx: Context, target: str) -> None:
    await ctx.workflow(target).signal(go, True)
