"""What is measured: small workflows whose steps do nothing, so that only the engine is seen."""

from __future__ import annotations

from durable import Context, Signal, step, workflow

go = Signal("go", int)


@step
async def add(left: int, right: int) -> int:
    """A step that costs nothing."""
    return left + right


@workflow(name="bench.steps")
async def steps(ctx: Context, count: int) -> int:
    """``count`` steps, one after the other."""
    total = 0
    for index in range(count):
        total = await ctx.step(add, total, index)
    return total


@workflow(name="bench.sleeper")
async def sleeper(ctx: Context, seconds: float) -> None:
    """Sleeps."""
    await ctx.sleep(seconds)


@workflow(name="bench.reactor", messages=[go])
async def reactor(ctx: Context, count: int) -> None:
    """Publishes a value for each of ``count`` signals."""
    for _ in range(count):
        ctx.publish("seen", await ctx.wait_signal(go))


@workflow(name="bench.nothing")
async def nothing(ctx: Context) -> None:
    """Returns."""


ALL = (steps, sleeper, reactor, nothing)
