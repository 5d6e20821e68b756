"""Generators that a run has left: their ``finally`` is run before the run ends, and what it awaits is durable."""

import asyncio
import gc

import pytest
from bench_run import KernelRun, cancel

from durable import Context, workflow
from durable.handle import RunStatus
from durable.history import EventKind, split_batches


async def lock(name: str) -> str:
    return name


async def unlock(name: str) -> str:
    return name


async def locked(ctx: Context, name: str):
    await ctx.step(lock, name)
    try:
        yield name
        yield name
    finally:
        await ctx.step(unlock, name)
        await ctx.sleep(0)
        await ctx.step(unlock, f"{name} again")


@workflow
async def leaves(ctx: Context, how: str) -> str:
    for name in "ab":
        async for _ in locked(ctx, name):
            break
    if how == "raises":
        async for _ in locked(ctx, "c"):
            raise ValueError("of the consumer")
    if how == "is cancelled":
        async for _ in locked(ctx, "c"):
            await ctx.sleep(100)
    return how


def steps(run: KernelRun) -> list[str]:
    return [event.name for event in run.history if event.kind == EventKind.STEP_SCHEDULED]


@pytest.mark.parametrize(
    ("how", "left", "status"),
    [
        ("returns", 2, RunStatus.COMPLETED),
        ("raises", 3, RunStatus.FAILED),
        ("is cancelled", 3, RunStatus.CANCELLED),
    ],
)
def test_finally_of_left_generators_is_run_before_the_run_ends(how, left, status):
    run = KernelRun(leaves, how)
    run.run_steps(lambda command: command.name)
    if how == "is cancelled":
        run.apply(cancel("enough"))
        run.run_steps(lambda command: command.name)
    assert run.replayer.status is status
    assert steps(run) == ["lock"] * left + ["unlock"] * 2 * left
    assert run.history[-1].kind in (EventKind.RUN_COMPLETED, EventKind.RUN_FAILED, EventKind.RUN_CANCELLED)
    assert run.replayer.loop.complaints == []


@pytest.mark.parametrize("how", ["returns", "raises", "is cancelled"])
def test_left_generators_replay_from_every_prefix_wherever_the_collector_runs(how):
    run = KernelRun(leaves, how)
    run.run_steps(lambda command: command.name)
    if how == "is cancelled":
        run.apply(cancel("enough"))
        run.run_steps(lambda command: command.name)
    batches = list(split_batches(run.history))
    for end in range(1, len(batches) + 1):
        prefix = [event for batch in batches[:end] for event in batch]
        gc.collect()
        replayer = run.replayed(prefix)
        gc.collect()
        assert replayer.evict() == 0


@workflow
async def hangs(ctx: Context) -> str:
    async def endless():
        try:
            yield 1
        finally:
            await ctx.sleep(1_000_000)

    for _turn in range(2):
        async for _ in endless():
            break
    return "done"


def test_finally_that_does_not_end_is_given_up_on_request_and_the_run_ends_as_it_would():
    run = KernelRun(hangs)
    assert run.replayer.status is RunStatus.RUNNING
    run.apply(cancel("enough"))
    assert run.replayer.status is RunStatus.RUNNING  # that was the newest; the other waits as well
    run.apply(cancel("enough"))
    assert run.replayer.status is RunStatus.COMPLETED
    assert run.replayed().status is RunStatus.COMPLETED


@workflow(timeout=5)
async def hangs_in_time(ctx: Context) -> str:
    async def endless():
        try:
            yield 1
        finally:
            await ctx.sleep(1_000_000)

    async for _ in endless():
        break
    return "done"


def test_finally_that_does_not_end_is_given_up_when_the_run_has_taken_too_long():
    run = KernelRun(hangs_in_time)
    run.advance(4)
    assert run.replayer.status is RunStatus.RUNNING
    run.advance(1)
    assert run.replayer.status is RunStatus.COMPLETED
    assert run.replayed().status is RunStatus.COMPLETED


@workflow
async def starts_a_task_in_the_end(ctx: Context) -> str:
    async def late():
        await ctx.sleep(100)

    async def generator():
        try:
            yield 1
        finally:
            asyncio.get_running_loop().create_task(late())
            await ctx.step(unlock, "x")

    async for _ in generator():
        break
    return "done"


def test_tasks_that_a_finally_starts_are_left_over_in_turn():
    run = KernelRun(starts_a_task_in_the_end)
    run.run_steps(lambda command: command.name)
    assert run.replayer.status is RunStatus.COMPLETED
    assert EventKind.TIMER_CANCELLED in [event.kind for event in run.history]
    assert run.replayed().status is RunStatus.COMPLETED
