"""Semantics 39 to 42: what makes a run stuck, what it costs, and how it goes on."""

from __future__ import annotations

import asyncio
import inspect
import sys
import time
from types import ModuleType
from typing import Any

import pytest

from durable import Context, Query, Signal, Update, step, workflow
from durable.errors import MessageRejectedError, QueryFailedError
from durable.handle import RunStatus
from durable.history import EventKind
from runtime import Worker
from semantics.flows import guarded, stalls
from semantics.process import WorkerProcess
from semantics.waiting import until_stuck

pytestmark = pytest.mark.anyio

go = Signal("go", int)
called: list[str] = []
begun: asyncio.Event
may_end: asyncio.Event


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record and wait for."""
    global begun, may_end
    begun, may_end = asyncio.Event(), asyncio.Event()
    called.clear()


@step
async def work(text: str) -> str:
    called.append(text)
    return text


@step
async def other_work(text: str) -> str:
    called.append(text)
    return text


@step(delivery="at_most_once")
async def pay() -> str:
    called.append("pay")
    begun.set()
    await may_end.wait()
    return "paid"


# -- 39: stuck, and mended --------------------------------------------------------------------------------


def good(version: str = "good") -> Any:
    @workflow(name="subject", version=version)
    async def definition(ctx: Context) -> list[Any]:
        first = await ctx.step(work, "first")
        return [first, await ctx.wait_signal(go)]

    return definition


def diverging() -> Any:
    @workflow(name="subject", version="diverging")
    async def definition(ctx: Context) -> list[Any]:
        first = await ctx.step(other_work, "first")
        return [first, await ctx.wait_signal(go)]

    return definition


def blocking() -> Any:
    @workflow(name="subject", version="blocking")
    async def definition(ctx: Context) -> list[Any]:
        await ctx.step(work, "first")
        value = await ctx.wait_signal(go)
        while True:
            value += 1

    return definition


def clocked() -> Any:
    @workflow(name="subject", version="clocked")
    async def definition(ctx: Context) -> list[Any]:
        first = await ctx.step(work, "first")
        value = await ctx.wait_signal(go)
        time.sleep(value)
        return [first]

    return definition


@pytest.mark.parametrize(
    ("bad", "reasons"),
    [
        (diverging, ["DUR1101", "recorded:  step('work')", "requested: step('other_work')", "test_stuck.py:"]),
        (blocking, ["DUR1103", "test_stuck.py:"]),
        (clocked, ["DUR1100", "time.sleep", "test_stuck.py:"]),
    ],
    ids=lambda item: item.__name__ if callable(item) else "",
)
async def test_a_stuck_run_loses_nothing_and_goes_on_with_mended_code(open_runtime, bad, reasons):
    """Semantics 39: nondeterminism, a blocked loop (and what the guard stops) make the run stuck: visible reason, no data
    lost, no message consumed, resumes on a fixed worker by itself."""
    definition = good()
    async with open_runtime(definition) as rt:
        run = await rt.start(definition.options(id="x"))
        await run.until_waiting("go", timeout=30)
        history = await run.history()
    async with open_runtime(bad(), blocked_seconds=0.1) as rt:
        run = rt.get("x")
        await run.signal(go, 7)
        row = await until_stuck(run)
        for text in reasons:
            assert text in (row.reason or "")
        assert (await run.describe()).reason == row.reason
        assert [summary.reason async for summary in rt.list(status="stuck")] == [row.reason]
        assert await run.history() == history
        assert [item.fact.name for item in await rt.store.read_inbox(row.run_id)] == ["go"]
    definition = good("mended")
    async with open_runtime(definition) as rt:
        assert await rt.get("x").result(timeout=30) == ["first", 7]
        assert called == ["first"]


async def test_a_stuck_run_stays_so_for_the_same_code_until_resumed(open_runtime):
    """Semantics 39: missing code: the class of a recorded error is gone; stuck again on the same code, mended by
    bringing it back and ``resume``."""
    shop = ModuleType("vanishing_shop")

    class SoldOut(Exception):
        pass

    SoldOut.__module__, SoldOut.__qualname__ = shop.__name__, "SoldOut"
    shop.SoldOut = SoldOut  # type: ignore[attr-defined]
    sys.modules[shop.__name__] = shop

    @step(name="buy")
    async def buy() -> None:
        raise shop.SoldOut("no more")  # type: ignore[attr-defined]

    @workflow(name="buys")
    async def buys(ctx: Context) -> list[Any]:
        try:
            await ctx.step(buy)
        except Exception as error:
            caught = type(error).__name__
        return [caught, await ctx.wait_signal(go)]

    try:
        async with open_runtime(buys) as rt:
            run = await rt.start(buys.options(id="x"))
            await run.until_waiting("go", timeout=30)
        del sys.modules[shop.__name__]
        async with open_runtime(buys) as rt:
            run = rt.get("x")
            await run.signal(go, 3)
            row = await until_stuck(run)
            assert "DUR1102" in (row.reason or "")
            assert "SoldOut" in (row.reason or "")
            await run.signal(go, 4)
            assert await run.status() is RunStatus.STUCK
            sys.modules[shop.__name__] = shop
            await run.resume()
            assert await run.result(timeout=30) == ["SoldOut", 3]
    finally:
        sys.modules.pop(shop.__name__, None)


async def test_a_missing_workflow_waits_for_a_worker_that_has_it(open_runtime, open_client):
    """Semantics 39: missing code: a run of a workflow that this worker does not have is left to one that has it."""
    definition = good()
    async with open_client() as client:
        await client.start(definition.options(id="x"))
        await client.get("x").signal(go, 1)

    @workflow(name="stranger")
    async def stranger(ctx: Context) -> int:
        return 1

    async with open_runtime(stranger) as rt:
        assert await (await rt.start(stranger)).result(timeout=30) == 1
        assert await rt.get("x").status() is RunStatus.PENDING
    async with open_runtime(definition) as rt:
        assert await rt.get("x").result(timeout=30) == ["first", 1]


def pays(version: str) -> Any:
    @workflow(name="pays", version=version)
    async def definition(ctx: Context) -> list[Any]:
        paying = asyncio.ensure_future(ctx.step(pay))
        value = await ctx.wait_signal(go)
        if version == "blocking":
            while True:
                value += 1
        return [value, await paying]

    return definition


async def test_a_result_that_arrives_while_the_run_is_stuck_is_kept(open_runtime, open_client):
    """Semantics 39: no data lost: a step in flight ends while its run is stuck; it is not run again, at-most-once or not."""
    definition = pays("blocking")
    async with open_runtime(definition, blocked_seconds=0.1) as rt:
        run = await rt.start(definition.options(id="x"))
        await begun.wait()
        await run.signal(go, 7)
        await until_stuck(run)
        may_end.set()
    async with open_client() as client:
        row = await client.get("x").row()
        assert (row.status, row.owner) == (RunStatus.STUCK, None)
        waiting = [item.fact.kind for item in await client.store.read_inbox(row.run_id)]
        assert sorted(waiting) == [EventKind.SIGNAL_RECEIVED, EventKind.STEP_COMPLETED]
    definition = pays("mended")
    async with open_runtime(definition) as rt:
        assert await rt.get("x").result(timeout=30) == [7, "paid"]
        assert called == ["pay"]


# -- 40: blocked loops ------------------------------------------------------------------------------------


@workflow
async def spins(ctx: Context) -> None:
    await ctx.step(work, "before")
    number = 0
    while True:
        number += 1


@workflow
async def works(ctx: Context) -> str:
    return await ctx.step(work, "elsewhere")


async def test_a_python_loop_is_interrupted_and_its_line_named(open_runtime, caplog):
    """Semantics 40: an endless loop is found and named with the stuck source line; a Python loop is interrupted, and the
    worker goes on with its other runs."""
    lines, first = inspect.getsourcelines(spins.fn)
    suspects = [first + index for index, line in enumerate(lines) if "while True" in line or "number += 1" in line]
    async with open_runtime(spins, works, blocked_seconds=0.1) as rt:
        row = await until_stuck(await rt.start(spins))
        assert any(f"test_stuck.py:{line} in spins" in (row.reason or "") for line in suspects)
        assert "0.1 s" in (row.reason or "")
        assert await (await rt.start(works)).result(timeout=30) == "elsewhere"


def test_the_limit_is_two_seconds_and_configurable():
    """Semantics 40: within 2 s (configurable)."""
    assert inspect.signature(Worker).parameters["blocked_seconds"].default == 2.0


async def test_a_call_into_c_is_reported_and_the_other_runs_go_on_elsewhere(
    open_runtime, open_client, url, cache_size, tmp_path
):
    """Semantics 40: a C call is reported while it lasts, and its worker's other runs go on elsewhere."""
    ledger = str(tmp_path / "ledger")
    process = WorkerProcess(url, cache_size=cache_size, lease_seconds=0.5, blocked_seconds=0.2)
    async with process, open_client() as rt:
        other = await rt.start(guarded, ledger)
        await process.said("holding in step")
        run = await rt.start(stalls)
        line = await process.heard("blocked the event loop")
        assert "flows.py:" in line
        assert "in stalls" in line
        assert "not interrupted" in line
        async with open_runtime(guarded, stalls, lease_seconds=0.5):
            assert await other.result(timeout=30) != process.pid
            assert await run.result(timeout=30) == "went on"


# -- 41: code that swallows -------------------------------------------------------------------------------


@workflow
async def swallows_cancellation(ctx: Context) -> int:
    while True:
        try:
            return await ctx.wait_signal(go)
        except asyncio.CancelledError:
            pass


@workflow
async def swallows_everything(ctx: Context) -> int:
    while True:
        try:
            return await ctx.wait_signal(go)
        except BaseException:
            pass


@workflow
async def sleeps_in_finally(ctx: Context) -> int:
    try:
        return await ctx.wait_signal(go)
    finally:
        for _ in range(100):
            try:
                await ctx.sleep(0.001)
            except BaseException:
                pass


@pytest.mark.parametrize(
    "definition", [swallows_cancellation, swallows_everything, sleeps_in_finally], ids=lambda d: d.name
)
async def test_code_that_swallows_everything_is_evicted_and_lets_its_worker_stop(open_runtime, definition):
    """Semantics 41: code that swallows CancelledError or BaseException can still be evicted, and a worker holding it can
    still stop; nothing of it reaches the history, and the run goes on elsewhere."""
    async with asyncio.timeout(60):
        async with open_runtime(definition, works) as rt:
            run = await rt.start(definition.options(id="x"))
            await run.until_waiting("go", timeout=30)
            engine = rt.worker.engine
            assert engine is not None
            engine.cache.clear()
            history = await run.history()
            assert await (await rt.start(works)).result(timeout=30) == "elsewhere"
        async with open_runtime(definition) as rt:
            run = rt.get("x")
            await run.until_waiting("go", timeout=30)
            assert await run.history() == history
            await run.signal(go, 5)
            assert await run.result(timeout=30) == 5


# -- 42: what ends an interpreter -------------------------------------------------------------------------


def sink(depth: int) -> int:
    return sink(depth + 1) + 1


def end_interpreter(how: str) -> None:
    match how:
        case "SystemExit":
            raise SystemExit(3)
        case "KeyboardInterrupt":
            raise KeyboardInterrupt
        case "RecursionError":
            sink(0)
        case "MemoryError":
            raise MemoryError


ask = Query("ask", int)
change = Update("change", int, returns=int)


def deadly(version: str) -> Any:
    @workflow(name="deadly", version=version)
    async def definition(ctx: Context, how: str, place: str) -> str:
        is_deadly = version == "deadly"
        changed: list[int] = []

        @ctx.on(change)
        async def _change(number: int) -> int:
            if is_deadly and place == "handler":
                end_interpreter(how)
            changed.append(number)
            return number

        @_change.validator
        def _check(number: int) -> None:
            if is_deadly and place == "validator":
                end_interpreter(how)

        @ctx.on(ask)
        def _ask() -> int:
            end_interpreter(how)
            return 1

        async def task() -> None:
            end_interpreter(how)

        await ctx.wait_signal(go)
        if is_deadly:
            match place:
                case "root":
                    end_interpreter(how)
                case "task":
                    async with asyncio.TaskGroup() as group:
                        group.create_task(task())
                case "callback":
                    asyncio.get_running_loop().call_soon(end_interpreter, how)
                    await asyncio.sleep(0)
                case "condition":
                    await ctx.wait_condition(lambda: end_interpreter(how) is not None)
        await ctx.wait_condition(lambda: bool(changed) or place not in ("handler", "validator"))
        return "lived"

    return definition


HOWS = ["SystemExit", "KeyboardInterrupt", "RecursionError", "MemoryError"]


PLACES = [
    (how, place)
    for how in HOWS
    for place in ("root", "task", "callback", "condition", "handler", "validator")
    if place != "validator" or how in ("SystemExit", "KeyboardInterrupt")
]


@pytest.mark.parametrize(("how", "place"), PLACES)
async def test_what_ends_an_interpreter_makes_the_run_stuck(open_runtime, open_client, how, place):
    """Semantics 42: SystemExit, KeyboardInterrupt, RecursionError, MemoryError in workflow code: the run is stuck and says
    so, the worker and its other runs go on, and mended code goes on with the run."""
    definition = deadly("deadly")
    async with open_runtime(definition, works) as rt:
        run = await rt.start(definition.options(id="x"), how, place)
        await run.until_waiting("go", timeout=30)
        await run.signal(go, 1)
        if place in ("handler", "validator"):
            await run.until_waiting("condition", timeout=30)
            updating = asyncio.ensure_future(run.update(change, 1, update_id="u", timeout=30))
        row = await until_stuck(run)
        assert "DUR1105" in (row.reason or "")
        assert how in (row.reason or "")
        assert await (await rt.start(works)).result(timeout=30) == "elsewhere"
        if place in ("handler", "validator"):
            updating.cancel()
            await asyncio.wait([updating])
    definition = deadly("mended")
    async with open_runtime(definition) as rt:
        assert await rt.get("x").result(timeout=30) == "lived"


@pytest.mark.parametrize("how", ["RecursionError", "MemoryError"])
async def test_a_validator_that_runs_out_of_stack_or_memory_refuses_the_update(open_runtime, how):
    """Semantics 42: what a sender sent was too much for the validator: the update is refused, and the run does not suffer."""
    definition = deadly("deadly")
    async with open_runtime(definition) as rt:
        run = await rt.start(definition, how, "validator")
        with pytest.raises(MessageRejectedError):
            await run.update(change, 1, timeout=30)
        assert await run.status() is RunStatus.WAITING


@pytest.mark.parametrize("how", HOWS)
async def test_what_ends_an_interpreter_fails_only_the_query(open_runtime, how):
    """Semantics 42: in a query handler it fails the query; the run never hears of it."""
    definition = deadly("deadly")
    async with open_runtime(definition) as rt:
        run = await rt.start(definition, how, "query")
        await run.until_waiting("go", timeout=30)
        with pytest.raises(QueryFailedError, match=how):
            await run.query(ask, timeout=30)
        await run.signal(go, 1)
        assert await run.result(timeout=30) == "lived"
