"""A worker as a process of its own, for test_soak.py: ``python soak_worker.py URL LEDGER``. It ends with its input."""

from __future__ import annotations

import asyncio
import os
import sys

from durable import Context, Signal, StepInDoubtError, step, workflow
from runtime import Worker

go = Signal("go", int)


@step
async def add(total: int, number: int) -> int:
    """The plain step."""
    return total + number


@step
def add_in_thread(total: int, number: int) -> int:
    """The same, in a thread."""
    return total + number


@step(delivery="at_most_once")
async def pay(run: int) -> int:
    """Leaves a line in the ledger: its name is not to be found there twice."""
    descriptor = os.open(os.environ["SOAK_LEDGER"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        os.write(descriptor, f"{run}\n".encode())
    finally:
        os.close(descriptor)
    return run


@workflow
async def half(ctx: Context, number: int) -> int:
    """A child."""
    return await ctx.step(add, number, number)


@workflow(messages=[go])
async def soak(ctx: Context, number: int) -> list[int | str]:
    """A bit of everything, so that at any moment some runs are at each kind of wait."""
    total = await ctx.wait_signal(go)
    for addend in range(10):
        total = await ctx.step(add if addend % 2 else add_in_thread, total, addend)
    await ctx.sleep(0.02)
    total += sum(await asyncio.gather(ctx.child_workflow(half, number), ctx.step(add, number, 1)))
    try:
        return [total, await ctx.step(pay, number)]
    except StepInDoubtError:
        return [total, "in doubt"]


async def main() -> None:
    """Work until somebody closes standard input."""
    url, os.environ["SOAK_LEDGER"] = sys.argv[1:]
    async with Worker(url, workflows=[soak, half]):
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main())
