"""Calls that a type checker must refuse, one in every line that is marked."""

from durable import Context, Query, Signal, Update, step, workflow
from runtime import Runtime

pause = Signal("pause", bool)
progress = Query("progress", int)
add_item = Update("add_item", str, returns=int)


@step
async def fetch(page: int, mode: str = "fast") -> float:
    return page / 2


@workflow
async def child(ctx: Context, name: str) -> int:
    return len(name)


@workflow
async def parent(ctx: Context, name: str) -> int:
    await ctx.step(fetch, "one")  # refused: argument type
    await ctx.step(fetch)  # refused: missing argument
    await ctx.step(fetch, 1, speed=2)  # refused: unknown keyword
    await ctx.child_workflow(child, 3)  # refused: argument type
    handle = await ctx.start_child(child, "x")
    await handle.signal(pause, 3)  # refused: value type
    text: str = await ctx.step(fetch, 1)  # refused: result type
    answer: int = await ctx.ask_user("who?", str)  # refused: answer type
    ctx.compensate(fetch, "one")  # refused: argument type
    return answer + len(text)


async def outside() -> None:
    async with Runtime("memory://", workflows=[parent]) as runtime:
        await runtime.start(parent, 1)  # refused: argument type
        run = await runtime.start(parent, "x")
        text: str = await run.result()  # refused: result type
        await run.signal(pause, 3)  # refused: value type
        await run.update(add_item, 3)  # refused: value type
        count: str = await run.query(progress)  # refused: result type
        print(text, count)
