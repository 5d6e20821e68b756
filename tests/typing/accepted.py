"""Calls that a type checker must accept, with the types that it must infer."""

# pyright: strict

import asyncio
from typing import Literal, assert_type

import anyio

from durable import Context, Decision, Query, Signal, Update, step, workflow
from runtime import Client, RunHandle, RunSummary, Runtime, sync

pause = Signal("pause", bool)
stop = Signal("stop")
progress = Query("progress", int)
add_item = Update("add_item", str, returns=int)


@step
async def fetch(page: int, mode: str = "fast") -> float:
    return page / 2


@step(timeout=3)
def label(page: int) -> str:
    return str(page)


async def plain(page: int) -> bytes:
    return bytes(page)


@workflow
async def child(ctx: Context, name: str) -> int:
    return len(name)


@workflow(version="1", messages=[pause, stop, progress, add_item])
async def parent(ctx: Context, name: str) -> int:
    assert_type(await ctx.step(fetch, 1), float)
    assert_type(await ctx.step(fetch.options(timeout=4), 1, mode="slow"), float)
    assert_type(await ctx.step(label, 1), str)
    assert_type(await ctx.step(plain, 1), bytes)
    assert_type(await asyncio.gather(ctx.step(fetch, 1), ctx.step(label, 1)), tuple[float, str])
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(ctx.step(fetch, 1))
    assert_type(task.result(), float)
    async with anyio.create_task_group() as group:
        group.start_soon(ctx.step(fetch, 1))
    assert_type(await ctx.child_workflow(child, "x"), int)
    handle = await ctx.start_child(child.options(id="c"), "x")
    await handle.signal(pause, True)
    await handle.signal(stop)
    handle.cancel()
    assert_type(await handle.cancel("not needed"), None)
    assert_type(await ctx.workflow("c").cancel("not needed"), None)
    assert_type(await handle, int)
    assert_type(await ctx.wait_signal(pause), bool)
    async for value in ctx.signals(pause):
        assert_type(value, bool)
    assert_type(await ctx.ask_approval("sure?"), Decision)
    assert_type(await ctx.ask_user("who?"), str)
    assert_type(await ctx.ask_user("which?", Literal["a", "b"]), Literal["a", "b"])
    assert_type(await ctx.ask_user("how many?", int | None), int | None)
    ctx.compensate(plain, 1)
    return 1


async def outside() -> None:
    assert_type(await fetch(1), float)
    assert_type(label(1), str)
    async with Runtime("memory://", workflows=[parent]) as runtime:
        run = await runtime.start(parent.options(id="p"), "x")
        assert_type(run, RunHandle[int])
        assert_type(await run.result(), int)
        assert_type(await run.query(progress), int)
        assert_type(await run.update(add_item, "x"), int)
        await run.signal(pause, True, message_id="m")
        await run.signal(stop)
        assert_type(await runtime.start(parent.bind("x"), with_signal=(pause, True)), RunHandle[int])
    async with Client("memory://") as client:
        await client.start("parent", "x", anything=1)
        assert_type(await client.count(status="failed", workflow="parent"), int)
    Runtime("memory://", lease_seconds=3, max_threads=4)


def blocking() -> None:
    with sync.Client("memory://", actor="user:alice") as client:
        assert_type(client.actor, str)
        run = client.start(parent.options(id="p"), "x")
        assert_type(run, sync.RunHandle[int])
        assert_type(run.result(timeout=3), int)
        assert_type(run.retry().result(), int)
        assert_type(run.query(progress), int)
        assert_type(run.update(add_item, "x"), int)
        run.signal(pause, True, message_id="m")
        run.signal(stop)
        assert_type(client.start(parent.bind("x"), with_signal=(pause, True)), sync.RunHandle[int])
        client.start(client.workflow("parent", id="p"), "x", anything=1)
        assert_type(list(client.list(status="waiting")), list[RunSummary])
        assert_type(client.count(status=["failed", "stuck"]), int)
        assert_type(client.step("t").heartbeat(), bool)
