"""The rules K of docs/architecture.md, each named by its tests."""

import asyncio
from datetime import timedelta

import pytest
from bench_run import SECOND, KernelRun, cancel, signal, update

from durable import Context, Query, Signal, Update, workflow
from durable.commands import AskQuestion, ScheduleStep, StartTimer
from durable.errors import NondeterminismError
from durable.handle import RunStatus
from durable.history import Event, EventKind, split_batches, verify_chain

go = Signal("go", int)
look = Query("look", list[int])
add = Update("add", int, returns=int)


async def work(n: int) -> int:
    return n


async def other(n: int) -> int:
    return n


@workflow
async def two_steps(ctx: Context) -> int:
    first = await ctx.step(work, 1)
    return first + await ctx.step(other, 2)


def test_k1_completion_and_next_schedule_share_a_batch():
    run = KernelRun(two_steps)
    activation = run.apply(run.completed("work", 1))
    assert [event.kind for event in activation.events] == [EventKind.STEP_COMPLETED, EventKind.STEP_SCHEDULED]
    assert len({event.batch for event in activation.events}) == 1


def test_k1_step_is_recorded_by_the_turn_that_hands_out_its_command():
    run = KernelRun(two_steps)
    assert [command.name for command in run.last.commands] == ["work"]
    assert run.last.events[-1].kind == EventKind.STEP_SCHEDULED


@workflow(messages=[go])
async def cancelled_beside_completion(ctx: Context) -> str:
    try:
        await ctx.step(work, 1)
    except asyncio.CancelledError:
        return "cancelled"
    await ctx.sleep(1)
    return "went on"


def test_k2_cancellation_beside_a_completion_is_not_lost():
    run = KernelRun(cancelled_beside_completion)
    run.apply(run.completed("work", 1), cancel("stop"))
    assert run.replayer.status is RunStatus.COMPLETED
    assert run.envelope.open(run.history[-1].payload) == '"cancelled"'
    assert run.replayed().status is RunStatus.COMPLETED


def test_k3_start_is_a_batch_of_its_own_and_the_body_sees_a_cancellation_before_its_first_turn():
    seen = []

    @workflow
    async def body(ctx: Context) -> None:
        seen.append("began")
        try:
            await ctx.sleep(10)
        except asyncio.CancelledError:
            seen.append(ctx.info.cancel_reason)
            raise

    run = KernelRun.__new__(KernelRun)
    original = KernelRun.apply

    def apply_with_cancel(self: KernelRun, *facts):  # the start and a cancellation arrive together
        return original(self, *facts, cancel("early"))

    KernelRun.apply = apply_with_cancel
    try:
        run.__init__(body)
    finally:
        KernelRun.apply = original
    assert seen == ["began", "early"]
    assert [len({event.batch for event in batch}) for batch in split_batches(run.history)] == [1, 1]
    assert run.history[0].batch != next(e for e in run.history if e.kind == EventKind.CANCEL_REQUESTED).batch
    assert run.replayer.status is RunStatus.CANCELLED


def make_counter():
    @workflow(messages=[add, look])
    async def counter(ctx: Context) -> int:
        values: list[int] = []

        @ctx.on(add)
        async def handle(value: int) -> int:
            values.append(value)
            return len(values)

        @handle.validator
        def check(value: int) -> None:
            if len(values) >= 1:
                raise ValueError("full")

        @ctx.on(look)
        def report() -> list[int]:
            return values

        await ctx.wait_condition(lambda: len(values) >= 2)
        return len(values)

    return counter


def test_k4_second_validator_sees_what_the_first_update_did():
    run = KernelRun(make_counter())
    activation = run.apply(update("add", run.seal(1), "u1"), update("add", run.seal(2), "u2"))
    assert [rejection.update_id for rejection in activation.rejections] == ["u2"]
    assert "full" in activation.rejections[0].error
    assert [e.kind for e in activation.events] == [EventKind.UPDATE_ACCEPTED, EventKind.UPDATE_COMPLETED]


def test_k4_rejected_update_leaves_no_event():
    run = KernelRun(make_counter())
    run.apply(update("add", run.seal(1), "u1"))
    before = list(run.history)
    run.apply(update("add", run.seal(2), "u2"))
    assert run.history == before


@pytest.mark.parametrize("attempt", ["step", "task", "future", "timer", "publish"])
def test_k4_query_that_changes_something_is_refused_by_name(attempt):
    from durable.errors import ReadOnlyError

    @workflow(messages=[look])
    async def asked(ctx: Context) -> None:
        @ctx.on(look)
        def report() -> list[int]:
            if attempt == "step":
                ctx.step(work, 1).send(None)
            elif attempt == "task":
                coroutine = asyncio.sleep(0)
                try:
                    asyncio.get_running_loop().create_task(coroutine)
                finally:
                    coroutine.close()
            elif attempt == "future":
                asyncio.get_running_loop().create_future()
            elif attempt == "timer":
                asyncio.get_running_loop().call_later(1, print)
            else:
                ctx.publish("x", 1)
            return []

        await ctx.sleep(1)

    run = KernelRun(asked, strict=False)
    before = list(run.history)
    with pytest.raises(ReadOnlyError, match="a query must not change the run"):
        run.replayer.query("look", None)
    assert run.history == before


@workflow
async def net_zero(ctx: Context) -> None:
    async with asyncio.timeout(10):
        pass
    await ctx.step(work, 1)


def test_k5_taken_back_command_keeps_its_number_and_leaves_no_event():
    run = KernelRun(net_zero)
    assert run.kinds() == ["RunStarted", "StepScheduled"]
    assert run.history[1].command == 2
    run.replayed()


def test_k5_recorded_command_that_is_not_issued_makes_the_run_stuck():
    run = KernelRun(two_steps)
    run.apply(run.completed("work", 1))

    @workflow(name="two_steps")
    async def shorter(ctx: Context) -> int:
        await ctx.step(work, 1)
        await asyncio.get_running_loop().create_future()
        return 0

    run.workflow = shorter
    with pytest.raises(NondeterminismError, match=r"recorded:  step\('other'\)\n  requested: nothing"):
        run.replayed()


def test_k6_mismatch_names_recorded_requested_line_and_remedy():
    run = KernelRun(two_steps)

    @workflow(name="two_steps")
    async def changed(ctx: Context) -> int:
        return await ctx.step(other, 1)

    run.workflow = changed
    with pytest.raises(NondeterminismError) as caught:
        run.replayed()
    text = str(caught.value)
    assert "diverged at event 2" in text
    assert "recorded:  step('work')" in text
    assert "requested: step('other')" in text
    assert "test_rules_k.py" in text
    assert "remedy:" in text


def test_k6_other_kind_at_the_same_number_is_a_mismatch():
    run = KernelRun(two_steps)

    @workflow(name="two_steps")
    async def sleeps(ctx: Context) -> int:
        await ctx.sleep(30)
        return 1

    run.workflow = sleeps
    with pytest.raises(NondeterminismError, match="requested: sleep"):
        run.replayed()


def test_k6_user_code_cannot_swallow_a_mismatch():
    run = KernelRun(two_steps)

    @workflow(name="two_steps")
    async def swallows(ctx: Context) -> int:
        try:
            await ctx.step(other, 1)
        except BaseException:
            pass
        return 1

    run.workflow = swallows
    with pytest.raises(NondeterminismError):
        run.replayed()


def test_k6_other_input_is_a_warning_in_production_and_an_error_in_strict_mode():
    run = KernelRun(two_steps)

    @workflow(name="two_steps")
    async def changed(ctx: Context) -> int:
        return await ctx.step(work, 2)

    run.workflow, run.strict = changed, False
    assert "input differs" in run.replayed().warnings[0]
    run.strict = True
    with pytest.raises(NondeterminismError, match="input differs"):
        run.replayed()


def test_k7_idempotency_key_is_origin_and_number_live_and_on_replay():
    run = KernelRun(two_steps)
    command = run.last.commands[0]
    assert isinstance(command, ScheduleStep)
    assert command.idempotency_key == "origin:1"
    again = run.replayed().open[1].command
    assert isinstance(again, ScheduleStep)
    assert again.idempotency_key == "origin:1"


@workflow
async def timers(ctx: Context) -> list[str]:
    fired: list[str] = []

    async def one(name: str, seconds: float) -> None:
        await ctx.sleep(seconds)
        fired.append(name)

    await asyncio.gather(one("c", 3), one("a", 1), one("b2", 2), one("b1", 2))
    return fired


def test_k8_timers_due_together_fire_by_deadline_then_number():
    run = KernelRun(timers)
    run.advance(10)
    fired = [event.command for event in run.history if event.kind == EventKind.TIMER_FIRED]
    assert fired == [2, 3, 4, 1]
    assert run.envelope.open(run.history[-1].payload) == '["a","b2","b1","c"]'


def test_k8_timer_never_fires_before_its_deadline():
    run = KernelRun(timers)
    run.advance(0.999999)
    assert EventKind.TIMER_FIRED not in run.kinds()
    run.advance(0.000001)
    assert run.kinds().count("TimerFired") == 1


def test_k8_time_never_decreases_when_the_clock_steps_back():
    run = KernelRun(timers)
    run.advance(1)
    run.now_us -= 500 * SECOND
    run.advance(0)
    run.now_us += 2000 * SECOND
    run.apply()
    times = [event.at_us for event in run.history]
    assert times == sorted(times)
    assert run.replayer.status is RunStatus.COMPLETED


def test_k8_durations_round_up_to_microseconds():
    @workflow
    async def tiny(ctx: Context) -> None:
        await ctx.sleep(0.0000001)
        await ctx.sleep(timedelta(microseconds=1))

    run = KernelRun(tiny)
    command = run.last.commands[0]
    assert isinstance(command, StartTimer)
    assert command.deadline_us == run.now_us + 1


def test_k8_time_stands_still_within_a_batch_and_agrees_with_the_record():
    seen = []

    @workflow
    async def clock(ctx: Context) -> None:
        seen.append((ctx.now(), asyncio.get_running_loop().time()))
        await asyncio.sleep(0)
        seen.append((ctx.now(), asyncio.get_running_loop().time()))
        await ctx.sleep(5)
        seen.append((ctx.now(), asyncio.get_running_loop().time()))

    run = KernelRun(clock)
    run.advance(7)
    assert seen[0] == seen[1]
    assert (seen[2][0] - seen[0][0]).total_seconds() == 7
    assert seen[2][1] == 7
    live = list(seen)
    seen.clear()
    run.replayed()
    assert seen == live


def test_k9_start_records_the_world_it_began_in():
    from durable.history import KERNEL_VERSION, Fact
    from durable.kernel.beginning import begin

    detail = begin(Fact(EventKind.RUN_STARTED), two_steps, bytes(18)).detail
    event = Event(1, 1, "RunStarted", 0, "", None, None, detail, None, b"")
    assert event.details["kernel"] == KERNEL_VERSION
    assert {"python", "anyio", "seed", "salt"} <= event.details.keys()


def test_h1_every_history_verifies_and_any_altered_column_is_found():
    from durable.errors import HistoryCorruptedError

    run = KernelRun(two_steps)
    run.run_steps(lambda command: 1)
    verify_chain(run.history)
    for column, value in (
        ("at_us", 1),
        ("actor", "x"),
        ("name", "x"),
        ("payload", "{}"),
        ("detail", "{}"),
        ("command", 9),
    ):
        altered = list(run.history)
        altered[2] = altered[2]._replace(**{column: value})
        with pytest.raises(HistoryCorruptedError, match="event 3"):
            verify_chain(altered)


def test_h8_operation_that_is_not_awaited_issues_nothing():
    @workflow
    async def forgets(ctx: Context) -> None:
        ctx.step(work, 1)

    with pytest.warns(RuntimeWarning, match="<operation work> was never awaited"):
        run = KernelRun(forgets)
    assert run.kinds() == ["RunStarted", "RunCompleted"]
    ((level, line),) = run.last.logs
    assert level == "WARNING"
    assert line.startswith("<operation work> was never awaited, so it was not done")
    replayer = run.replayed()  # which says nothing again
    assert replayer.loop.complaints == []


def test_h8_operation_that_was_given_up_before_it_began_is_not_called_forgotten():
    @workflow
    async def gives_up(ctx: Context) -> None:
        ctx.step(work, 1).close()
        asyncio.create_task(ctx.step(work, 2)).cancel()
        await asyncio.sleep(0)

    run = KernelRun(gives_up)
    assert run.kinds() == ["RunStarted", "RunCompleted"]
    assert run.last.logs == []


def test_l6_cancelled_wait_sends_one_request_and_honours_the_late_outcome():
    @workflow
    async def impatient(ctx: Context) -> str:
        try:
            async with asyncio.timeout(1):
                await ctx.step(work, 1)
        except TimeoutError:
            pass
        await ctx.wait_signal(go)
        return "done"

    run = KernelRun(impatient)
    run.advance(1)
    assert run.kinds().count("StepCancelRequested") == 1
    run.apply(run.completed("work", 1))
    assert run.history[-1].kind == EventKind.STEP_COMPLETED
    run.apply(signal("go", run.seal(1)))
    assert run.replayer.status is RunStatus.COMPLETED
    assert run.kinds().count("StepCancelRequested") == 1
    run.replayed()


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, RecursionError, MemoryError])
def test_l8_what_ends_an_interpreter_discards_the_activation(error):
    from durable.errors import WorkflowAbortError

    @workflow
    async def aborts(ctx: Context) -> None:
        await ctx.step(work, 1)
        raise error("enough")

    run = KernelRun(aborts)
    before = list(run.history)
    with pytest.raises(WorkflowAbortError, match=error.__name__):
        run.apply(run.completed("work", 1))
    assert run.history == before


def test_question_is_asked_with_its_schema_and_a_misfit_answer_is_set_aside():
    from durable.history import Fact

    @workflow
    async def asks(ctx: Context) -> int:
        return await ctx.ask_user("how many?", int, key="n")

    run = KernelRun(asks)
    question = run.last.commands[0]
    assert isinstance(question, AskQuestion)
    assert '"integer"' in question.schema
    run.apply(Fact(EventKind.QUESTION_ANSWERED, 1, "n", None, run.seal("many"), "user:bob"))
    assert run.history[-1].kind == EventKind.MESSAGE_SET_ASIDE
    run.apply(Fact(EventKind.QUESTION_ANSWERED, 1, "n", None, run.seal(3), "user:bob"))
    assert run.replayer.status is RunStatus.COMPLETED
    run.replayed()
