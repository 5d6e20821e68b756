"""Calls that a type checker must refuse, one in every line that is marked."""

# pyright: strict

from durable import Context, Query, Signal, Update, step, workflow
from runtime import Runtime, sync

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
    await ctx.start_child(child, 3)  # refused: argument type
    fetch.options(timeout="soon")  # refused: type of an option
    fetch.options(speed=2)  # refused: unknown option
    child.options(on_parent_close="forget")  # refused: value of an option
    child.bind(3)  # refused: argument type
    flag: str = await ctx.wait_signal(pause)  # refused: result type
    ctx.set_attributes(items=[1])  # refused: type of an attribute
    handle = await ctx.start_child(child, "x")
    await handle.signal(pause, 3)  # refused: value type
    text: str = await ctx.step(fetch, 1)  # refused: result type
    answer: int = await ctx.ask_user("who?", str)  # refused: answer type
    ctx.compensate(fetch, "one")  # refused: argument type
    return answer + len(text) + len(flag)


async def outside() -> None:
    async with Runtime("memory://", workflows=[parent]) as runtime:
        await runtime.start(parent, 1)  # refused: argument type
        await runtime.start(parent.options(id="p"), 1)  # refused: argument type
        run = await runtime.start(parent, "x")
        text: str = await run.result()  # refused: result type
        await run.signal(pause, 3)  # refused: value type
        await run.update(add_item, 3)  # refused: value type
        count: str = await run.query(progress)  # refused: result type
        print(text, count)
        await runtime.count(state="failed")  # refused: unknown condition
    Runtime("memory://", workers=3)  # refused: unknown option
    Runtime("memory://", lease_seconds="long")  # refused: type of an option


def blocking() -> None:
    sync.Client("memory://", speed=1)  # refused: unknown option
    with sync.Client("memory://") as client:
        client.start(parent, 1)  # refused: argument type
        client.start(parent)  # refused: missing argument
        client.stop()  # refused: no such method
        client.list(status=3)  # refused: type of a condition
        client.count(state="failed")  # refused: unknown condition
        run = client.start(parent, "x")
        run.nonexistent()  # refused: no such method
        text: str = run.result()  # refused: result type
        run.result(timeout="long")  # refused: argument type
        run.signal(pause, 3)  # refused: value type
        run.update(add_item, 3)  # refused: value type
        count: str = run.query(progress)  # refused: result type
        client.step("t").finish()  # refused: no such method
        print(text, count)
