"""Who waits for signals, and what is left of those that gave up."""

from __future__ import annotations

import asyncio

from bench_run import KernelRun, signal

from durable import Context, Signal, workflow
from durable.errors import SignalTimeoutError
from durable.handle import RunStatus

go = Signal("go", int)


async def take(ctx: Context, taken: list[tuple[str, int]], name: str) -> None:
    taken.append((name, await ctx.wait_signal(go)))


@workflow
async def looks_again_and_again(ctx: Context) -> list[tuple[str, int]]:
    taken: list[tuple[str, int]] = []
    async with asyncio.TaskGroup() as group:
        group.create_task(take(ctx, taken, "first"))
        await ctx.sleep(0)
        for round_ in range(100):
            if round_ == 50:
                group.create_task(take(ctx, taken, "second"))
            try:
                await ctx.wait_signal(go, timeout=1)
            except SignalTimeoutError:
                continue
    return taken


def test_waits_for_a_signal_that_expired_do_not_pile_up() -> None:
    run = KernelRun(looks_again_and_again)
    for _ in range(100):
        run.advance(1)
    takers = run.replayer.mailbox.waiting["go"]
    assert sum(not future.done() for future, _ in takers) == 2
    assert len(takers) <= 17
    for number in (1, 2):
        run.apply(signal("go", run.seal(number), f"m{number}"))
    assert run.replayer.status is RunStatus.COMPLETED
    assert run.envelope.open(run.history[-1].payload or "") == '[["first",1],["second",2]]'
    run.replayed()
