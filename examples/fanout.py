"""Fan-out with anyio: at most four pages at once, and none may take longer than five seconds.

durable run examples/fanout.py --input pages=12
"""

import anyio

from durable import Context, step, workflow


@step
async def fetch(page: int) -> int:
    await anyio.sleep(0.05)
    return page * page


@workflow
async def crawl(ctx: Context, pages: int = 12) -> int:
    results: dict[int, int] = {}
    limit = anyio.Semaphore(4)

    async def one(page: int) -> None:
        async with limit:
            with anyio.move_on_after(5):
                results[page] = await ctx.step(fetch, page)

    async with anyio.create_task_group() as group:
        for page in range(pages):
            group.start_soon(one, page)
    return sum(results.values())
