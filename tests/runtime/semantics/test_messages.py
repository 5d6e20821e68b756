"""Semantics 17 to 21: signals, queries and updates."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, Field

from durable import Context, Query, RunFailedError, Signal, Update, step, workflow
from durable.errors import (
    MessageRejectedError,
    QueryFailedError,
    ReadOnlyError,
    UnknownMessageError,
    UpdateFailedError,
    UpdateTimeoutError,
)
from durable.handle import RunStatus
from durable.history import EventKind
from runtime import Runtime

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
    global begun, released
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
    await ctx.wait_signal(stop)
    seen.append(await ctx.wait_signal(go))
    if rounds:
        ctx.continue_as_new(rounds - 1, seen)
    return [*seen, await ctx.wait_signal(go)]


async def test_unread_signals_survive_continue_as_new(open_runtime):
    """Semantics 17: signals survive continue-as-new if unread: in order, once each, and still known by their ids."""
    async with open_runtime(continues) as rt:
        run = await rt.start(continues.options(id="x"), 2, [])
        for value in range(4):
            await run.signal(go, value, message_id=f"m{value}")
        for number in (2, 3):
            await run.signal(stop)
            await until_runs(rt, number)
            await run.signal(go, 99, message_id="m3")
        await run.signal(stop)
        assert await run.result(timeout=30) == [0, 1, 2, 3]
        assert await rt.count() == 3


async def until_runs(rt: Runtime, number: int) -> None:
    async def look() -> bool | None:
        return await rt.count() == number or None

    async with asyncio.timeout(30):
        await rt.watch.until(look, lambda change: True)


@workflow
async def continues_to_handlers(ctx: Context, first: bool) -> list[int]:
    if first:
        ctx.continue_as_new(False)
    seen: list[int] = []

    @ctx.on(go)
    def on_go(value: int) -> None:
        seen.append(value)

    @ctx.on(add)
    def on_add(value: int) -> int:
        seen.append(value)
        return value

    await ctx.wait_condition(lambda: len(seen) == 3)
    return seen


async def test_handlers_of_a_successor_see_what_its_predecessor_left(open_runtime, open_client):
    """Semantics 17, 21: what a run leaves unread reaches the handlers of the one that continues it, updates too."""
    async with open_client() as client:
        run = await client.start(continues_to_handlers, True)
        await run.signal(go, 1)
        await run.signal(go, 2)
        with pytest.raises(UpdateTimeoutError):
            await run.update(add, 3, update_id="u", timeout=0.01)
        async with open_runtime(continues_to_handlers):
            assert await run.result(timeout=30) == [1, 2, 3]
            assert await run.update(add, 3, update_id="u") == 3


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
    """Semantics 17: a misfit is refused at the sender with the field's path where the schema is known."""
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
    """Semantics 17: else, a misfit is set aside at delivery, visibly; it never harms the run."""
    async with open_runtime(hears) as rt:
        run = await rt.start(hears, how)
        await run.until_waiting(timeout=30)
        await run.signal("placed", BAD, message_id="bad")
        await run.signal("placed", GOOD)
        if how in ("buffered", "late handler"):  # the others may have ended by now
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


# -- 18: queries ------------------------------------------------------------------------------------------


@workflow
async def child(ctx: Context) -> None: ...


ATTEMPTS: dict[str, Callable[[Context], Any]] = {
    "ctx.step": lambda ctx: ctx.step(note, "from a query"),
    "ctx.child_workflow": lambda ctx: ctx.child_workflow(child),
    "ctx.start_child": lambda ctx: run_now(ctx.start_child(child)),
    "ctx.sleep": lambda ctx: run_now(ctx.sleep(1)),
    "ctx.ask_user": lambda ctx: run_now(ctx.ask_user("Which?")),
    "ctx.ask_approval": lambda ctx: run_now(ctx.ask_approval("Now?")),
    "ctx.wait_signal": lambda ctx: run_now(ctx.wait_signal(go)),
    "ctx.wait_condition": lambda ctx: run_now(ctx.wait_condition(lambda: False)),
    "ctx.on": lambda ctx: ctx.on(go)(print),
    "ctx.random": lambda ctx: ctx.random.random(),
    "ctx.uuid4": lambda ctx: str(ctx.uuid4()),
    "ctx.patched": lambda ctx: ctx.patched("a new one"),
    "ctx.deprecate_patch": lambda ctx: ctx.deprecate_patch("a new one"),
    "ctx.continue_as_new": lambda ctx: ctx.continue_as_new(),
    "ctx.compensate": lambda ctx: ctx.compensate(note, "undone"),
    "ctx.rollback": lambda ctx: run_now(ctx.rollback()),
    "ctx.publish": lambda ctx: ctx.publish("key", 1),
    "Stream.write": lambda ctx: ctx.stream("out").write(1),
    "ctx.set_attributes": lambda ctx: ctx.set_attributes(colour="red"),
    "ExternalRun.signal": lambda ctx: ctx.workflow("x").signal(go, 1),
    "ExternalRun.cancel": lambda ctx: ctx.workflow("x").cancel(),
    "a task": lambda ctx: asyncio.ensure_future(asyncio.sleep(0)) and None,
    "a future": lambda ctx: asyncio.get_running_loop().create_future() and None,
    "a callback": lambda ctx: asyncio.get_running_loop().call_soon(print) and None,
    "a timer": lambda ctx: asyncio.get_running_loop().call_later(1, print) and None,
}


def run_now(coroutine: Any) -> Any:
    """Drive a coroutine as far as it goes without waiting, as a handler that is not async might."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return stop.value
    finally:
        coroutine.close()


meddle = Query("meddle", Any, takes=str)


@workflow
async def is_queried(ctx: Context) -> list[int]:
    amounts: list[int] = []

    @ctx.on(total)
    def on_total() -> int:
        return sum(amounts)

    @ctx.on(meddle)
    def on_meddle(attempt: str) -> Any:
        if attempt == "fail":
            raise LookupError("nothing there")
        return ATTEMPTS[attempt](ctx)

    while not (amounts and amounts[-1] == 0):
        amounts.append(await ctx.wait_signal(go))
    return amounts


@workflow
async def is_meddled_with(ctx: Context) -> tuple[int, float]:
    @ctx.on(meddle)
    def on_meddle(attempt: str) -> Any:
        return ATTEMPTS[attempt](ctx)

    await ctx.wait_signal(stop)
    return await ctx.wait_signal(go), ctx.random.random()


@pytest.mark.parametrize("attempt", ATTEMPTS)
async def test_mutating_call_in_a_query_is_refused_by_name(open_runtime, attempt):
    """Semantics 18: queries are read-only: any mutating call inside is refused by name, and changes nothing.

    A signal that waits to be read is still there.
    """
    async with open_runtime(is_meddled_with, child) as rt:
        run = await rt.start(is_meddled_with.bind(), with_signal=(go, 5))
        await run.until_waiting("stop", timeout=30)
        before = await kinds(run)
        assert EventKind.SIGNAL_RECEIVED in before
        with pytest.raises(QueryFailedError, match="a query must not change the run") as caught:
            await run.query(meddle, attempt)
        assert isinstance(caught.value.__cause__, ReadOnlyError)
        assert attempt in str(caught.value)
        assert await kinds(run) == before
        await run.signal(stop)
        assert (await run.result(timeout=30))[0] == 5
        assert (await run.describe()).attributes == {}
    assert done == []


async def test_query_on_a_completed_run_works(open_runtime):
    """Semantics 18: a query on a completed run works, in the worker that ran it and in one that comes later."""
    async with open_runtime(is_queried) as rt:
        run = await rt.start(is_queried.options(id="x"))
        for value in (3, 4, 0):
            await run.signal(go, value)
        await run.result(timeout=30)
        assert await run.query(total) == 7
    async with open_runtime(is_queried) as rt:
        assert await rt.get("x").query(total) == 7
        assert await rt.get("x").query("total") == 7


async def test_failing_query_fails_only_the_query(open_runtime):
    """Semantics 18: a failing query fails only the query."""
    async with open_runtime(is_queried) as rt:
        run = await rt.start(is_queried)
        await run.until_waiting("go", timeout=30)
        with pytest.raises(QueryFailedError, match="nothing there") as caught:
            await run.query(meddle, "fail")
        assert isinstance(caught.value.__cause__, LookupError)
        await run.signal(go, 0)
        assert await run.result(timeout=30) == [0]


async def test_unknown_query_lists_the_known(open_runtime):
    """Semantics 18: an unknown query lists the known; so does one of another kind."""
    async with open_runtime(is_queried) as rt:
        run = await rt.start(is_queried)
        await run.until_waiting("go", timeout=30)
        for name in ("totals", "go"):
            with pytest.raises(UnknownMessageError, match=f"'{name}'.*meddle, total"):
                await run.query(name)
        await run.signal(go, 0)
        await run.result(timeout=30)


# -- 19: updates ------------------------------------------------------------------------------------------


validated: list[int] = []


@workflow
async def takes_updates(ctx: Context) -> list[int]:
    amounts: list[int] = []

    @ctx.on(add)
    async def on_add(value: int) -> int:
        if value == 13:
            raise Broken("unlucky")
        amounts.append(await ctx.step(when_released, value))
        await ctx.sleep(0.01)
        return sum(amounts)

    @on_add.validator
    def check(value: int) -> None:
        validated.append(value)
        if value < 0:
            raise ValueError("expected a positive amount")
        if value == 1000:
            ctx.publish("meddled", value)
        if value == 1001:
            asyncio.get_running_loop().create_future()

    await ctx.wait_signal(stop)
    return amounts


@pytest.mark.parametrize(
    ("value", "match"), [(-1, "expected a positive amount"), (1000, r"ctx\.publish"), (1001, "a future")]
)
async def test_update_that_is_refused_leaves_no_trace(open_runtime, value, match):
    """Semantics 19: the validator runs before acceptance, leaves no trace when it rejects, and changes nothing."""
    released.set()
    async with open_runtime(takes_updates) as rt:
        run = await rt.start(takes_updates)
        await run.until_waiting("stop", timeout=30)
        before = await kinds(run)
        validated.clear()
        with pytest.raises((MessageRejectedError, ReadOnlyError, UpdateFailedError), match=match) as caught:
            await run.update(add, value)
        assert not isinstance(caught.value, UpdateFailedError) or isinstance(caught.value.__cause__, ReadOnlyError)
        assert validated == [value]
        assert await kinds(run) == before
        assert await run.update(add, 2) == 2
        await run.signal(stop)
        assert await run.result(timeout=30) == [2]


async def test_handler_of_an_update_may_await_steps(open_runtime):
    """Semantics 19: the handler may await steps; those of several updates at once."""
    async with open_runtime(takes_updates) as rt:
        run = await rt.start(takes_updates)
        updates = [asyncio.create_task(run.update(add, value)) for value in (1, 2, 4)]
        await begun.wait()
        released.set()
        assert max(await asyncio.gather(*updates)) == 7
        await run.signal(stop)
        assert sorted(await run.result(timeout=30)) == [1, 2, 4]


async def test_failing_update_fails_only_the_update(open_runtime):
    """Semantics 19: an update failure fails only the update."""
    released.set()
    async with open_runtime(takes_updates) as rt:
        run = await rt.start(takes_updates)
        with pytest.raises(UpdateFailedError, match="unlucky") as caught:
            await run.update(add, 13)
        assert isinstance(caught.value.__cause__, Broken)
        assert await run.update(add, 1) == 1
        await run.signal(stop)
        assert await run.result(timeout=30) == [1]


async def test_update_sent_before_any_worker_exists_completes_once_there_is_one(open_runtime, open_client):
    """Semantics 19: an update sent before any worker exists completes once there is one."""
    released.set()
    async with open_client() as client:
        run = await client.start(takes_updates)
        with pytest.raises(UpdateTimeoutError):
            await run.update(add, 5, update_id="u", timeout=0.01)
        waiting = asyncio.create_task(run.update(add, 5, update_id="u"))
        async with open_runtime(takes_updates):
            assert await waiting == 5
            await run.signal(stop)
            assert await run.result(timeout=30) == [5]


async def test_two_handles_with_one_update_id_get_one_result(open_runtime, open_client):
    """Semantics 19: two handles with one update id get one result; also a third one that asks later, after the end."""
    async with open_runtime(takes_updates) as rt, open_client() as client:
        run = await rt.start(takes_updates.options(id="x"))
        other = client.get("x")
        first = asyncio.create_task(run.update(add, 5, update_id="u"))
        await begun.wait()
        second = asyncio.create_task(other.update(add, 5, update_id="u"))
        released.set()
        assert await asyncio.gather(first, second) == [5, 5]
        assert (await kinds(run)).count(EventKind.UPDATE_ACCEPTED) == 1
        assert await other.update(add, 5, update_id="u") == 5
        await run.signal(stop)
        assert await run.result(timeout=30) == [5]
        assert await other.update(add, 5, update_id="u") == 5


async def test_timeout_of_the_sender_is_its_own_error_and_loses_nothing(open_runtime):
    """Semantics 19: a client's timeout while waiting is its own error and loses nothing."""
    async with open_runtime(takes_updates) as rt:
        run = await rt.start(takes_updates)
        with pytest.raises(UpdateTimeoutError) as caught:
            await run.update(add, 5, update_id="u", timeout=0.01)
        assert isinstance(caught.value, TimeoutError)
        await begun.wait()
        released.set()
        assert await run.update(add, 5, update_id="u") == 5
        await run.signal(stop)
        assert await run.result(timeout=30) == [5]


# -- 20: handlers that are unfinished when the function returns -------------------------------------------


async def handles_slowly(ctx: Context) -> str:
    @ctx.on(go)
    async def on_go(value: int) -> None:
        await ctx.step(when_released, value)
        await ctx.step(note, "signal handled")

    @ctx.on(add)
    async def on_add(value: int) -> int:
        return await ctx.step(when_released, value)

    @ctx.on(total)
    def on_total() -> int:
        return returns

    returns = 0
    await ctx.wait_signal(stop)
    returns = 1
    return "returned"


waits_for_handlers = workflow(name="waits_for_handlers")(handles_slowly)
abandons_handlers = workflow(name="abandons_handlers", on_unfinished="abandon")(handles_slowly)


async def test_run_waits_for_its_handlers_by_default(open_runtime):
    """Semantics 20: a run that returns while handlers are unfinished waits for them by default."""
    async with open_runtime(waits_for_handlers) as rt:
        run = await rt.start(waits_for_handlers)
        await run.until_waiting("stop", timeout=30)
        await run.signal(go, 1)
        update = asyncio.create_task(run.update(add, 5))
        await begun.wait()
        await run.signal(stop)
        while not await run.query(total):
            assert not (await run.status()).is_closed
        await run.signal(go, 2)  # one more while it waits
        released.set()
        assert await run.result(timeout=30) == "returned"
        assert await update == 5
    assert done == ["signal handled", "signal handled"]


async def test_run_may_abandon_its_handlers(open_runtime):
    """Semantics 20: ``abandon`` is the other choice: it ends at once, and who waits for an update is told."""
    async with open_runtime(abandons_handlers) as rt:
        run = await rt.start(abandons_handlers)
        await run.until_waiting("stop", timeout=30)
        await run.signal(go, 1)
        update = asyncio.create_task(run.update(add, 5))
        await begun.wait()
        await run.signal(stop)
        assert await run.result(timeout=30) == "returned"
        with pytest.raises(UpdateFailedError):
            await update
    assert done == []


# -- 21: handlers of the first turn -----------------------------------------------------------------------


@workflow
async def handles_from_the_start(ctx: Context) -> list[Any]:
    seen: list[Any] = []

    @ctx.on(go)
    def on_go(value: int) -> None:
        seen.append(value)

    @ctx.on(add)
    def on_add(value: int) -> int:
        seen.append(f"update {value}")
        return len(seen)

    @ctx.on(total)
    def on_total() -> int:
        return len(seen)

    await ctx.wait_condition(lambda: len(seen) == 4)
    return list(seen)


async def test_handler_of_the_first_turn_sees_messages_sent_before_it(open_runtime, open_client):
    """Semantics 21: a handler registered in the first turn sees messages sent before it, in order.

    They are signals, one with the start among them, and an update.
    """
    async with open_client() as client:
        run = await client.start(handles_from_the_start.bind(), with_signal=(go, 1))
        await run.signal(go, 2)
        with pytest.raises(UpdateTimeoutError):
            await run.update(add, 3, update_id="u", timeout=0.01)
        await run.signal(go, 4)
        async with open_runtime(handles_from_the_start):
            assert await run.result(timeout=30) == [1, 2, "update 3", 4]
            assert await run.update(add, 3, update_id="u") == 3
            assert await run.query(total) == 4
