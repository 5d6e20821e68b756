"""Validators and queries that change the workflow's variables are found out (rule K4)."""

from __future__ import annotations

import asyncio
import functools
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import pytest
from bench_run import KernelRun, update
from pydantic import BaseModel

from durable import Context, Query, Update, step, workflow
from durable.errors import ReadOnlyError
from durable.history import Fact
from durable.kernel.closure import MAX_STEPS, Variables

add = Update("add", int, returns=int)
look = Query("look", int)


@step
def work(number: int) -> None: ...


@dataclass
class Order:
    items: list[int] = field(default_factory=list)
    total: int = 0


class Cart(BaseModel):
    items: dict[str, int] = {}


class Plain:
    def __init__(self) -> None:
        self.count = 0
        self.me = self

    @functools.cached_property
    def slow(self) -> int:
        return 1

    def bump(self) -> None:
        self.count += 1


class Slotted:
    __slots__ = ("count", "never")

    def __init__(self) -> None:
        self.count = 0


def appending() -> Any:
    seen: list[int] = []
    return lambda: seen.append(1)


def rebinding() -> Any:
    count = 0

    def bump() -> None:
        nonlocal count
        count += 1

    return bump


def assigning() -> Any:
    late: int

    def first() -> None:
        nonlocal late
        late = 1

    return first


def through_a_helper() -> Any:
    order = Order()

    def helper() -> None:
        order.items.append(1)

    return lambda: helper()


def in_a_container() -> Any:
    known: dict[str, Any] = {"orders": [(1, Order())]}

    def bump() -> None:
        known["orders"][0][1].total += 1

    return bump


def in_a_model() -> Any:
    cart = Cart()

    def bump() -> None:
        cart.items["a"] = 1

    return bump


def in_slots() -> Any:
    slotted = Slotted()

    def bump() -> None:
        slotted.never = 1

    return bump


def by_a_default() -> Any:
    counts: defaultdict[str, int] = defaultdict(int)
    return lambda: counts["a"]


def in_bytes() -> Any:
    data = bytearray(b"a")

    def bump() -> None:
        data[0] = 0

    return bump


def replacing_an_equal() -> Any:
    orders = {1: Order()}

    def bump() -> None:
        orders[1] = Order()

    return bump


def far_behind() -> Any:
    many = list(range(10 * MAX_STEPS))
    return lambda: many.append(0)


def of_a_set() -> Any:
    numbers = frozenset({1}), {1}, deque([1])
    return lambda: numbers[1].add(2)


def of_an_event() -> Any:
    event = asyncio.Event()
    return lambda: event.set()


def of_a_queue() -> Any:
    queue: asyncio.Queue[int] = asyncio.Queue()
    return lambda: queue.put_nowait(1)


CHANGES = {
    "seen": appending, "count": rebinding, "late": assigning, "order": through_a_helper, "known": in_a_container,
    "cart": in_a_model, "slotted": in_slots, "counts": by_a_default, "data": in_bytes, "orders": replacing_an_equal,
    "many": far_behind, "numbers": of_a_set, "event": of_an_event, "queue": of_a_queue,
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_change_of_a_variable_is_seen(name):
    fn = CHANGES[name]()
    variables = Variables(fn)
    assert variables.changed() is None
    fn()
    assert variables.changed() == name


@pytest.mark.parametrize("make", [lambda plain: plain.bump, lambda plain: functools.partial(Plain.bump, plain)])
def test_change_behind_a_method_or_partial_is_seen(make):
    fn = make(Plain())
    variables = Variables(fn)
    assert variables.changed() is None
    fn()
    assert variables.changed() is not None


def test_what_only_reads_or_fills_a_cache_is_no_change():
    plain, lock, number = Plain(), asyncio.Lock(), 10**30

    def reads() -> int:
        nonlocal number
        number = int(str(number))  # an equal one
        return plain.slow + len(str(lock))

    variables = Variables(reads)
    reads()
    assert variables.changed() is None


@workflow(messages=[add, look])
async def cart(ctx: Context) -> None:
    seen: list[int] = []

    @ctx.on(add)
    def added(number: int) -> int:
        seen.append(number)
        return len(seen)

    @added.validator
    def check(number: int) -> None:
        if number < 0:
            seen.append(number)
            raise ValueError("negative")
        if number > 9:
            seen.append(number)

    @ctx.on(look)
    def looked() -> int:
        if len(seen) > 1:
            seen.clear()
        return len(seen)

    await ctx.wait_condition(lambda: 9 in seen)
    for number in seen:
        await ctx.step(work, number)


def adds(run: KernelRun, number: int) -> Fact:
    return update("add", run.seal(number), f"u{number}")


@pytest.mark.parametrize("number", [-1, 10])
def test_k4_update_whose_validator_changes_a_variable_is_refused_whatever_it_says(number):
    run = KernelRun(cart)
    run.apply(adds(run, 1))
    activation = run.apply(adds(run, number), adds(run, 9))
    (rejection,) = activation.rejections
    assert "the validator must not change the run, because replay does not call it" in rejection.error
    assert "it changed the variable 'seen' at test_closure.py:" in rejection.error
    assert run.replayer.loop.tainted
    assert len(activation.unread) == 1
    run.replayer.evict()
    run.replayer = run.replayed()
    run.apply(*activation.unread)
    assert run.kinds()[-3:] == ["UpdateAccepted", "UpdateCompleted", "StepScheduled"]
    (one, nine) = (event.payload for event in run.history if event.kind == "UpdateCompleted")
    assert (one[-2], nine[-2]) == ("1", "2")  # what the validator added is not there
    run.replayed()


def test_k4_query_that_changes_a_variable_fails():
    run = KernelRun(cart)
    run.apply(adds(run, 1))
    assert run.replayer.query("look", None) is not None
    assert not run.replayer.loop.tainted
    run.apply(adds(run, 2))
    with pytest.raises(ReadOnlyError, match=r"a query must not change the run.*'seen'"):
        run.replayer.query("look", None)
    assert run.replayer.loop.tainted
