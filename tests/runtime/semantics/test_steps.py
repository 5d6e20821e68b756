"""Semantics 26 to 34: attempts, limits, heartbeats, isolation, outside completion, shutdown."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from typing import Any

import pytest

from durable import (
    CompleteLater,
    Context,
    DefinitionError,
    RetryAfter,
    RetryPolicy,
    StepError,
    StepTimeoutError,
    heartbeat,
    step,
    step_info,
    workflow,
)
from durable.codec import AesGcmCodec
from durable.errors import EncodeError, RunFailedError, StepCancelledError
from durable.handle import RunStatus
from durable.history import EventKind
from runtime import Worker
from semantics.clock import HeldClock

pytestmark = pytest.mark.anyio

seen: list[Any] = []
reached: asyncio.Event
tokens: list[str] = []


@pytest.fixture(autouse=True)
def fresh() -> None:
    """What steps of this module record."""
    global reached
    reached = asyncio.Event()
    seen.clear()
    tokens.clear()


QUICK = RetryPolicy(max_attempts=4, initial_interval=0.001)


# -- 26: retries ------------------------------------------------------------------------------------------


@step(retry=QUICK)
async def fails_twice() -> str:
    info = step_info()
    seen.append((info.attempt, info.idempotency_key))
    if info.attempt < 3:
        raise ConnectionError("not yet")
    return "done"


@step(retry=QUICK)
async def always_fails() -> None:
    seen.append(step_info().attempt)
    raise ConnectionError(f"attempt {step_info().attempt}")


class Fatal(Exception):
    pass


@step(retry=RetryPolicy(max_attempts=4, initial_interval=0.001, non_retryable=(Fatal,)))
async def fatal_by_class() -> None:
    seen.append(step_info().attempt)
    raise Fatal("by class")


@step(retry=RetryPolicy(max_attempts=4, initial_interval=0.001, non_retryable=("Fatal",)))
async def fatal_by_name() -> None:
    seen.append(step_info().attempt)
    raise Fatal("by name")


@step
async def fails_once_by_default() -> None:
    seen.append(step_info().attempt)
    raise Fatal("once")


@workflow
async def runs_step(ctx: Context, name: str) -> Any:
    return await ctx.step(STEPS[name])


STEPS = {s.name: s for s in (fails_twice, always_fails, fatal_by_class, fatal_by_name, fails_once_by_default)}


async def test_step_is_repeated_until_it_succeeds(open_runtime):
    """Semantics 26: retry with backoff until attempt N; per-attempt info; one key for all attempts."""
    async with open_runtime(runs_step) as rt:
        run = await rt.start(runs_step, "fails_twice")
        assert await run.result(timeout=30) == "done"
        assert [attempt for attempt, _ in seen] == [1, 2, 3]
        assert len({key for _, key in seen}) == 1
        attempts = (await run.describe()).attempts
        assert [(a.attempt, a.outcome, a.error) for a in attempts] == [
            (1, "failed", "not yet"),
            (2, "failed", "not yet"),
        ]


async def test_last_error_surfaces_after_the_last_attempt(open_runtime):
    """Semantics 26: after attempt N the step fails with its last error."""
    async with open_runtime(runs_step) as rt:
        with pytest.raises(RunFailedError) as caught:
            await (await rt.start(runs_step, "always_fails")).result(timeout=30)
        assert isinstance(caught.value.__cause__, ConnectionError)
        assert str(caught.value.__cause__) == "attempt 4"
        assert seen == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["fatal_by_class", "fatal_by_name", "fails_once_by_default"])
async def test_non_retryable_errors_and_the_default_end_at_once(open_runtime, name):
    """Semantics 26: non-retryable by class and by name; the default is one attempt."""
    async with open_runtime(runs_step) as rt:
        with pytest.raises(RunFailedError) as caught:
            await (await rt.start(runs_step, name)).result(timeout=30)
        assert isinstance(caught.value.__cause__, Fatal)
        assert seen == [1]


@step(retry=RetryPolicy(max_attempts=2, initial_interval=3600, max_interval=3600))
async def names_its_delay() -> str:
    if step_info().attempt == 1:
        raise RetryAfter(0.001, "soon")
    return "done"


@workflow
async def runs_named_delay(ctx: Context) -> str:
    return await ctx.step(names_its_delay)


async def test_error_may_carry_its_own_delay(open_runtime):
    """Semantics 26: an error may carry its own next delay."""
    async with open_runtime(runs_named_delay) as rt:
        assert await (await rt.start(runs_named_delay)).result(timeout=30) == "done"


@step(retry=RetryPolicy(max_attempts=2, initial_interval=3600, max_interval=3600))
async def fails_then_waits_an_hour() -> str:
    seen.append(step_info().attempt)
    if step_info().attempt == 1:
        raise ConnectionError("come back later")
    return "done"


@workflow
async def runs_patient_step(ctx: Context) -> str:
    return await ctx.step(fails_then_waits_an_hour)


async def test_delay_between_attempts_survives_a_restart(open_runtime):
    """Semantics 26: the delay survives a crash, and the attempt is not made again."""
    clock = HeldClock()
    async with open_runtime(runs_patient_step, clock=clock) as rt:
        run = await rt.start(runs_patient_step.options(id="x"))

        async def failed_once() -> bool | None:
            return True if await rt.store.read_attempts(run.run_id) else None

        await rt.watch.until(failed_once, lambda change: True)
    clock.advance(1800)
    async with open_runtime(runs_patient_step, clock=clock) as rt:
        await rt.get("x").describe()
        clock.advance(1799)
        await rt.get("x").describe()
        assert seen == [1]
        clock.advance(2)
        assert await rt.get("x").result(timeout=30) == "done"
        assert seen == [1, 2]


@pytest.mark.parametrize(
    "options",
    [
        {"max_attempts": 0},
        {"initial_interval": -1},
        {"backoff": 0.5},
        {"initial_interval": 10, "max_interval": 1},
        {"jitter": 2},
        {"non_retryable": "ValueError"},
        {"non_retryable": (1,)},
    ],
)
def test_invalid_policies_are_refused_when_they_are_defined(options):
    """Semantics 26: invalid policies are refused when they are defined."""
    with pytest.raises(DefinitionError, match="expected"):
        RetryPolicy(**options)


def test_at_most_once_with_more_than_one_attempt_is_refused():
    """Rule H4: more than one attempt of an at-most-once step is refused at definition."""
    with pytest.raises(DefinitionError, match="one attempt"):
        step(fails_twice.fn, name="x", delivery="at_most_once", retry=QUICK)


# -- 27: limits -------------------------------------------------------------------------------------------


@step(timeout=0.05)
async def too_slow() -> None:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        seen.append("cancelled")
        raise


@step(total_timeout=0.2, retry=RetryPolicy(max_attempts=None, initial_interval=0.01, max_interval=0.01))
async def fails_for_ever() -> None:
    raise ConnectionError("still down")


@workflow
async def waits_in_vain(ctx: Context, which: str) -> str:
    try:
        await ctx.step(too_slow if which == "attempt" else fails_for_ever)
    except StepTimeoutError as error:
        assert isinstance(error, TimeoutError)
        return f"{error.message}; {type(error.__cause__).__name__}"
    return "not reached"


async def test_timeout_of_one_attempt_cancels_the_step(open_runtime):
    """Semantics 27: the timeout of one attempt surfaces as StepTimeoutError; an async step is cancelled."""
    async with open_runtime(waits_in_vain) as rt:
        text = await (await rt.start(waits_in_vain, "attempt")).result(timeout=30)
        assert "'too_slow' took longer than its timeout" in text
        assert seen == ["cancelled"]


async def test_timeout_of_the_whole_step_carries_the_last_error(open_runtime):
    """Semantics 27: the timeout of the whole step is separate, with the last error as cause."""
    async with open_runtime(waits_in_vain) as rt:
        text = await (await rt.start(waits_in_vain, "total")).result(timeout=30)
        assert "total_timeout" in text
        assert text.endswith("ConnectionError")


hold = threading.Event()


@step(timeout=0.05)
def thread_too_slow() -> str:
    hold.wait(30)
    seen.append("thread went on")
    return "late"


@workflow
async def runs_slow_thread(ctx: Context) -> str:
    try:
        return await ctx.step(thread_too_slow)
    except StepTimeoutError:
        return "timed out"


async def test_timed_out_thread_goes_on_and_its_result_is_refused(open_runtime):
    """Semantics 27: a sync step cannot be stopped."""
    hold.clear()
    async with open_runtime(runs_slow_thread) as rt:
        assert await (await rt.start(runs_slow_thread)).result(timeout=30) == "timed out"
        assert seen == []
        hold.set()


# -- 28: heartbeats ---------------------------------------------------------------------------------------


@step(retry=QUICK)
async def counts(upto: int) -> list[Any]:
    info = step_info()
    seen.append(info.heartbeat_details)
    heartbeat({"at": info.attempt})
    if info.attempt < upto:
        raise ConnectionError("again")
    return list(seen)


@step(heartbeat_timeout=0.05)
async def silent() -> None:
    heartbeat("begun")
    await asyncio.Event().wait()


@workflow
async def beats(ctx: Context) -> list[Any]:
    return await ctx.step(counts, 3)


@workflow
async def goes_silent(ctx: Context) -> str:
    try:
        await ctx.step(silent)
    except StepTimeoutError as error:
        return error.message
    return "not reached"


async def test_heartbeat_details_reach_the_next_attempt(open_runtime):
    """Semantics 28: heartbeat details reach the next attempt, also those just before the failure."""
    async with open_runtime(beats) as rt:
        assert await (await rt.start(beats)).result(timeout=30) == [None, {"at": 1}, {"at": 2}]


async def test_missed_heartbeat_fails_the_attempt(open_runtime):
    """Semantics 28: a missed heartbeat fails the attempt."""
    async with open_runtime(goes_silent) as rt:
        assert "heartbeat_timeout" in await (await rt.start(goes_silent)).result(timeout=30)


# -- 29: threads and processes ----------------------------------------------------------------------------

flavour: contextvars.ContextVar[str] = contextvars.ContextVar("flavour", default="none")


@step
def in_thread() -> list[Any]:
    flavour.set("thread")
    return [threading.current_thread() is not threading.main_thread(), step_info().step]


@step(isolation="process")
def in_process(number: int) -> list[int]:
    return [os.getpid(), number * number]


@step(isolation="process")
def dies() -> None:
    os._exit(9)


@step(isolation="process")
def raises_in_process() -> None:
    raise Fatal("over there")


@workflow
async def isolates(ctx: Context, which: str) -> Any:
    if which == "thread":
        return await ctx.step(in_thread)
    if which == "process":
        return await ctx.step(in_process, 7)
    if which == "raise":
        return await ctx.step(raises_in_process)
    try:
        await ctx.step(dies)
    except StepError as error:
        return error.message
    return "not reached"


async def test_sync_steps_run_in_threads_with_context_variables(open_runtime):
    """Semantics 29: sync steps run in threads with contextvars."""
    async with open_runtime(isolates) as rt:
        assert await (await rt.start(isolates, "thread")).result(timeout=30) == [True, "in_thread"]
    assert flavour.get() == "none"


async def test_process_isolation(open_runtime):
    """Semantics 29: process isolation; a crashing process fails the attempt, not the worker."""
    async with open_runtime(isolates) as rt:
        pid, square = await (await rt.start(isolates, "process")).result(timeout=60)
        assert pid != os.getpid()
        assert square == 49
        assert "died" in await (await rt.start(isolates, "crash")).result(timeout=60)
        with pytest.raises(RunFailedError) as caught:
            await (await rt.start(isolates, "raise")).result(timeout=60)
        assert isinstance(caught.value.__cause__, Fatal)


# -- 30: what cannot be encoded ---------------------------------------------------------------------------


@step
async def takes_number(number: int) -> int:
    return number


@step
async def returns_nonsense() -> list[int]:
    return [1, object()]  # type: ignore[list-item]


@workflow
async def encodes_badly(ctx: Context, which: str) -> str:
    try:
        if which == "argument":
            await ctx.step(takes_number, "seven")  # type: ignore[arg-type]
        else:
            await ctx.step(returns_nonsense)
    except EncodeError as error:
        return error.path
    return "not reached"


async def test_argument_that_cannot_be_encoded_fails_that_call_and_records_nothing(open_runtime):
    """Semantics 30: an argument that cannot be encoded fails that call with its path, and records nothing partial."""
    async with open_runtime(encodes_badly) as rt:
        run = await rt.start(encodes_badly, "argument")
        assert "number" in await run.result(timeout=30)
        assert EventKind.STEP_SCHEDULED not in [event.kind for event in await run.history()]


async def test_result_that_cannot_be_encoded_fails_that_call(open_runtime):
    """Semantics 30: a result that cannot be encoded fails that call with the path of the value."""
    async with open_runtime(encodes_badly) as rt:
        run = await rt.start(encodes_badly, "result")
        assert "1" in await run.result(timeout=30)


# -- 31: completion from outside --------------------------------------------------------------------------


@step
async def hands_over() -> str:
    tokens.append(step_info().token)
    reached.set()
    raise CompleteLater


@workflow
async def waits_for_others(ctx: Context) -> str:
    try:
        return await ctx.step(hands_over)
    except (Fatal, StepError, StepCancelledError) as error:
        return f"{type(error).__name__}"


@pytest.mark.parametrize(
    ("finish", "expected"),
    [
        (lambda handle: handle.complete("from outside"), "from outside"),
        (lambda handle: handle.fail(Fatal("no")), "Fatal"),
        (lambda handle: handle.fail("in words"), "StepError"),
        (lambda handle: handle.cancel(), "StepCancelledError"),
    ],
)
async def test_step_is_completed_from_outside(open_runtime, finish, expected):
    """Semantics 31: a step may be completed from outside, with failure and cancel."""
    async with open_runtime(waits_for_others) as rt:
        run = await rt.start(waits_for_others)
        await reached.wait()
        await finish(rt.step(tokens[0]))
        assert await run.result(timeout=30) == expected


async def test_handed_over_step_survives_a_restart_and_is_not_run_again(open_runtime, open_client):
    """Semantics 31: the token stays good when the worker is gone."""
    async with open_runtime(waits_for_others) as rt:
        run = await rt.start(waits_for_others.options(id="x"))
        await run.until_waiting("hands_over", timeout=30)
    async with open_client() as client:
        await client.step(tokens[0]).complete("meanwhile")
    async with open_runtime(waits_for_others) as rt:
        assert await rt.get("x").result(timeout=30) == "meanwhile"
        assert len(tokens) == 1


@step(retry=QUICK)
async def returns_what_it_should_not(number: int) -> str:
    seen.append(number)
    return number  # type: ignore[return-value]


@workflow
async def expects_text(ctx: Context) -> str:
    return await ctx.step(returns_what_it_should_not, 7)


async def test_a_result_that_cannot_be_recorded_is_not_asked_for_again(open_runtime):
    """Semantics 30: the effect has happened, and another attempt would return the same."""
    async with open_runtime(expects_text) as rt:
        with pytest.raises(RunFailedError, match="the result of step 'returns_what_it_should_not'"):
            await (await rt.start(expects_text)).result(timeout=30)
        assert seen == [7]


# -- 32: routing ------------------------------------------------------------------------------------------


@step(queue="elsewhere", retry=QUICK)
async def routed(number: int) -> int:
    seen.append(step_info().attempt)
    if step_info().attempt == 1:
        raise ConnectionError("again")
    return number + 1


@workflow
async def routes(ctx: Context) -> int:
    return await ctx.step(routed, 41)


async def test_routed_step_waits_for_a_worker_that_has_it(open_runtime, url):
    """Semantics 32: a step that no worker has waits, visibly, and goes on when one has it."""
    async with open_runtime(routes) as rt:
        run = await rt.start(routes)
        await run.until_waiting("step 'routed' on queue 'elsewhere'", timeout=30)
        assert seen == []
        async with Worker(url, steps=[routed], queues=["elsewhere"]):
            assert await run.result(timeout=30) == 42
        assert seen == [1, 2]


@step(queue="elsewhere")
async def fails_at_first() -> int:
    seen.append(step_info().attempt)
    if len(seen) < 3:
        raise ConnectionError("again")
    return len(seen)


@workflow(default_retry=QUICK)
async def routes_with_its_default(ctx: Context) -> int:
    return await ctx.step(fails_at_first)


@workflow
async def routes_with_options(ctx: Context) -> int:
    return await ctx.step(fails_at_first.options(retry=QUICK))


@pytest.mark.parametrize("routes_so", [routes_with_its_default, routes_with_options], ids=["workflow's", "call's"])
async def test_routed_step_is_tried_again_as_its_call_says(open_runtime, url, routes_so):
    """Semantics 26, 32: the options of the call and the defaults of its workflow hold where the step runs."""
    async with open_runtime(routes_so) as rt, Worker(url, steps=[fails_at_first], queues=["elsewhere"]):
        assert await (await rt.start(routes_so)).result(timeout=30) == 3
        assert seen == [1, 2, 3]


@step
async def fails_twice() -> int:
    return await fails_at_first()


@workflow(default_retry=QUICK)
async def has_a_default(ctx: Context) -> int:
    return await ctx.step(fails_twice)


@workflow
async def has_none(ctx: Context) -> int:
    return await ctx.step(fails_twice)


@pytest.mark.parametrize(
    ("wf", "options", "attempts"),
    [
        (has_a_default, {}, 3),
        (has_none, {"default_retry": QUICK}, 3),
        (has_a_default, {"default_retry": RetryPolicy(max_attempts=1)}, 3),
        (has_none, {}, 1),
    ],
    ids=["workflow's", "runtime's", "workflow's first", "none"],
)
async def test_default_policy_is_the_workflows_or_else_the_runtimes(open_runtime, wf, options, attempts):
    """Semantics 26: one attempt, unless the step, its workflow or the runtime says otherwise, in this order."""
    async with open_runtime(wf, **options) as rt:
        run = await rt.start(wf)
        if attempts == 1:
            with pytest.raises(RunFailedError):
                await run.result(timeout=30)
        else:
            assert await run.result(timeout=30) == 3
        assert seen == list(range(1, attempts + 1))


async def test_routed_step_waits_for_a_worker_that_can_read_it(open_runtime, url, caplog):
    """Semantics 32: a worker without the codec of the arguments does not fail the step; one that has it goes on with it."""
    codecs = [AesGcmCodec(os.urandom(32))]
    async with open_runtime(routes, codecs=codecs) as rt:
        run = await rt.start(routes)
        async with Worker(url, steps=[routed], queues=["elsewhere"]):
            async with asyncio.timeout(30):
                while "cannot be read here" not in caplog.text:
                    await asyncio.sleep(0)
        assert await run.status() is RunStatus.WAITING
        async with Worker(url, steps=[routed], queues=["elsewhere"], codecs=codecs):
            assert await run.result(timeout=30) == 42
        assert seen == [1, 2]


# -- 33: shutdown -----------------------------------------------------------------------------------------

release: asyncio.Event


@step
async def finishes_when_released() -> str:
    seen.append("begun")
    reached.set()
    await release.wait()
    return "finished"


@workflow
async def waits_for_release(ctx: Context) -> str:
    return await ctx.step(finishes_when_released)


async def test_shutdown_lets_steps_finish(open_runtime, open_client):
    """Semantics 33: graceful shutdown lets steps finish for a grace period; nothing acknowledged is lost."""
    global release
    release = asyncio.Event()
    runtime = open_runtime(waits_for_release, grace_seconds=30)
    await runtime.open()
    await runtime.start(waits_for_release.options(id="x"))
    await reached.wait()
    closing = asyncio.ensure_future(runtime.close())
    await asyncio.sleep(0)
    release.set()
    await closing
    async with open_client() as client:
        kinds = [event.kind for event in await client.get("x").history()]
        assert EventKind.STEP_COMPLETED in kinds
    assert seen == ["begun"]


async def test_shutdown_cancels_what_outlives_the_grace_and_it_runs_again(open_runtime):
    """Semantics 33: then it cancels; the step runs again elsewhere, and that was no attempt."""
    global release
    release = asyncio.Event()
    async with open_runtime(waits_for_release, grace_seconds=0) as rt:
        await rt.start(waits_for_release.options(id="x"))
        await reached.wait()
    release.set()
    async with open_runtime(waits_for_release) as rt:
        run = rt.get("x")
        assert await run.result(timeout=30) == "finished"
        assert (await run.describe()).attempts == []
    assert seen == ["begun", "begun"]


# -- 34: what may be a step -------------------------------------------------------------------------------


class Shop:
    def __init__(self, factor: int) -> None:
        self.factor = factor

    async def price(self, amount: int) -> int:
        return amount * self.factor

    def __call__(self, amount: int) -> int:
        return amount - self.factor


async def power(base: int, exponent: int) -> int:
    return base**exponent


@workflow
async def calls_everything(ctx: Context) -> list[int]:
    shop = Shop(3)

    async def local(amount: int) -> int:
        return amount + 100

    return [
        await ctx.step(shop.price, 5),
        await ctx.step(shop, 5),
        await ctx.step(functools.partial(power, exponent=3), 2),
        await ctx.step(local, 1),
    ]


async def test_methods_callables_partials_and_local_functions_work_as_steps(open_runtime):
    """Semantics 34: methods, callable objects and functools.partial work as steps."""
    async with open_runtime(calls_everything) as rt:
        run = await rt.start(calls_everything)
        assert await run.result(timeout=30) == [15, 2, 8, 101]
        names = [event.name for event in await run.history() if event.kind == EventKind.STEP_SCHEDULED]
        assert names[:3] == ["Shop.price", "Shop", "power"]


@workflow
async def calls_lambda(ctx: Context) -> Any:
    return await ctx.step(lambda: 1)


async def test_lambda_is_refused_with_the_remedy(open_runtime):
    """Semantics 34: lambdas are refused with the remedy."""
    async with open_runtime(calls_lambda) as rt:
        with pytest.raises(RunFailedError, match="named function"):
            await (await rt.start(calls_lambda)).result(timeout=30)


def test_local_functions_are_refused_where_another_process_must_find_them():
    """Semantics 34: local functions are refused with the remedy where a name is needed."""

    async def local() -> None: ...

    with pytest.raises(DefinitionError, match="top of its module"):
        step(local, queue="gpu")
    with pytest.raises(DefinitionError, match="top of its module"):
        step(local, isolation="process")
    with pytest.raises(DefinitionError, match="top of its module"):
        step(power, compensate=local)


async def test_status_of_a_run_whose_step_runs_is_running(open_runtime):
    """A run with a step in flight is running, not waiting."""
    global release
    release = asyncio.Event()
    async with open_runtime(waits_for_release) as rt:
        run = await rt.start(waits_for_release)
        await reached.wait()
        assert await run.status() is RunStatus.RUNNING
        release.set()
        await run.result(timeout=30)
