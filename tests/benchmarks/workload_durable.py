"""The workload on durable."""

import asyncio
import json
import sys
from time import perf_counter

from durable import Context, step, workflow
from runtime import Runtime

RUNS, STEPS, SEQUENTIAL, STARTS = 100, 10, 200, 500


@step
async def add(left: int, right: int) -> int:
    return left + right


@workflow
async def total(ctx: Context, count: int) -> int:
    result = 0
    for index in range(count):
        result = await ctx.step(add, result, index)
    return result


async def main(path: str) -> None:
    figures = {}
    async with Runtime(f"sqlite:///{path}", workflows=[total]) as runtime:
        await (await runtime.start(total, STEPS)).result()
        began = perf_counter()
        handles = await asyncio.gather(*(runtime.start(total, STEPS) for _ in range(RUNS)))
        await asyncio.gather(*(handle.result() for handle in handles))
        figures["steps/s, 100 runs at once"] = RUNS * STEPS / (perf_counter() - began)
        began = perf_counter()
        await (await runtime.start(total, SEQUENTIAL)).result()
        figures["steps/s, one after another"] = SEQUENTIAL / (perf_counter() - began)
        began = perf_counter()
        handles = await asyncio.gather(*(runtime.start(total, 1) for _ in range(STARTS)))
        figures["starts/s, 500 callers"] = STARTS / (perf_counter() - began)
        await asyncio.gather(*(handle.result() for handle in handles))
    print(json.dumps(figures))


asyncio.run(main(sys.argv[1]))
