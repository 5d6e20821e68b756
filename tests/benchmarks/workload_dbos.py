"""The workload on DBOS with its SQLite system database."""

import asyncio
import json
import sys
from time import perf_counter

from dbos import DBOS

RUNS, STEPS, SEQUENTIAL, STARTS = 100, 10, 200, 500

DBOS(config={"name": "bench", "system_database_url": f"sqlite:///{sys.argv[1]}", "log_level": "ERROR"})


@DBOS.step()
async def add(left: int, right: int) -> int:
    return left + right


@DBOS.workflow()
async def total(count: int) -> int:
    result = 0
    for index in range(count):
        result = await add(result, index)
    return result


async def main() -> None:
    figures = {}
    await (await DBOS.start_workflow_async(total, STEPS)).get_result()
    began = perf_counter()
    handles = await asyncio.gather(*(DBOS.start_workflow_async(total, STEPS) for _ in range(RUNS)))
    for handle in handles:
        await handle.get_result()
    figures["steps/s, 100 runs at once"] = RUNS * STEPS / (perf_counter() - began)
    began = perf_counter()
    await (await DBOS.start_workflow_async(total, SEQUENTIAL)).get_result()
    figures["steps/s, one after another"] = SEQUENTIAL / (perf_counter() - began)
    began = perf_counter()
    handles = await asyncio.gather(*(DBOS.start_workflow_async(total, 1) for _ in range(STARTS)))
    figures["starts/s, 500 callers"] = STARTS / (perf_counter() - began)
    for handle in handles:
        await handle.get_result()
    print(json.dumps(figures))


DBOS.launch()
asyncio.run(main())
DBOS.destroy()
