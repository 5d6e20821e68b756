"""Semantics 1 to 5: arguments, ids, handles, starts, ends."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel

from durable import Context, DefinitionError, RunCancelledError, RunFailedError, Signal, Update, step, workflow
from durable.errors import (
    DecodeError,
    MessageRejectedError,
    RunClosedError,
    RunExistsError,
    RunNotFoundError,
    RunTerminatedError,
)
from durable.handle import RunStatus
from durable.history import EventKind

pytestmark = pytest.mark.anyio

go = Signal("go", int)
rename = Update("rename", str, returns=str)


class Size(Enum):
    SMALL = "s"
    LARGE = "l"


@dataclass
class Point:
    x: int
    y: float = 0.5


@dataclass
class Circle:
    radius: int


class Line(BaseModel):
    sku: str
    price: Decimal
    size: Size = Size.SMALL


class Order(BaseModel):
    lines: list[Line]
    placed_at: datetime


@dataclass
class Everything:
    order: Order
    point: Point
    size: Size
    at: datetime
    raw: bytes
    amount: Decimal
    key: UUID
    shape: Point | Circle
    count_or_name: int | str
    maybe: Point | None
    by_size: dict[Size, list[Point]]
    pair: tuple[int, str]
    names: set[str]


EVERYTHING = Everything(
    order=Order(lines=[Line(sku="a", price=Decimal("9.90"))], placed_at=datetime(2026, 1, 2, 3, 4, 5, 6, UTC)),
    point=Point(1, 2.5),
    size=Size.LARGE,
    at=datetime(2026, 3, 1, 12, tzinfo=timezone(timedelta(hours=2))),
    raw=b"\x00\xff",
    amount=Decimal("0.10"),
    key=UUID("12345678-1234-5678-1234-567812345678"),
    shape=Circle(3),
    count_or_name="7",
    maybe=None,
    by_size={Size.SMALL: [Point(1)]},
    pair=(1, "one"),
    names={"x", "y"},
)


# -- 1: arguments -----------------------------------------------------------------------------------------


@step
async def describe(a: int, b: str = "default", c: str | None = "some", *rest: int, d: int = 4, **more: str) -> str:
    return repr((a, b, c, rest, d, more))


@workflow
async def describe_all(
    ctx: Context, a: int, b: str = "default", c: str | None = "some", *rest: int, d: int = 4
) -> list[str]:
    mine = repr((a, b, c, rest, d, {}))
    return [
        mine,
        await ctx.step(describe, a, b, c, *rest, d=d),
        await ctx.step(describe, 1),
        await ctx.step(describe, c=None, a=1),
        await ctx.step(describe, 1, "x", None, 5, 6, d=7, e="8"),
    ]


async def test_arguments_arrive_in_order_and_by_keyword(open_runtime):
    """Semantics 1: in order, by keyword too."""
    async with open_runtime(describe_all) as rt:
        by_position = await rt.start(describe_all, 1, "two", "three", 5, 6, d=7)
        by_keyword = await rt.start(describe_all, d=7, c="three", b="two", a=1)
        steps = await by_position.result(timeout=30)
        assert steps[:2] == [repr((1, "two", "three", (5, 6), 7, {}))] * 2
        assert steps[4] == repr((1, "x", None, (5, 6), 7, {"e": "8"}))
        assert (await by_keyword.result(timeout=30))[:2] == [repr((1, "two", "three", (), 7, {}))] * 2


async def test_an_omitted_argument_takes_its_default_and_none_stays_none(open_runtime):
    """Semantics 1: an omitted optional argument takes the Python default, explicit None stays None."""
    async with open_runtime(describe_all) as rt:
        omitted = await (await rt.start(describe_all, 1)).result(timeout=30)
        none = await (await rt.start(describe_all, 1, c=None)).result(timeout=30)
    assert omitted[:2] == [repr((1, "default", "some", (), 4, {}))] * 2
    assert none[:2] == [repr((1, "default", None, (), 4, {}))] * 2
    assert omitted[2] == repr((1, "default", "some", (), 4, {}))
    assert omitted[3] == repr((1, "default", None, (), 4, {}))


@step
async def echo_step(value: Everything) -> Everything:
    assert isinstance(value, Everything)
    return value


@workflow
async def echo(ctx: Context, value: Everything) -> Everything:
    assert isinstance(value.order.lines[0].size, Size)
    return await ctx.step(echo_step, value)


async def test_values_round_trip_by_annotation(open_runtime):
    """Semantics 1: models, dataclasses, enums, datetimes, bytes, Decimal, UUID, unions round-trip by annotation."""
    async with open_runtime(echo) as rt:
        back = await (await rt.start(echo, EVERYTHING)).result(timeout=30)
    assert back == EVERYTHING
    for name, value in vars(EVERYTHING).items():
        assert type(getattr(back, name)) is type(value), name
    assert back.at.utcoffset() == timedelta(hours=2)


@workflow
async def total(ctx: Context, order: Order) -> Decimal:
    return sum((line.price for line in order.lines), Decimal(0))


BAD_ORDER = {"lines": [{"sku": "a", "price": "1"}, {"sku": "b", "price": "much"}], "placed_at": "2026-01-01T00:00:00Z"}


async def test_an_undecodable_input_fails_the_run_with_the_path_of_the_field(open_client, open_runtime):
    """Semantics 1: an undecodable input fails with the path of the field (no schema is known to the sender)."""
    async with open_client() as client:
        run = await client.start("total", BAD_ORDER)
        async with open_runtime(total):
            with pytest.raises(RunFailedError, match=r"order\.lines\[1\]\.price") as caught:
                await run.result(timeout=30)
    assert isinstance(caught.value.__cause__, DecodeError)
    assert caught.value.__cause__.path == "order.lines[1].price"


async def test_a_misfit_input_is_refused_at_the_sender_where_the_schema_is_known(open_client, open_runtime):
    """Semantics 1: an undecodable input fails with the path of the field (the schema is published)."""
    async with open_runtime(total), open_client() as client:
        missing = {"lines": [{"sku": "a"}], "placed_at": "2026-01-01T00:00:00Z"}
        with pytest.raises(MessageRejectedError, match=r"order\.lines\[0\]\.price") as caught:
            await client.start(client.workflow("total", id="t"), missing)
        assert caught.value.data["path"] == "order.lines[0].price"
        with pytest.raises(RunNotFoundError):
            await client.get("t").describe()


# -- 2: a second start ------------------------------------------------------------------------------------


@workflow(messages=[go, rename])
async def wait_for_go(ctx: Context, base: int = 0) -> int:
    @ctx.on(rename)
    def _(name: str) -> str:
        return f"renamed to {name}"

    return base + await ctx.wait_signal(go)


async def test_a_second_start_attaches_by_default(open_runtime):
    """Semantics 2: a second start of an id attaches, also when the run has ended; another input is refused."""
    async with open_runtime(wait_for_go) as rt:
        first = await rt.start(wait_for_go.options(id="x"), 1)
        second = await rt.start(wait_for_go.options(id="x"), 1)
        assert second.run_id == first.run_id
        with pytest.raises(RunExistsError):
            await rt.start(wait_for_go.options(id="x"), 2)
        await second.signal(go, 10)
        assert await first.result(timeout=30) == 11
        ended = await rt.start(wait_for_go.options(id="x", on_conflict="attach"), base=1)
        assert ended.run_id == first.run_id
        assert await ended.result(timeout=30) == 11
        assert await rt.count(workflow_id="x") == 1


async def test_a_second_start_fails_if_that_was_chosen(open_runtime):
    """Semantics 2: on_conflict="fail" refuses an id that is taken and changes nothing."""
    async with open_runtime(wait_for_go) as rt:
        first = await rt.start(wait_for_go.options(id="x"))
        with pytest.raises(RunExistsError, match="x"):
            await rt.start(wait_for_go.options(id="x", on_conflict="fail"))
        await first.signal(go, 1)
        assert await first.result(timeout=30) == 1
        with pytest.raises(RunExistsError):
            await rt.start(wait_for_go.options(id="x", on_conflict="fail"))
        assert await rt.count(workflow_id="x") == 1


async def test_a_second_start_replaces_if_that_was_chosen(open_runtime):
    """Semantics 2: on_conflict="replace" terminates the open run and starts a new one; a closed one is left as it is."""
    replace = wait_for_go.options(id="x", on_conflict="replace")
    async with open_runtime(wait_for_go) as rt:
        first = await rt.start(wait_for_go.options(id="x"), 1)
        await first.until_waiting("go", timeout=30)
        second = await rt.start(replace, 2)
        assert second.run_id != first.run_id
        with pytest.raises(RunTerminatedError, match="replaced"):
            await first.result(timeout=30)
        await rt.get("x").signal(go, 10)
        assert await second.result(timeout=30) == 12
        third = await rt.start(replace, 3)
        await third.signal(go, 10)
        assert await third.result(timeout=30) == 13
        assert await second.status() is RunStatus.COMPLETED
        assert await rt.count(workflow_id="x") == 3


async def test_fifty_concurrent_starts_of_one_id_make_one_run(open_runtime, open_client):
    """Semantics 2: 50 concurrent starts of one id make one run."""
    async with open_runtime(wait_for_go) as rt, open_client() as other:
        handles = await asyncio.gather(
            *(source.start(wait_for_go.options(id="x"), 1) for source in (rt, other) for _ in range(25))
        )
        assert len({handle.run_id for handle in handles}) == 1
        assert await rt.count() == 1
        await rt.get("x").signal(go, 1)
        assert await asyncio.gather(*(handle.result(timeout=30) for handle in handles)) == [2] * 50


async def test_fifty_concurrent_replacements_leave_one_run_open(open_runtime):
    """Semantics 2: replacing starts that race leave exactly one open run."""
    replace = wait_for_go.options(id="x", on_conflict="replace")
    async with open_runtime(wait_for_go) as rt:
        handles = await asyncio.gather(*(rt.start(replace, number) for number in range(50)))
        assert len({handle.run_id for handle in handles}) == 50
        closed = [run async for run in rt.list(workflow_id="x", status="terminated")]
        assert len(closed) == 49


async def test_an_empty_id_is_refused(open_runtime):
    """Semantics 2: an empty id is refused."""
    async with open_runtime(wait_for_go) as rt:
        with pytest.raises(DefinitionError, match="non-empty"):
            wait_for_go.options(id="")
        with pytest.raises(DefinitionError, match="non-empty"):
            rt.workflow("wait_for_go", id="")
        with pytest.raises(DefinitionError, match="workflow id"):
            rt.get("")


# -- 3: handles -------------------------------------------------------------------------------------------


async def test_a_handle_of_a_closed_run_does_not_touch_a_later_run_of_the_id(open_runtime):
    """Semantics 3: a handle of a closed first run does not touch a later run of the same id."""
    async with open_runtime(wait_for_go) as rt:
        first = await rt.start(wait_for_go.options(id="x"), 1)
        await first.signal(go, 1)
        assert await first.result(timeout=30) == 2
        second = await rt.start(wait_for_go.options(id="x", on_conflict="replace"), 5)
        await second.until_waiting("go", timeout=30)
        before = await second.history()
        for touch in (
            first.signal(go, 100),
            first.update(rename, "y"),
            first.cancel(),
            first.terminate(),
            first.pause(),
            first.resume(),
        ):
            with pytest.raises(RunClosedError):
                await touch
        assert await first.result(timeout=30) == 2
        assert (await first.describe()).run_id == first.run_id
        assert await second.history() == before
        assert await second.status() is RunStatus.WAITING
        await second.signal(go, 1)
        assert await second.result(timeout=30) == 6


@workflow(messages=[go, rename])
async def relay(ctx: Context, hops: int) -> int:
    @ctx.on(rename)
    def _(name: str) -> str:
        return f"{name} after {hops} hops"

    got = await ctx.wait_signal(go)
    if got:
        ctx.continue_as_new(hops + 1)
    return hops


async def test_result_follows_continue_as_new(open_runtime):
    """Semantics 3: result() follows continue-as-new."""
    async with open_runtime(relay) as rt:
        run = await rt.start(relay.options(id="x"), 0)
        for more in (1, 1, 0):
            await rt.get("x").signal(go, more)
        assert await run.result(timeout=30) == 2
        assert await rt.count(workflow_id="x") == 3


async def test_messages_through_the_first_handle_follow_continue_as_new(open_runtime):
    """Semantics 3: a run that continues as new stays the same run to those who hold its handle."""
    async with open_runtime(relay) as rt:
        run = await rt.start(relay.options(id="x"), 0)
        await run.signal(go, 1)
        successor = await _until_current_run_differs(rt, "x", run.run_id)
        await run.until_waiting("go", timeout=30)
        assert await run.update(rename, "y", timeout=30) == "y after 1 hops"
        await run.signal(go, 1)
        await _until_current_run_differs(rt, "x", successor)
        await run.until_waiting("go", timeout=30)
        await run.cancel("enough")
        with pytest.raises(RunCancelledError, match="enough"):
            await run.result(timeout=30)


async def _until_current_run_differs(rt: Any, workflow_id: str, run_id: str) -> str:
    async def look() -> str | None:
        row = await rt.store.get_run(workflow_id)
        return row.run_id if row.run_id != run_id else None

    async with asyncio.timeout(30):
        return await rt.watch.until(look, lambda change: True)


# -- 4: starts --------------------------------------------------------------------------------------------


async def test_a_delayed_start_begins_when_its_delay_is_over(open_runtime, clock):
    """Semantics 4: start with a delay."""
    async with open_runtime(wait_for_go, clock=clock) as rt:
        run = await rt.start(wait_for_go.options(id="x", delay=timedelta(hours=1)))
        marker = await rt.start(wait_for_go.options(id="marker"))
        clock.advance(3599.0)
        await marker.until_waiting("go", timeout=30)
        assert await run.status() is RunStatus.PENDING
        assert await run.history() == []
        clock.advance(1.0)
        await run.until_waiting("go", timeout=30)
        assert (await run.history())[0].at_us == clock.now_us()


async def test_a_delayed_start_is_idempotent(open_runtime, clock):
    """Semantics 4: a start with a delay that is repeated makes one run, due when the first said."""
    delayed = wait_for_go.options(id="x", delay=60)
    async with open_runtime(wait_for_go, clock=clock) as rt:
        first = await rt.start(delayed, 1)
        clock.advance(59.0)
        second = await rt.start(delayed, 1)
        assert second.run_id == first.run_id
        clock.advance(1.0)
        await second.until_waiting("go", timeout=30)
        assert await rt.count() == 1


async def test_a_start_with_a_signal_delivers_both(open_runtime):
    """Semantics 4: a signal-with-start starts the run and delivers; repeated, it attaches and delivers."""

    async with open_runtime(wait_for_go, sum_two) as rt:
        run = await rt.start(wait_for_go.options(id="x").bind(1), with_signal=(go, 10))
        assert await run.result(timeout=30) == 11
        first = await rt.start(sum_two.options(id="y").bind(), with_signal=(go, 1))
        second = await rt.start(sum_two.options(id="y").bind(), with_signal=(go, 2))
        assert first.run_id == second.run_id
        assert await first.result(timeout=30) == [1, 2]


@workflow
async def sum_two(ctx: Context) -> list[int]:
    return [await ctx.wait_signal(go), await ctx.wait_signal(go)]


async def test_a_start_with_a_signal_is_idempotent(open_runtime, open_client):
    """Semantics 4: a signal-with-start that is repeated with its message id starts and signals once."""
    async with open_client() as client:
        for _ in range(3):
            await client.start(sum_two.options(id="x").bind(), with_signal=(go, 1, "m1"))
        async with open_runtime(sum_two) as rt:
            run = rt.get("x")
            await run.until_waiting("go", timeout=30)
            received = [event for event in await run.history() if event.kind == EventKind.SIGNAL_RECEIVED]
            assert len(received) == 1
            await run.signal(go, 2)
            assert await run.result(timeout=30) == [1, 2]
            await client.start(sum_two.options(id="x").bind(), with_signal=(go, 1, "m1"))
            assert await rt.count() == 1


async def test_a_signal_before_the_first_turn_is_not_lost(open_runtime, open_client, clock):
    """Semantics 4: a signal for a run that has not had its first turn is not lost."""
    async with open_client(clock=clock) as client:
        run = await client.start(wait_for_go.options(id="x", delay=60), 1)
        await run.signal(go, 10)
        assert await run.status() is RunStatus.PENDING
        clock.advance(60.0)
        async with open_runtime(wait_for_go, clock=clock):
            assert await run.result(timeout=30) == 11


# -- 5: ends ----------------------------------------------------------------------------------------------

trace: list[str] = []


@step
async def clean_up() -> None:
    trace.append("clean_up")


@workflow
async def tidy(ctx: Context) -> None:
    try:
        await ctx.wait_signal(go)
    finally:
        await ctx.step(clean_up)


async def test_terminate_runs_no_user_code(open_runtime):
    """Semantics 5: terminate runs no user code."""
    trace.clear()
    async with open_runtime(tidy) as rt:
        run = await rt.start(tidy)
        await run.until_waiting("go", timeout=30)
        await run.terminate("out of order")
        with pytest.raises(RunTerminatedError, match="out of order"):
            await run.result(timeout=30)
        with pytest.raises(RunClosedError):
            await run.signal(go, 1)
    assert trace == []


events: dict[str, asyncio.Event] = {}


@step
async def work_for_ever() -> None:
    events["begun"].set()
    try:
        await asyncio.Event().wait()
    finally:
        events["told"].set()


@workflow
async def busy(ctx: Context) -> None:
    await ctx.step(work_for_ever)


@pytest.mark.parametrize("by", ["this process", "another client"])
async def test_terminate_stops_the_steps_in_flight(open_runtime, open_client, by):
    """Semantics 5: after terminate no user code goes on either: a step in flight is cancelled."""
    events.update(begun=asyncio.Event(), told=asyncio.Event())
    async with open_runtime(busy) as rt, open_client() as client:
        run = await rt.start(busy.options(id="x"))
        async with asyncio.timeout(30):
            await events["begun"].wait()
            await (run if by == "this process" else client.get("x")).terminate()
            await events["told"].wait()
        with pytest.raises(RunTerminatedError):
            await run.result(timeout=30)


async def test_cancel_runs_finally(open_runtime):
    """Semantics 5: cancel runs ``finally``, which may await steps."""
    trace.clear()
    async with open_runtime(tidy) as rt:
        run = await rt.start(tidy)
        await run.until_waiting("go", timeout=30)
        await run.cancel("no longer needed")
        with pytest.raises(RunCancelledError, match="no longer needed"):
            await run.result(timeout=30)
        assert await run.status() is RunStatus.CANCELLED
    assert trace == ["clean_up"]


async def test_cancelling_an_unknown_id_says_so(open_runtime):
    """Semantics 5: cancelling an unknown id says so."""
    async with open_runtime(tidy) as rt:
        with pytest.raises(RunNotFoundError, match="nobody"):
            await rt.get("nobody").cancel()
