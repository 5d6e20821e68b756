"""Semantics 17 to 21: signals, queries and updates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from durable import ContinueAsNew, Context, Query, RunFailedError, Signal, Update, step, workflow
from durable.errors import (
    MessageRejectedError,
    QueryFailedError,
    ReadOnlyError,
    RunCancelledError,
    UnknownMessageError,
    UpdateFailedError,
    UpdateTimeoutError,
)
from durable.handle import RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio


class Line(BaseModel):
    sku: str
    quantity: int = Field(ge=1)


class Order(BaseModel):
    lines: list[Line]


go = Signal("go", int)
stop = Signal("stop")
placed = Signal("placed", Order)
total = Query("total", int)
add = Update("add", int, returns=int)
place = Update("place", Order, returns=int)

done: list[str] = []
begun: asyncio.Event
released: asyncio.Event


@pytest.fixture(autouse=True)
def fresh() -> None:
    """Events and lists that steps of this module use."""
    global begun, released  # noqa: PLW0603 - steps find them by name
    begun, released = asyncio.Event(), asyncio.Event()
    done.clear()


@step
async def note(text: str) -> str:
    done.append(text)
    return text


@step
async def when_released(value: int) -> int:
    begun.set()
    await released.wait()
    return value


async def kinds(run: Any) -> list[str]:
    """The kinds of a run's events, in order."""
    return [event.kind for event in await run.history()]


# -- 17: signals ------------------------------------------------------------------------------------------


@workflow
async def listens_late(ctx: Context) -> list[int]:
    await ctx.wait_signal(stop)
    return [await ctx.wait_signal(go) for _ in range(4)]


async def test_signals_are_buffered_until_somebody_listens_in_order(open_runtime, open_client):
    """Semantics 17: signals are buffered until somebody listens, in order."""
    async with open_client() as client:
        run = await client.start(listens_late)
        await run.signal(go, 1)
    async with open_runtime(listens_late) as rt:
        run = rt.get(run.workflow_id)
        await run.until_waiting("stop", timeout=30)
        for value in (2, 3):
            await run.signal(go, value)
        await run.signal(stop)
        await run.until_waiting("go", timeout=30)
        await run.signal(go, 4)
        assert await run.result(timeout=30) == [1, 2, 3, 4]


@workflow
async def iterates(ctx: Context) -> list[int]:
    await ctx.wait_signal(stop)
    seen = []
    async for value in ctx.signals(go):
        seen.append(value)
        if len(seen) == 3:
            break
    return [*seen, await ctx.wait_signal(go)]


async def test_iterating_over_signals_begins_with_the_first_that_nobody_has_taken(open_runtime):
    """Semantics 17: buffered until somebody listens, to the iterator too; what it leaves is there for the next."""
    async with open_runtime(iterates) as rt:
        run = await rt.start(iterates)
        for value in range(4):
            await run.signal(go, value)
        await run.signal(stop)
        assert await run.result(timeout=30) == [0, 1, 2, 3]


@workflow
async def continues(ctx: Context, rounds: int, seen: list[int]) -> list[int]:
    if rounds:
        await ctx.wait_signal(stop)
        ctx.continue_as_new(rounds - 1, [*seen, await ctx.wait_signal(go)])
    return [*seen, *[await ctx.wait_signal(go) for _ in range(2)]]


async def test_unread_signals_survive_continue_as_new(open_runtime):
    """Semantics 17: signals survive continue-as-new if unread, in order, once each, and known by their ids."""
    async with open_runtime(continues) as rt:
        run = await rt.start(continues.options(id="x"), 2, [])
        for value in range(4):
            await run.signal(go, value, message_id=f"m{value}")
        await run.signal(stop)
        await run.signal(stop)
        await run.signal(go, 99, message_id="m3")
        assert await run.result(timeout=30) == [0, 1, 2, 3]
        assert await rt.count() == 3


@workflow(messages=[placed, place])
async def takes_orders(ctx: Context) -> list[str]:
    @ctx.on(place)
    def on_place(order: Order) -> int:
        return len(order.lines)

    await ctx.wait_signal(stop)
    return [(await ctx.wait_signal(placed)).lines[0].sku]


BAD = {"lines": [{"sku": "a", "quantity": 1}, {"sku": "b", "quantity": 0}]}
GOOD = {"lines": [{"sku": "a", "quantity": 1}]}


@pytest.mark.parametrize("by", ["name", "type"])
@pytest.mark.parametrize("kind", ["signal", "update"])
async def test_message_of_a_known_schema_is_refused_at_the_sender(open_runtime, open_client, by, kind):
    """Semantics 17: a message that does not fit is refused at the sender with the field's path where the schema is known."""
    async with open_runtime(takes_orders) as rt, open_client() as client:
        run = client.get((await rt.start(takes_orders.options(id="x"))).workflow_id)
        await run.until_waiting("stop", timeout=30)
        message: Any = {"signal": placed, "update": place}[kind]
        wrong = Order.model_construct(lines=[Line(sku="a", quantity=1), Line.model_construct(sku="b", quantity=0)])
        before = await kinds(run)
        with pytest.raises(MessageRejectedError, match=r"lines\[1\]\.quantity") as caught:
            if by == "name":
                await getattr(run, kind)(message.name, BAD)
            else:
                await getattr(run, kind)(message, wrong)
        assert caught.value.data["path"] == "lines[1].quantity"
        assert await kinds(run) == before
        await run.signal(placed.name, GOOD)
        await run.signal(stop)
        assert await run.result(timeout=30) == ["a"]


@workflow
async def hears(ctx: Context, how: str) -> str:
    """Does not publish its messages' schemas, so that no sender who knows only names can be checked."""
    heard: list[str] = []

    @ctx.on(add)
    def on_add(value: int) -> int:
        return value

    if how == "waiting":
        return (await ctx.wait_signal(placed)).lines[0].sku
    if how == "handler":

        @ctx.on(placed)
        def on_placed(order: Order) -> None:
            heard.append(order.lines[0].sku)

        await ctx.wait_condition(lambda: heard)
        return heard[0]
    await ctx.wait_signal(stop)
    if how == "late handler":

        @ctx.on(placed)
        def on_placed_late(order: Order) -> None:
            heard.append(order.lines[0].sku)

        await ctx.wait_condition(lambda: heard)
        return heard[0]
    return (await ctx.wait_signal(placed)).lines[0].sku


@pytest.mark.parametrize("how", ["waiting", "handler", "buffered", "late handler"])
async def test_message_of_an_unknown_schema_is_set_aside_at_delivery(open_runtime, how):
    """Semantics 17: where the schema is not known, a misfit is set aside at delivery, visibly; it never harms the run."""
    async with open_runtime(hears) as rt:
        run = await rt.start(hears, how)
        await run.until_waiting(timeout=30)
        await run.signal("placed", BAD, message_id="bad")
        await run.signal("placed", GOOD)
        await run.signal("stop", None)
        assert await run.result(timeout=30) == "a"
        aside = [event for event in await run.history() if event.kind == EventKind.MESSAGE_SET_ASIDE]
        assert [event.name for event in aside] == ["placed"]
        assert aside[0].details["message_id"] == "bad"
        assert "lines[1].quantity" in aside[0].details["why"]
        assert aside[0].details["sender"] == rt.actor


async def test_signal_by_the_name_of_an_update_is_set_aside(open_runtime):
    """Semantics 17: a misfit is set aside; here it is of another kind."""
    async with open_runtime(hears) as rt:
        run = await rt.start(hears, "waiting")
        await run.until_waiting("placed", timeout=30)
        await run.signal("add", 1)
        await run.signal("placed", GOOD)
        assert await run.result(timeout=30) == "a"
        aside = [event for event in await run.history() if event.kind == EventKind.MESSAGE_SET_ASIDE]
        assert "update" in aside[0].details["why"]


class Broken(Exception):
    pass


@workflow
async def breaks(ctx: Context, how: str) -> None:
    if how == "plain":

        @ctx.on(go)
        def on_go(value: int) -> None:
            raise Broken(f"at {value}")

    else:

        @ctx.on(go)
        async def on_go_later(value: int) -> None:
            await ctx.step(note, "handled")
            raise Broken(f"at {value}")

    await ctx.sleep(3600)


@pytest.mark.parametrize("how", ["plain", "async"])
async def test_failing_signal_handler_fails_the_run(open_runtime, how):
    """Semantics 17: a failing signal handler fails the run."""
    async with open_runtime(breaks) as rt:
        run = await rt.start(breaks, how)
        await run.until_waiting("sleep", timeout=30)
        await run.signal(go, 7)
        with pytest.raises(RunFailedError, match="at 7") as caught:
            await run.result(timeout=30)
        assert isinstance(caught.value.__cause__, Broken)
        assert await run.status() is RunStatus.FAILED
