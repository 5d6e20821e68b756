"""Semantics 17 to 20 at their edges: messages that meet the end of a run, and handlers that misbehave."""

from __future__ import annotations

import asyncio
import random
import sys
import time
from typing import Any

import anyio
import pytest

from durable import Context, Query, RunFailedError, Signal, Update, step, workflow
from durable.errors import (
    ConditionTimeoutError,
    MessageRejectedError,
    QueryFailedError,
    RunClosedError,
    UnknownMessageError,
    UpdateFailedError,
)
from durable.handle import RunStatus
from durable.history import EventKind
from runtime import Client

pytestmark = pytest.mark.anyio

go = Signal("go", int)
stop = Signal("stop")
peek = Query("peek", Any, takes=str)
add = Update("add", int, returns=int)
tell = Update("tell", int, returns=str)

gates: dict[str, asyncio.Event] = {}


@pytest.fixture(autouse=True)
def closed_gates() -> None:
    gates.clear()


def gate(name: str) -> asyncio.Event:
    return gates.setdefault(name, asyncio.Event())


@step
async def pass_gate(name: str) -> str:
    gate(f"at {name}").set()
    await gate(name).wait()
    return name


@step
async def quick(value: int) -> int:
    return value


# -- 17: signals and the end of a run ---------------------------------------------------------------------


@workflow
async def continue_beside_a_listener(ctx: Context, how: str, rounds: int) -> list[int]:
    """Two tasks wake up in one turn: the first one continues as new, the second one has been given a signal."""
    if rounds:
        return [await ctx.wait_signal(go), await ctx.wait_signal(go)]
    seen: list[int] = []

    async def listen() -> None:
        while True:
            seen.append(await ctx.wait_signal(go))

    async def listen_in_the_background(value: int) -> None:
        seen.append(value)

    await ctx.wait_signal(stop)
    match how:
        case "waiting":
            listening = asyncio.create_task(listen())
        case "handler":
            ctx.on(go)(seen.append)
        case "async handler":
            ctx.on(go)(listen_in_the_background)
    await ctx.wait_signal(stop)
    ctx.continue_as_new(how, rounds + 1)
    listening.cancel()


@pytest.mark.parametrize("how", ["waiting", "handler", "async handler"])
async def test_a_signal_that_was_given_but_not_begun_passes_to_the_successor(open_runtime, open_client, how):
    """Semantics 17: signals survive continue-as-new if unread, also those that somebody would have read next."""
    async with open_runtime(continue_beside_a_listener) as rt:
        run = await rt.start(continue_beside_a_listener.options(id="x"), how, 0)
        await run.signal(stop)
        await run.until_waiting("go" if how == "waiting" else "stop", timeout=30)
    async with open_client() as client:
        await client.get("x").signal(stop)
        for value in (1, 2):
            await client.get("x").signal(go, value)
    async with open_runtime(continue_beside_a_listener) as rt:
        assert await rt.get("x").result(timeout=30) == [1, 2]
        assert await rt.count() == 2


@workflow
async def pass_it_on(ctx: Context) -> list[str]:
    seen: list[str] = []

    async def listen(name: str) -> None:
        seen.append(f"{name} took {await ctx.wait_signal(go)}")

    first = asyncio.create_task(listen("first"))
    second = asyncio.create_task(listen("second"))
    await ctx.wait_signal(stop)
    first.cancel()
    await second
    return seen


async def test_a_signal_whose_taker_is_cancelled_goes_to_the_next(open_runtime, open_client):
    """Semantics 17: signals are buffered until somebody listens: one given to a task that is cancelled in the same turn is not lost."""
    async with open_runtime(pass_it_on) as rt:
        run = await rt.start(pass_it_on.options(id="x"))
        await run.until_waiting("stop", timeout=30)
    async with open_client() as client:
        await client.get("x").signal(stop)
        await client.get("x").signal(go, 7)
    async with open_runtime(pass_it_on) as rt:
        assert await rt.get("x").result(timeout=30) == ["second took 7"]


@workflow
async def take_it_late(ctx: Context) -> list[Any]:
    with anyio.move_on_after(60):
        await ctx.wait_signal(go)
        return ["in time"]
    return ["too late", await ctx.wait_signal(go)]


async def test_a_signal_beside_the_end_of_its_wait_is_not_lost(open_runtime, open_client, clock):
    """Semantics 17: a signal that comes in the turn in which its taker's time is over is there for the next."""
    async with open_runtime(take_it_late, clock=clock) as rt:
        run = await rt.start(take_it_late.options(id="x"))
        await run.until_waiting("go", timeout=30)
    clock.advance(60.0)
    async with open_client(clock=clock) as client:
        await client.get("x").signal(go, 7)
    async with open_runtime(take_it_late, clock=clock) as rt:
        assert await rt.get("x").result(timeout=30) in (["in time"], ["too late", 7])


@workflow
async def exit_in_a_handler(ctx: Context) -> None:
    @ctx.on(go)
    def _(value: int) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        raise ValueError(f"bad {value}")

    await ctx.wait_signal(stop)


async def test_a_failing_signal_handler_fails_the_run_whatever_the_loop_is_told_to_ignore(open_runtime):
    """Semantics 17: a failing signal handler fails the run."""
    async with open_runtime(exit_in_a_handler) as rt:
        run = await rt.start(exit_in_a_handler)
        await run.signal(go, 7)
        await run.signal(stop)
        with pytest.raises(RunFailedError, match="bad 7"):
            await run.result(timeout=30)


# -- 18: queries that misbehave ---------------------------------------------------------------------------


@workflow
async def be_peeked_at(ctx: Context) -> list[Any]:
    changed = asyncio.Event()
    dice = ctx.random

    @ctx.on(peek)
    def _(how: str) -> Any:
        match how:
            case "swallowed":
                try:
                    ctx.publish("key", 1)
                    time.sleep(1)
                except BaseException:
                    return "swallowed"
            case "exit":
                sys.exit("not a good idea")
            case "event":
                changed.set()
            case "dice":
                return dice.random()
            case "log":
                ctx.log.warning("from a query")
        return how

    waiting = asyncio.create_task(changed.wait())
    await ctx.step(pass_gate, "gate")
    waiting.cancel()
    return [changed.is_set(), dice.random()]


@pytest.mark.parametrize(
    ("how", "match"),
    [
        ("exit", "not a good idea"),
        ("event", "must not change the run; it asked for a callback"),
        ("dice", None),
        ("log", None),
        ("swallowed", None),
    ],
)
async def test_a_query_that_misbehaves_harms_nobody(open_runtime, how, match):
    """Semantics 18: queries are read-only; a failing one fails only the query, not the run, and not the worker."""
    async with open_runtime(be_peeked_at) as rt:
        run = await rt.start(be_peeked_at.options(id="x"))
        await gate("at gate").wait()
        if match is None:
            await run.query(peek, how)
        else:
            with pytest.raises(QueryFailedError, match=match):
                await run.query(peek, how)
        assert await run.query(peek, "fine") == "fine"
        gate("gate").set()
        was_set, drawn = await run.result(timeout=30)
        assert was_set is False
        assert await run.logs() == []
        history = await run.history()
    generator = random.Random()
    generator.seed(str(history[0].details["seed"]), version=2)
    assert drawn == generator.random()


async def test_a_query_that_the_guard_stops_harms_nobody(open_runtime):
    """Semantics 18: what the guard refuses in a query fails only the query, even if the handler swallows it."""
    async with open_runtime(be_peeked_at_with_threads) as rt:
        run = await rt.start(be_peeked_at_with_threads)
        await gate("at gate").wait()
        for how in ("plain", "swallowed"):
            with pytest.raises(QueryFailedError, match="run_in_executor"):
                await run.query(peek, how)
        gate("gate").set()
        assert await run.result(timeout=30) == "gate"


@workflow
async def be_peeked_at_with_threads(ctx: Context) -> str:
    @ctx.on(peek)
    def _(how: str) -> str:
        try:
            asyncio.get_running_loop().run_in_executor(None, print)
        except BaseException:
            if how == "plain":
                raise
        return how

    return await ctx.step(pass_gate, "gate")


async def test_a_query_before_the_first_turn_waits_for_it(open_runtime, clock):
    """Semantics 18: a query is answered by the handlers of the first turn, also if it is asked before that."""
    async with open_runtime(be_peeked_at, clock=clock) as rt:
        run = await rt.start(be_peeked_at.options(delay=60))
        asking = asyncio.create_task(run.query(peek, "early", timeout=3600))
        other = await rt.start(be_peeked_at)
        assert await other.query(peek, "asked later") == "asked later"
        assert not asking.done()
        clock.advance(60.0)
        assert await asyncio.wait_for(asking, 30) == "early"
        gate("gate").set()
        await run.result(timeout=30)


@workflow
async def exit_in_a_predicate(ctx: Context) -> None:
    def predicate() -> bool:
        if passing.done():
            sys.exit("not a good idea")
        return False

    passing = asyncio.ensure_future(ctx.step(quick, 1))
    await ctx.wait_condition(predicate)


@workflow
async def exit_in_a_validator(ctx: Context) -> None:
    @ctx.on(add)
    def on_add(value: int) -> int:
        return value

    @on_add.validator
    def _(value: int) -> None:
        sys.exit("not a good idea")

    await ctx.wait_signal(stop)


async def test_exiting_in_a_predicate_or_validator_makes_only_this_run_stuck(open_runtime):
    """Semantics 18, 42: SystemExit out of a predicate or a validator does not end the worker."""
    async with open_runtime(exit_in_a_predicate, exit_in_a_validator, pass_it_on) as rt:
        first = await rt.start(exit_in_a_predicate)
        second = await rt.start(exit_in_a_validator)
        updating = asyncio.create_task(second.update(add, 1))
        for run in (first, second):

            async def look(run: Any = run) -> str | None:
                described = await run.describe()
                return described.reason if described.status is RunStatus.STUCK else None

            async with asyncio.timeout(30):
                assert "SystemExit: not a good idea" in await rt.watch.until(look, lambda change: True)
        updating.cancel()
        healthy = await rt.start(pass_it_on)
        await healthy.signal(stop)
        await healthy.signal(go, 1)
        assert len(await healthy.result(timeout=30)) == 1


# -- 19: updates and the end of a run ---------------------------------------------------------------------


async def until_sent(client: Client, update_id: str) -> None:
    """Wait until the store has an update to the run ``x``."""
    async with asyncio.timeout(30):
        await client.watch.until(lambda: client.store.get_update("x", update_id), lambda change: change.updates)


@workflow
async def continue_beside_updates(ctx: Context, rounds: int) -> int:
    @ctx.on(add)
    async def _(value: int) -> int:
        if rounds == 0:
            await ctx.step(pass_gate, "gate")
        return value + 100 * rounds

    await ctx.wait_signal(stop)
    if rounds == 0:
        ctx.continue_as_new(1)
    return rounds


async def test_an_update_that_continue_as_new_cuts_short_fails(open_runtime):
    """Semantics 19: who waits for an update is told when the run continues as new in the middle of its handler."""
    async with open_runtime(continue_beside_updates) as rt:
        run = await rt.start(continue_beside_updates, 0)
        updating = asyncio.create_task(run.update(add, 1))
        await gate("at gate").wait()
        await run.signal(stop)
        with pytest.raises(UpdateFailedError, match="the run continued as new"):
            await asyncio.wait_for(updating, 30)
        assert await run.update(add, 1, timeout=30) == 101
        await run.signal(stop)
        assert await run.result(timeout=30) == 1


async def test_an_update_beside_continue_as_new_is_done_by_the_successor(open_runtime, open_client):
    """Semantics 19: an update loses nothing, also if the run continues as new in the turn in which it arrives."""
    async with open_client() as client:
        run = await client.start(continue_beside_updates.options(id="x"), 0)
        await run.signal(stop)
        updating = asyncio.create_task(run.update(add, 1, update_id="u"))
        await until_sent(client, "u")
        async with open_runtime(continue_beside_updates):
            assert await asyncio.wait_for(updating, 30) == 101
            await run.signal(stop)
            assert await run.result(timeout=30) == 1


@workflow
async def continue_and_end(ctx: Context, rounds: int) -> int:
    if rounds == 0:
        await ctx.wait_signal(stop)
        ctx.continue_as_new(1)
    await ctx.step(pass_gate, "gate")
    return rounds


async def test_an_update_whose_run_went_on_and_ended_is_told_so(open_runtime, open_client):
    """Semantics 19: an update that passed to a successor does not wait for ever when that ends."""
    async with open_client() as client:
        run = await client.start(continue_and_end.options(id="x"), 0)
        await run.signal(stop)
        updating = asyncio.create_task(run.update(add, 1, update_id="u"))
        await until_sent(client, "u")
        async with open_runtime(continue_and_end):
            await asyncio.wait_for(gate("at gate").wait(), 30)
            with pytest.raises(UnknownMessageError, match="known: none"):
                await asyncio.wait_for(updating, 30)
            late = asyncio.create_task(run.update(add, 1, update_id="late"))
            await run.terminate("enough")
            with pytest.raises((UpdateFailedError, RunClosedError, UnknownMessageError)):
                await asyncio.wait_for(late, 30)
            gate("gate").set()


async def test_an_update_that_a_run_never_looked_at_is_told_so_also_when_it_is_repeated(open_runtime, open_client):
    """Semantics 19: who repeats an update of an ended run does not wait for the next run of the id to do it."""
    async with open_client() as client:
        await client.start(continue_and_end.options(id="x"), 0)
        updating = asyncio.create_task(client.get("x").update(add, 1, update_id="u"))
        await until_sent(client, "u")
        await client.get("x").terminate("enough")
        with pytest.raises(RunClosedError, match="ended before it looked at update 'add'; nothing of it was done"):
            await asyncio.wait_for(updating, 30)
        await client.start(continue_and_end.options(id="x", on_conflict="replace"), 0)
        with pytest.raises(RunClosedError, match="nothing of it was done"):
            await asyncio.wait_for(client.get("x").update(add, 1, update_id="u"), 30)


async def test_an_update_that_a_termination_cut_off_is_not_called_undone(open_runtime):
    """Semantics 19: its sender hears that it had begun."""
    async with open_runtime(abandon_an_update) as rt:
        run = await rt.start(abandon_an_update)
        updating = asyncio.create_task(run.update(add, 1))
        await gate("at gate").wait()
        await run.terminate("enough")
        with pytest.raises(UpdateFailedError, match="ended in the middle of it"):
            await asyncio.wait_for(updating, 30)
        gate("gate").set()


@workflow
async def end_beside_updates(ctx: Context) -> None:
    @ctx.on(add)
    def _(value: int) -> int:
        return value

    await ctx.wait_signal(stop)


async def test_an_update_beside_the_end_of_the_run_is_told_so(open_runtime, open_client):
    """Semantics 19: an update that arrives in the turn in which the run ends does not wait for ever."""
    async with open_client() as client:
        run = await client.start(end_beside_updates.options(id="x"))
        await run.signal(stop)
        updating = asyncio.create_task(run.update(add, 1, update_id="u"))
        await until_sent(client, "u")
        async with open_runtime(end_beside_updates):
            await run.result(timeout=30)
            with pytest.raises(MessageRejectedError, match="ending"):
                await asyncio.wait_for(updating, 30)


@workflow
async def check_with_an_event(ctx: Context) -> list[str]:
    changed = asyncio.Event()
    seen: list[str] = []

    @ctx.on(tell)
    def on_tell(value: int) -> str:
        seen.append(f"{value}, {'changed' if changed.is_set() else 'unchanged'}")
        return seen[-1]

    @on_tell.validator
    def _(value: int) -> None:
        if value < 0:
            changed.set()

    async def watch() -> None:
        await changed.wait()
        seen.append("changed")

    watching = asyncio.create_task(watch())
    await ctx.wait_signal(stop)
    try:
        await ctx.wait_condition(watching.done, timeout=0.001)
    except ConditionTimeoutError:
        seen.append("unchanged")
    return seen


async def test_a_validator_that_changes_something_leaves_no_trace(open_runtime, open_client):
    """Semantics 19: the validator leaves no trace when it rejects, even if what it touched had changed before it was refused."""
    async with open_runtime(check_with_an_event) as rt:
        run = await rt.start(check_with_an_event.options(id="x"))
        await run.until_waiting("stop", timeout=30)
    async with open_client() as client:
        run = client.get("x")
        updates = [asyncio.create_task(run.update(tell, value, update_id=str(value))) for value in (1, -1, 2)]
        await until_sent(client, "2")
        await run.signal(stop)
        async with open_runtime(check_with_an_event):
            assert await asyncio.wait_for(updates[0], 30) == "1, unchanged"
            with pytest.raises(UpdateFailedError, match="must not change the run"):
                await asyncio.wait_for(updates[1], 30)
            assert await asyncio.wait_for(updates[2], 30) == "2, unchanged"
            assert await run.result(timeout=30) == ["1, unchanged", "2, unchanged", "unchanged"]


# -- 20: handlers that are left ---------------------------------------------------------------------------


@workflow(on_unfinished="abandon")
async def abandon_an_update(ctx: Context) -> str:
    @ctx.on(add)
    async def _(value: int) -> int:
        await ctx.step(pass_gate, "gate")
        return value

    await ctx.wait_signal(stop)
    return "over"


async def test_an_abandoned_update_is_not_called_rejected(open_runtime):
    """Semantics 20: the sender of an abandoned update hears that it was accepted and not done."""
    async with open_runtime(abandon_an_update) as rt:
        run = await rt.start(abandon_an_update)
        updating = asyncio.create_task(run.update(add, 1))
        await gate("at gate").wait()
        await run.signal(stop)
        assert await run.result(timeout=30) == "over"
        with pytest.raises(UpdateFailedError, match="'add' was not done"):
            await asyncio.wait_for(updating, 30)
        kinds = [event.kind for event in await run.history()]
    assert EventKind.UPDATE_ACCEPTED in kinds
    assert EventKind.UPDATE_FAILED in kinds
