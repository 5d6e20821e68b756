"""What seldom happens to a run on the kernel: misuse of the context, outcomes that do not fit, errors in odd places."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import anyio
import pydantic
import pytest
from bench_run import KernelRun, cancel, signal, update

from durable import Context, DeterminismError, Query, Signal, Update, step, workflow
from durable.errors import (
    ConditionTimeoutError,
    DecodeError,
    MessageRejectedError,
    NondeterminismError,
    QuestionTimeoutError,
    SignalTimeoutError,
    WorkflowAbortError,
)
from durable.handle import RollbackStatus, RunStatus
from durable.history import EventKind, Fact

go = Signal("go", int)
look = Query("look", int)
add = Update("add", int, returns=int)


async def work(number: int) -> int:
    return number


@step
async def undo(number: int) -> None: ...


@workflow
async def child(ctx: Context, number: int) -> int:
    return number


def error_of(run: KernelRun) -> dict[str, Any]:
    """How a run failed."""
    assert run.replayer.status is RunStatus.FAILED, run.kinds()
    return pydantic.TypeAdapter(dict[str, Any]).validate_json(run.envelope.open(run.history[-1].payload or ""))


def result_of(run: KernelRun) -> str:
    assert run.replayer.status is RunStatus.COMPLETED, run.kinds()
    return run.envelope.open(run.history[-1].payload or "")


# -- misuse -------------------------------------------------------------------------------------------------


async def on_text(ctx: Context) -> None:
    ctx.on("go")(lambda: None)  # type: ignore[arg-type]


async def async_query(ctx: Context) -> None:
    @ctx.on(look)
    async def _() -> int:
        return 1


async def two_kinds(ctx: Context) -> None:
    ctx.on(go)(lambda value: None)
    ctx.on(Update("go", int))(lambda value: None)


async def validated_signal(ctx: Context) -> None:
    ctx.on(go)(lambda value: None).validator(lambda value: None)


async def async_validator(ctx: Context) -> None:
    async def check(value: int) -> None: ...

    ctx.on(add)(lambda value: value).validator(check)


async def empty_prompt(ctx: Context) -> None:
    await ctx.ask_user("")


async def same_key_twice(ctx: Context) -> None:
    await asyncio.gather(*(ctx.ask_user("How many?", int, key="size") for _ in range(2)))


async def child_of_a_function(ctx: Context) -> None:
    await ctx.child_workflow(work, 1)  # type: ignore[arg-type]


async def another_without_id(ctx: Context) -> None:
    await ctx.workflow("").signal(go, 1)


async def odd_attribute(ctx: Context) -> None:
    ctx.set_attributes(when=[1])


async def awaited_twice(ctx: Context) -> None:
    operation = ctx.step(work, 1)
    await ctx.sleep(0)
    task = asyncio.ensure_future(operation)
    await asyncio.sleep(0)
    task.cancel()
    await operation


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (on_text, "expected a Signal, Query or Update, got 'go'"),
        (async_query, "must be a plain function: a query cannot wait"),
        (two_kinds, "'go' is a signal already"),
        (validated_signal, "only updates have validators"),
        (async_validator, "must be a plain function: it cannot wait"),
        (empty_prompt, "expected a prompt in words, got ''"),
        (same_key_twice, "a question with the key 'size' is open already"),
        (child_of_a_function, "expected a workflow, got <function work"),
        (another_without_id, "expected a workflow id to be a non-empty text, got ''"),
        (odd_attribute, "expected attribute when to be a text, finite number or boolean"),
        (awaited_twice, "work was awaited already; call ctx again"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_misuse_of_the_context_fails_the_run_with_what_was_expected(code: Callable[..., Any], words: str):
    run = KernelRun(workflow(code))
    assert words in error_of(run)["message"]
    assert run.replayed().status is RunStatus.FAILED


@pytest.mark.parametrize(
    ("called", "remedy"),
    [(lambda: undo(1), r"await ctx\.step\(undo"), (lambda: child(None, 1), r"await ctx\.child_workflow\(child")],  # type: ignore[arg-type]
    ids=["step", "workflow"],
)
def test_a_definition_that_is_called_directly_makes_the_run_stuck(called, remedy):
    @workflow
    async def calls(ctx: Context) -> None:
        called()

    with pytest.raises(DeterminismError, match=remedy):
        KernelRun(calls)


# -- outcomes that do not fit or come late ------------------------------------------------------------------


@workflow
async def hears_of_a_misfit(ctx: Context) -> str:
    try:
        await ctx.step(work, 1)
    except DecodeError as error:
        first = str(error)
    try:
        await ctx.child_workflow(child, 1)
    except DecodeError as error:
        return f"{first} {error}"
    return "fine"


def test_a_result_of_another_type_is_an_error_of_the_call():
    run = KernelRun(hears_of_a_misfit)
    run.apply(run.completed("work", "text"))
    run.apply(Fact(EventKind.CHILD_COMPLETED, run.number_of("child"), "child", None, run.seal("text")))
    assert result_of(run).count("DUR") == 2
    assert run.replayed().status is RunStatus.COMPLETED


@workflow
async def gives_up_and_waits(ctx: Context) -> str:
    """Starts one of each kind of wait, is cancelled in all of them, and waits for a signal."""
    waits = [
        asyncio.ensure_future(wait)
        for wait in (ctx.sleep(5), ctx.workflow("other").signal(go, 1), ctx.child_workflow(child, 1))
    ]
    await asyncio.sleep(1)
    for wait in waits:
        wait.cancel()
    await asyncio.wait(waits)
    await ctx.wait_signal(go)
    return "went on"


def test_outcomes_that_come_beside_the_cancellation_of_their_wait_are_taken_and_ignored():
    run = KernelRun(gives_up_and_waits)
    delivered = Fact(EventKind.MESSAGE_DELIVERED, run.number_of("go"), "go")
    ended = Fact(EventKind.CHILD_COMPLETED, run.number_of("child"), "child", None, run.seal(1))
    run.advance(1)
    run.apply(delivered, ended)
    run.advance(10)
    run.apply(signal("go", run.seal(1)))
    assert result_of(run) == '"went on"'
    assert run.replayed().status is RunStatus.COMPLETED


@workflow
async def answers_late(ctx: Context) -> str:
    task = asyncio.ensure_future(ctx.ask_user("How many?", int, key="size"))
    sleeping = asyncio.ensure_future(ctx.sleep(1))

    @ctx.on(go)
    def _(value: int) -> None:
        task.cancel()
        sleeping.cancel()

    await asyncio.wait([task, sleeping])
    await ctx.sleep(1)
    return f"{task.cancelled()} {sleeping.cancelled()}"


def test_an_answer_and_a_timer_beside_the_signal_that_gives_them_up_change_nothing():
    run = KernelRun(answers_late)
    run.now_us += 1_000_000
    run.apply(
        signal("go", run.seal(1)),
        Fact(EventKind.QUESTION_ANSWERED, run.number_of("size"), "size", None, run.seal(1), "user:bob"),
    )
    run.advance(1)
    assert result_of(run) in ('"True True"', '"False False"')
    assert run.replayed().status is RunStatus.COMPLETED


# -- ends ---------------------------------------------------------------------------------------------------


@workflow
async def returns_the_unspeakable(ctx: Context) -> int:
    await ctx.step(work, 1)
    return "no number"  # type: ignore[return-value]


def test_a_result_that_cannot_be_recorded_fails_the_run():
    """Semantics 30: an argument or result that cannot be encoded fails that call; that of a workflow fails the run."""
    run = KernelRun(returns_the_unspeakable)
    run.apply(run.completed("work", 1))
    assert "expected" in error_of(run)["message"]
    assert run.replayed().status is RunStatus.FAILED


class Peeking(pydantic.BaseModel):
    path: str

    @pydantic.field_serializer("path")
    def _peek(self, path: str) -> str:
        with open(path) as file:
            return file.read()


@workflow
async def peeks(ctx: Context, path: str) -> Peeking:
    return Peeking(path=path)


def test_what_is_forbidden_is_forbidden_in_the_recording_of_a_result_as_well():
    with pytest.raises(DeterminismError, match="open"):
        KernelRun(peeks, "/etc/hostname")


@workflow
async def leaves_a_handler_behind(ctx: Context) -> str:
    @ctx.on(go)
    async def _(value: int) -> None:
        await ctx.sleep(3600)

    await ctx.wait_condition(lambda: ctx.info.history_events > 3)
    return "returned"


def test_a_cancellation_reaches_a_run_whose_function_has_returned_and_whose_handlers_have_not():
    run = KernelRun(leaves_a_handler_behind)
    run.apply(signal("go", run.seal(1)))
    run.apply(signal("go", run.seal(1), message_id="n"))
    assert run.replayer.status is RunStatus.RUNNING
    run.apply(cancel("enough"))
    assert run.replayer.status is RunStatus.CANCELLED
    assert run.replayed().status is RunStatus.CANCELLED


undoable = step(work, name="undoable", compensate=undo)


@workflow
async def fails_beside_others(ctx: Context) -> None:
    others = [asyncio.ensure_future(ctx.step(undoable, number)) for number in (1, 2)]
    await ctx.wait_signal(go)
    assert not any(other.done() for other in others)
    raise ValueError("enough")


def test_a_rollback_waits_for_what_it_has_to_undo():
    run = KernelRun(fails_beside_others)
    run.apply(signal("go", run.seal(1)))
    assert run.replayer.rollback is RollbackStatus.RUNNING
    run.apply(*(Fact(EventKind.STEP_COMPLETED, number, "undoable", None, run.seal(number)) for number in (1, 2)))
    while run.replayer.open:
        [number] = run.replayer.open
        run.apply(Fact(EventKind.STEP_COMPLETED, number, "undo", None, run.seal(None)))
    assert run.replayer.rollback is RollbackStatus.COMPLETED
    assert run.replayed().rollback is RollbackStatus.COMPLETED


@workflow
async def gives_up_undoing(ctx: Context) -> str:
    async def fails() -> None:
        async with ctx.saga():
            kept = asyncio.ensure_future(ctx.step(undoable, 1))
            await ctx.wait_signal(go)
            assert not kept.done()
            raise ValueError("undo it")

    task = asyncio.create_task(fails())
    await ctx.wait_condition(lambda: ctx.info.history_events > 3)
    task.cancel()
    await asyncio.wait([task])
    await ctx.sleep(1)
    return f"{task.cancelled()}"


def test_who_was_cancelled_while_it_waited_to_undo_is_not_woken_any_more():
    run = KernelRun(gives_up_undoing)
    run.apply(signal("go", run.seal(1)))
    run.apply(signal("go", run.seal(1), message_id="n"))
    run.apply(Fact(EventKind.STEP_CANCELLED, 1, "undoable"))
    run.advance(1)
    assert result_of(run) == '"True"'
    assert run.replayed().status is RunStatus.COMPLETED


# -- messages -----------------------------------------------------------------------------------------------


@workflow(messages=[go, add])
async def takes_updates(ctx: Context) -> int:
    @ctx.on(add)
    def _(value: int) -> int:
        if value == 666:
            raise RecursionError
        return value

    @ctx.on(go)
    def _(value: int) -> None:
        raise RecursionError

    await ctx.wait_condition(lambda: False)
    return 0


def test_an_update_that_does_not_fit_its_schema_is_refused_with_the_path():
    run = KernelRun(takes_updates)
    activation = run.apply(update("add", run.seal("text")))
    [rejection] = activation.rejections
    assert MessageRejectedError.__name__ in rejection.error
    assert "does not fit its schema" in rejection.error
    assert activation.events == []


def test_an_accepted_update_without_a_handler_is_a_divergence():
    run = KernelRun(takes_updates)
    run.apply(update("add", run.seal(1)))

    @workflow(name="takes_updates")
    async def takes_none(ctx: Context) -> int:
        await ctx.wait_condition(lambda: False)
        return 0

    run.workflow = takes_none
    with pytest.raises((NondeterminismError, DeterminismError), match="no handler for update 'add'"):
        run.replayed()


@pytest.mark.parametrize(
    "fact", [lambda run: signal("go", run.seal(1)), lambda run: update("add", run.seal(666))], ids=["signal", "update"]
)
def test_what_ends_an_interpreter_ends_the_activation_from_a_handler_too(fact):
    """Rule L8."""
    run = KernelRun(takes_updates)
    with pytest.raises(WorkflowAbortError, match="RecursionError"):
        run.apply(fact(run))


# -- the rest of the context --------------------------------------------------------------------------------


@workflow
async def asks_too_late(ctx: Context) -> list[str]:
    said = []
    for wait, kind in (
        (ctx.ask_approval("Really?", timeout=1), QuestionTimeoutError),
        (ctx.ask_user("Who?", timeout=1), QuestionTimeoutError),
        (ctx.wait_signal(go, timeout=0), SignalTimeoutError),
        (ctx.wait_condition(lambda: False, timeout=0), ConditionTimeoutError),
    ):
        try:
            await wait
        except kind as error:
            said.append(type(error).__name__)
    return said


def test_every_wait_that_expires_says_so_in_its_own_error():
    run = KernelRun(asks_too_late)
    run.advance(1)
    run.advance(1)
    assert result_of(run).count("TimeoutError") == 4


replaying: list[bool] = []


@workflow
async def tells_about_itself(ctx: Context) -> list[Any]:
    info = ctx.info
    ctx.log.debug("a detail")
    ctx.log.error("a %s", "mistake")
    with ctx.unguarded(), ctx.unguarded():
        pass
    await ctx.step(step(work, name="named", idempotency_key="mine"), 1)
    await ctx.step(step(work, name="made", idempotency_key=lambda number: f"mine-{number}"), 2)
    loop = asyncio.get_running_loop()
    loop.call_exception_handler({"message": "said by hand"})
    loop.call_exception_handler({"message": "without an error", "handle": None})
    with anyio.move_on_after(timedelta(seconds=1).total_seconds()):
        await ctx.sleep(0)
    replaying.append(info.is_replaying)  # durable: ignore[DURL402]
    return [info.parent_run_id, info.workflow, info.started_at.isoformat(), info.is_replaying]


def test_a_run_knows_itself_and_its_logger():
    replaying.clear()
    run = KernelRun(tells_about_itself)
    assert run.last.logs == [("DEBUG", "a detail"), ("ERROR", "a mistake")]
    assert [command.idempotency_key for command in run.commands] == ["mine"]
    run.apply(run.completed("named", 1))
    assert [command.idempotency_key for command in run.commands] == ["mine", "mine-2"]
    assert repr(run.commands[0]) == "<ScheduleStep 1 named>"
    run.apply(run.completed("made", 1))
    assert ("WARNING", "said by hand") in run.last.logs
    assert result_of(run) == '[null,"tells_about_itself","1970-01-01T00:16:40+00:00",false]'
    with suppress(NondeterminismError):  # a result that says whether it is replayed differs
        run.replayed()
    assert replaying == [False, True]


@workflow
async def throws_by_hand(ctx: Context) -> list[str]:
    """What drives coroutines by hand, as old libraries do: the class and the value apart."""
    said = []
    for arguments in ((ValueError,), (ValueError, ValueError("apart")), (ValueError("whole"),)):
        for is_begun in (False, True):
            operation = ctx.step(work, 1)
            if is_begun:
                operation.send(None)
            try:
                operation.throw(*arguments)
            except ValueError as error:
                said.append(str(error))
    try:
        raise KeyError
    except KeyError as error:
        try:
            ctx.step(work, 1).throw(ValueError, None, error.__traceback__)
        except ValueError as thrown:
            said.append(str(thrown.__traceback__ is not None))
    return [*said, repr(operation)]


def test_an_operation_can_be_thrown_into_by_hand():
    run = KernelRun(throws_by_hand, strict=False)
    assert result_of(run) == ('["","","apart","apart","whole","whole","True","<operation work>"]')
