"""What authors get wrong, and what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from durable import Context, Query, Signal, Update, step, workflow
from durable.errors import MessageRejectedError, QueryFailedError, RunFailedError, UpdateFailedError

pytestmark = pytest.mark.anyio

go = Signal("go", bool)
add = Update("add", int, returns=int)
peek = Query("peek", int)


@step
def one(number: int) -> int:
    return number


# -- validators and queries -------------------------------------------------------------------------------


@workflow(messages=[add, peek])
async def remembers_where_it_checks(ctx: Context) -> list[int]:
    seen: list[int] = []
    taken: list[int] = []

    @ctx.on(add)
    async def added(number: int) -> int:
        taken.append(number)
        return number

    @added.validator
    def check(number: int) -> None:
        if number in taken:
            raise ValueError("twice")
        if number > 9:
            seen.append(number)

    @ctx.on(peek)
    def look() -> int:
        if len(taken) > 1:
            taken.pop()
        return len(taken)

    await ctx.wait_signal(go)
    return [await ctx.step(one, number) for number in (*seen, *taken)]


async def test_a_validator_or_query_that_changes_a_variable_is_refused(open_runtime):
    """Semantics 18, 19: queries and validators change nothing, not even a variable of the workflow; the run goes on without it."""
    async with open_runtime(remembers_where_it_checks) as rt:
        run = await rt.start(remembers_where_it_checks)
        assert await run.update(add, 1) == 1
        with pytest.raises(UpdateFailedError, match=r"changed the variable 'seen' at semantics/test_misuse\.py:"):
            await run.update(add, 10)
        with pytest.raises(MessageRejectedError, match="twice"):
            await run.update(add, 1)
        assert await run.query(peek) == 1
        assert await run.update(add, 2) == 2
        for _ in range(2):
            with pytest.raises(QueryFailedError, match=r"changed the variable 'taken' at semantics/test_misuse\.py:"):
                await run.query(peek)
        await run.signal(go, True)
        assert await run.result(timeout=30) == [1, 2]


# -- names and texts --------------------------------------------------------------------------------------

HALF = "caf\udce9"
"""A file name that is no UTF-8, as Python has it."""


@step(idempotency_key=lambda: HALF)
def keyed() -> None: ...


async def ask(ctx: Context, prompt: str = "Deploy?", **options: Any) -> None:
    await ctx.ask_user(prompt, timeout=0.001, default="", **options)


async def use(call: Callable[[], object]) -> None:
    call()


UNNAMED: dict[str, tuple[Callable[[Context], Awaitable[object]], str]] = {
    "key": (lambda ctx: use(lambda: ctx.publish(HALF, 1)), "the key of a published value to be a text that UTF-8 can"),
    "number": (
        lambda ctx: use(lambda: ctx.publish(5, 1)),
        "the key of a published value to be a non-empty text, got 5",
    ),  # type: ignore[arg-type]
    "stream": (lambda ctx: use(lambda: ctx.stream(HALF)), "the name of a stream to be"),
    "no stream": (lambda ctx: use(lambda: ctx.stream(None)), "the name of a stream to be"),  # type: ignore[arg-type]
    "patch": (lambda ctx: use(lambda: ctx.patched(HALF)), "the id of a patch to be"),
    "no patch": (lambda ctx: use(lambda: ctx.patched(5)), "the id of a patch to be"),  # type: ignore[arg-type]
    "old patch": (lambda ctx: use(lambda: ctx.deprecate_patch("a\0b")), "the id of a patch to be"),
    "attribute": (lambda ctx: use(lambda: ctx.set_attributes(**{HALF: 1})), "the name of an attribute to be"),
    "value": (
        lambda ctx: use(lambda: ctx.set_attributes(file=HALF)),
        "attribute file to be a text that UTF-8 can hold",
    ),
    "inf": (lambda ctx: use(lambda: ctx.set_attributes(a=float("inf"))), "attribute a to be a text, finite number"),
    "question": (lambda ctx: ask(ctx, key=HALF), "the key of a question to be"),
    "prompt": (lambda ctx: ask(ctx, HALF), "a prompt to be a text that UTF-8 can hold"),
    "no prompt": (lambda ctx: ask(ctx, 5), "a prompt in words, got 5"),  # type: ignore[arg-type]
    "context": (lambda ctx: ask(ctx, context={"files": ["a", HALF]}), r"context\['files'\]\[1\] to be JSON-compatible"),
    "object": (lambda ctx: ask(ctx, context={"a": object()}), r"context\['a'\] to be JSON-compatible"),
    "no context": (lambda ctx: ask(ctx, context=[1]), r"context to be a dict of facts, got \[1\]"),
    "run": (lambda ctx: use(lambda: ctx.workflow(HALF)), "a workflow id to be"),
    "reason": (lambda ctx: use(lambda: ctx.workflow("x").cancel(HALF)), "the reason of a cancellation to be"),
    "idempotency": (lambda ctx: ctx.step(keyed), "the idempotency key of step 'keyed' to be a text that UTF-8"),
    "signal": (lambda ctx: ctx.wait_signal("go"), r"a Signal, got 'go'.*; declare it once, as in: go = Signal\('go'"),  # type: ignore[arg-type]
    "sent": (lambda ctx: use(lambda: ctx.workflow("x").signal("go", 1)), "a Signal, got 'go'"),  # type: ignore[arg-type, call-overload]
    "condition": (lambda ctx: ctx.wait_condition(True), "a condition to be a plain function .* got True"),  # type: ignore[arg-type]
}


@workflow
async def names_badly(ctx: Context, what: str) -> None:
    await UNNAMED[what][0](ctx)


@pytest.mark.parametrize("what", UNNAMED)
async def test_what_cannot_be_a_name_is_refused_with_the_line(open_runtime, what):
    async with open_runtime(names_badly) as rt:
        run = await rt.start(names_badly, what)
        with pytest.raises(RunFailedError, match=UNNAMED[what][1]) as failed:
            await run.result(timeout=30)
        assert f"{__file__}:" in str(failed.value)


@workflow
async def waits_for_itself(ctx: Context) -> None:
    await asyncio.sleep(1e18)


async def test_wait_that_nothing_ends_says_where_it_is(open_runtime):
    async with open_runtime(waits_for_itself) as rt:
        run = await rt.start(waits_for_itself)
        await run.until_waiting("its own code, at semantics/test_misuse.py:", timeout=30)


@workflow
async def calls_nobody(ctx: Context) -> None:
    await ctx.workflow("nobody").signal(go, True)


async def test_message_to_nobody_says_so_in_words(open_runtime):
    async with open_runtime(calls_nobody) as rt:
        run = await rt.start(calls_nobody)
        with pytest.raises(RunFailedError, match="cannot signal 'nobody': no run has this id"):
            await run.result(timeout=30)


@workflow
async def fails_without_a_word(ctx: Context) -> None:
    raise TimeoutError


async def test_error_without_a_message_is_told_by_its_name(open_runtime):
    async with open_runtime(fails_without_a_word) as rt:
        run = await rt.start(fails_without_a_word)
        with pytest.raises(RunFailedError, match=r"failed: TimeoutError$"):
            await run.result(timeout=30)


# -- updates of runs that end meanwhile -------------------------------------------------------------------


@workflow(messages=[add], on_unfinished="abandon")
async def ends_beside_an_update(ctx: Context, how: str) -> None:
    begun = asyncio.Event()

    @ctx.on(add)
    async def added(number: int) -> int:
        begun.set()
        await ctx.sleep(3600)
        return number

    await begun.wait()
    if how == "fails":
        raise ValueError("no money left")
    if how == "is cancelled":
        await ctx.wait_signal(go)


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("fails", "update 'add' was not done: the run failed: ValueError: no money left"),
        ("is cancelled", "update 'add' was not done: the run was cancelled: changed my mind"),
        ("returns", "update 'add' was not done: the run has ended"),
    ],
)
async def test_an_update_that_the_end_of_the_run_cuts_short_says_why(open_runtime, how, why):
    """Semantics 19: an update of a run that ends meanwhile fails, and tells how the run ended."""
    async with open_runtime(ends_beside_an_update) as rt:
        run = await rt.start(ends_beside_an_update, how)
        updating = asyncio.create_task(run.update(add, 1))
        if how == "is cancelled":
            await run.until_waiting("signal 'go'", timeout=30)
            await run.cancel("changed my mind")
        with pytest.raises(UpdateFailedError, match=f"{why}$"):
            await asyncio.wait_for(updating, 30)
