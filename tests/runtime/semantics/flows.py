"""Workflows that run in processes of their own, which tests stop and kill."""

from __future__ import annotations

import asyncio
import os
import threading
from pathlib import Path

from durable import Context, Signal, step, workflow

gate: asyncio.Event | None = None
"""In a process that a test holds: opened by the test. Elsewhere None, and nothing waits."""

never = threading.Lock()
never.acquire()

go = Signal("go", int)


def note(ledger: str, line: str) -> None:
    """Append a line to a file; one write, so lines of several processes do not mix."""
    with Path(ledger).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


async def hold(place: str) -> None:
    """Tell the test that this place is reached, and wait there for it."""
    if gate is not None:
        print(f"holding in {place}", flush=True)
        await gate.wait()


@step
async def say(place: str, hold_in: str) -> str:
    if place == hold_in:
        await hold(place)
    return f"the {place}"


@step
async def note_beginning(ledger: str) -> None:
    note(ledger, "child-begins")


@workflow
async def orphan_child(ctx: Context, ledger: str, hold_in: str) -> str:
    await ctx.step(note_beginning, ledger)
    return await ctx.step(say, "child", hold_in)


@workflow
async def orphan_parent(ctx: Context, ledger: str, hold_in: str) -> list[str]:
    child = await ctx.start_child(orphan_child, ledger, hold_in)
    said = await ctx.step(say, "parent", hold_in)
    return [await child, said]


@step
async def held_step(ledger: str) -> int:
    await hold("step")
    note(ledger, f"done by {os.getpid()}")
    return os.getpid()


@workflow
async def guarded(ctx: Context, ledger: str) -> int:
    return await ctx.step(held_step, ledger)


@step
async def whoami() -> int:
    return os.getpid()


@workflow
async def where(ctx: Context) -> int:
    return await ctx.step(whoami)


@step
async def count_once(ledger: str, run: str, number: int) -> int:
    note(ledger, f"{run}/{number}")
    return number


@workflow
async def shared(ctx: Context, ledger: str) -> int:
    total = 0
    for number in range(3):
        total += await ctx.step(count_once, ledger, ctx.info.workflow_id, number)
        total += await ctx.wait_signal(go)
    return total


DEATH = 7
"""Exit status of a process that a poisonous workflow ends."""


@step
async def swallow(number: int) -> int:
    return number


@workflow
async def poison(ctx: Context, fatal_turn: int) -> int:
    for number in range(fatal_turn):
        await ctx.step(swallow, number)
    if fatal_turn:
        await ctx.wait_signal(go)
    with ctx.unguarded():
        os._exit(DEATH)
    return 0


@workflow
async def bystander(ctx: Context, number: int) -> int:
    return await ctx.step(swallow, number)


@workflow
async def stalls(ctx: Context) -> str:
    """In a held process: a call into C that does not come back."""
    await ctx.step(swallow, 0)
    if gate is not None:
        never.acquire()
    return "went on"


WORKFLOWS = (orphan_child, orphan_parent, guarded, where, shared, poison, bystander, stalls)
