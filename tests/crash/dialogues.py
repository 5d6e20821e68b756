"""Shapes that need somebody: signals, updates, people, steering, other runs; and what the client says to each."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import anyio

from crash.ledger import current_ledger, effect
from crash.shape import Talk, waits_for
from crash.steps import act, reserve
from durable import (
    ApprovalRejectedError,
    ChildCancelledError,
    ChildFailedError,
    CompleteLater,
    Context,
    Signal,
    Update,
    step,
    step_info,
    workflow,
)
from durable.errors import MessageUndeliverableError
from durable.handle import RunStatus

word = Signal("word", str)
count = Signal("count", int)
spare = Signal("spare", str)
add = Update("add", int, returns=int)


# -- messages -----------------------------------------------------------------------------------------------


@workflow(messages=[word, count])
async def signals(ctx: Context) -> list[Any]:
    """Signals that are awaited, handled, and waited for by a condition."""
    seen: list[Any] = []

    @ctx.on(count)
    async def counted(value: int) -> None:
        seen.append(await ctx.step(act, f"count {value}"))

    seen.append(await ctx.wait_signal(word))
    await ctx.step(act, f"after {seen[0]}")
    await ctx.wait_condition(lambda: len(seen) > 1, timeout=3600)
    seen.append(await ctx.wait_signal(word, timeout=3600))
    return seen


async def send_signals(talk: Talk) -> None:
    run = talk.run
    await talk.say("first", lambda: run.signal(word, "first", message_id="m1"), when=waits_for("signal 'word'"))
    await talk.say("count", lambda: run.signal(count, 1, message_id="m2"), when=waits_for("a condition"))
    await talk.say("last", lambda: run.signal(word, "last", message_id="m3"), when=waits_for("signal 'word'"))


@workflow(messages=[word, add])
async def updates(ctx: Context) -> int:
    """Updates: accepted ones run a step, one is refused and leaves no trace."""
    total = 0

    @ctx.on(add)
    async def added(value: int) -> int:
        nonlocal total
        await ctx.step(act, f"add {value}")
        total += value
        return total

    @added.validator
    def check(value: int) -> None:
        if value < 0:
            raise ValueError("only more")

    await ctx.wait_signal(word)
    return total


async def send_updates(talk: Talk) -> None:
    run = talk.run
    for value in (5, -1, 7):
        await talk.say(f"add {value}", partial(run.update, add, value, update_id=f"u{value}"))
    await talk.say("end", lambda: run.signal(word, "end", message_id="m1"))


@workflow(messages=[word, spare])
async def continued(ctx: Context, generation: int, seen: list[str]) -> list[str]:
    """Three runs, one after the other; a message that nobody reads in the first is read in the last."""
    await ctx.step(act, f"generation {generation}")
    if generation == 2:
        return [*seen, await ctx.wait_signal(spare)]
    seen.append(await ctx.wait_signal(word))
    ctx.continue_as_new(generation + 1, seen)


async def send_over(talk: Talk) -> None:
    first = talk.run.run_id
    talk.run = run = talk.client.get(talk.run.workflow_id)
    waiting = waits_for("signal 'word'")
    await talk.say("spare", lambda: run.signal(spare, "spare", message_id="m0"), when=waiting)
    await talk.say("one", lambda: run.signal(word, "one", message_id="m1"))
    await talk.say(
        "two",
        lambda: run.signal(word, "two", message_id="m2"),
        when=lambda row: row.run_id != first and waiting(row),
    )


# -- people -------------------------------------------------------------------------------------------------


@workflow
async def asking(ctx: Context) -> list[Any]:
    """Questions: approved, answered, rejected."""
    decision = await ctx.ask_approval("Go on?", key="go")
    await ctx.step(act, f"approved by {decision.by}")
    size = await ctx.ask_user("How many?", int, key="size", timeout=3600)
    try:
        await ctx.ask_approval("Really?", key="really")
    except ApprovalRejectedError as error:
        return [decision.comment, size, error.by]
    return []


async def answer_all(talk: Talk) -> None:
    run = talk.run
    await talk.say("go", lambda: run.approve(by="alice", comment="ok", key="go"), when=waits_for("'go'"))
    await talk.say("size", lambda: run.answer(7, by="bob", key="size"), when=waits_for("'size'"))
    await talk.say("really", lambda: run.reject(by="carol", key="really"), when=waits_for("'really'"))


@step
async def outside() -> int:
    """Hands itself over to somebody else."""
    effect("hand over")
    current_ledger().note("token", label="outside", token=step_info().token)
    raise CompleteLater


@workflow
async def handed_over(ctx: Context) -> int:
    """A step that the world completes."""
    result = await ctx.step(outside)
    await ctx.step(act, f"result {result}")
    return result


async def complete_outside(talk: Talk) -> None:
    def complete() -> Any:
        token = next(line["token"] for line in talk.ledger.lines() if line["kind"] == "token")
        return talk.client.step(token).complete(7)

    await talk.say("complete", complete, when=waits_for("step 'outside'"))


# -- steering -----------------------------------------------------------------------------------------------


@workflow(messages=[word])
async def cancelled(ctx: Context) -> None:
    """Cancelled while it waits; it cleans up and is rolled back."""
    await ctx.step(reserve, "seat")
    await ctx.step(reserve, "meal")
    try:
        await ctx.wait_signal(word)
    finally:
        with anyio.CancelScope(shield=True):
            await ctx.step(act, "tidy up")


async def cancel(talk: Talk) -> None:
    await talk.say("cancel", lambda: talk.run.cancel("not needed"), when=waits_for("signal 'word'"))


@workflow(messages=[word])
async def paused(ctx: Context) -> str:
    """Paused, sent a signal, resumed."""
    value = await ctx.wait_signal(word)
    return await ctx.step(act, value)


async def pause_and_resume(talk: Talk) -> None:
    run = talk.run
    await talk.say("pause", run.pause, when=waits_for("signal 'word'"))
    await talk.say(
        "word",
        lambda: run.signal(word, "held", message_id="m1"),
        when=lambda row: row.status is RunStatus.PAUSED,
    )
    await talk.say("resume", run.resume)


@workflow(messages=[word])
async def terminated(ctx: Context) -> None:
    """Ended from outside, and its children as they were told to."""
    await ctx.start_child(listener.options(id="ends too"))
    await ctx.start_child(listener.options(id="is cancelled", on_parent_close="cancel"))
    await ctx.step(reserve, "not undone")
    await ctx.wait_signal(word)


async def terminate(talk: Talk) -> None:
    for child in ("ends too", "is cancelled"):
        await talk.until_waiting(child, "signal 'word'")
    await talk.say("terminate", lambda: talk.run.terminate("enough"), when=waits_for("signal 'word'"))


@step
async def mended() -> str:
    """Fails until somebody mends what it needs."""
    effect("try")
    if not current_ledger().has("said", "mend"):
        raise OSError("broken")
    return "mended"


@workflow
async def retried(ctx: Context) -> list[str]:
    """Fails, and is run again from before the failure; what was done stays done."""
    return [await ctx.step(act, "before"), await ctx.step(mended), await ctx.step(act, "after")]


async def mend_and_retry(talk: Talk) -> None:
    async def mend() -> None:
        return

    async def retry() -> None:
        runs = [summary.run_id async for summary in talk.client.list(workflow_id=talk.run.workflow_id)]
        if len(runs) == 1:
            await talk.run.retry()

    await talk.say("mend", mend, when=lambda row: row.status is RunStatus.FAILED)
    await talk.say("retry", retry)


# -- other runs ---------------------------------------------------------------------------------------------


@workflow(messages=[word])
async def listener(ctx: Context) -> str:
    """Waits to be told something."""
    value = await ctx.wait_signal(word)
    return await ctx.step(act, value)


@workflow
async def maker(ctx: Context, label: str) -> str:
    """Does what it is told."""
    return await ctx.step(act, label)


@workflow
async def breaker(ctx: Context) -> None:
    """Fails, after it has done something that is undone."""
    await ctx.step(reserve, "broken")
    raise ValueError("broken")


@workflow
async def parent(ctx: Context) -> list[Any]:
    """Children that succeed, fail, listen and are cancelled; and a stranger that does not exist."""
    listening = await ctx.start_child(listener)
    seen: list[Any] = [await ctx.child_workflow(maker, "made by a child")]
    try:
        await ctx.child_workflow(breaker)
    except ChildFailedError as error:
        seen.append(str(error.__cause__))
    await listening.signal(word, "told by the parent")
    seen.append(await listening)
    doomed = await ctx.start_child(listener.options(id="doomed"))
    doomed.cancel("enough")
    try:
        await doomed
    except ChildCancelledError:
        seen.append("cancelled")
    try:
        await ctx.workflow("nobody").signal(word, "hello")
    except MessageUndeliverableError:
        seen.append("nobody there")
    return seen


@workflow
async def family(ctx: Context) -> list[str]:
    """Children side by side."""
    return await asyncio.gather(*(ctx.child_workflow(maker, f"child {number}") for number in range(3)))
