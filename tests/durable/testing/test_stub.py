"""Steps in the harness: stubbed, run for real, or refused with the lines to write."""

import pytest
from tested_shop import Declined, book, both, by_hand, fetch, parent, pay, plain, runs, tokens

from durable import Context, RetryPolicy, step, step_info, workflow
from durable.errors import DecodeError, DefinitionError, RunFailedError, RunNotFoundError, StepError
from durable.interceptor import Interceptor
from durable.testing import IdleError, UnstubbedStepError, WorkflowEnvironment

pytestmark = pytest.mark.anyio


async def test_real_steps_run_async_and_sync(durable_env):
    durable_env.allow(fetch, "compute")
    assert await durable_env.execute(both) == [8, "fetched a"]
    assert {call.name: call.arguments for call in durable_env.calls()} == {
        "compute": {"number": 4},
        "fetch": {"name": "a"},
    }


async def test_a_step_that_is_neither_stubbed_nor_allowed_shows_the_lines_to_write(durable_env):
    with pytest.raises(UnstubbedStepError) as caught:
        await durable_env.execute(plain, "a")
    assert str(caught.value) == (
        "step 'fetch' of 'plain-1' is neither stubbed nor allowed to run; write one of\n"
        '    env.stub(fetch, returns="")\n'
        "    env.allow(fetch)  # it runs for real"
    )


async def test_a_transactional_step_needs_a_database(durable_env):
    durable_env.allow_all()
    with pytest.raises(UnstubbedStepError, match=r"transactional and needs a database(.|\n)*durable_runtime"):
        await durable_env.execute(runs, "book")
    durable_env.stub(book, returns=1)
    assert await durable_env.execute(runs, "book") == 1


@pytest.mark.parametrize("what", [fetch, "fetch", fetch.fn], ids=["definition", "name", "function"])
async def test_a_stub_stands_for_a_step_by_whatever_names_it(durable_env, what):
    durable_env.stub(what, returns="stubbed")
    assert await durable_env.execute(plain, "a") == "stubbed"
    (call,) = durable_env.calls(what)
    assert (call.name, call.arguments, call.attempt, call.workflow_id) == ("fetch", {"name": "a"}, 1, "plain-1")


async def test_a_stub_may_be_a_function_async_or_not(durable_env):
    durable_env.stub(fetch, lambda name: f"from {name} of {step_info().workflow}")
    assert await durable_env.execute(plain, "a") == "from a of plain"

    async def later(name):
        return name * 2

    durable_env.stub(fetch, later)
    assert await durable_env.execute(plain, "b") == "bb"


async def test_a_stub_raises_what_the_workflow_catches(durable_env):
    durable_env.stub(fetch, raises=Declined("4000"))
    with pytest.raises(RunFailedError) as caught:
        await durable_env.execute(plain, "a")
    assert isinstance(caught.value.__cause__, Declined)


async def test_a_sequence_gives_results_and_errors_in_turn_and_says_when_it_is_used_up(durable_env):
    durable_env.stub(fetch, sequence=["one", Declined("4000"), ValueError])
    assert await durable_env.execute(plain, "a") == "one"
    with pytest.raises(RunFailedError, match="Declined"):
        await durable_env.execute(plain, "b")
    with pytest.raises(RunFailedError, match="ValueError"):
        await durable_env.execute(plain, "c")
    with pytest.raises(AssertionError, match="stub of 'fetch' was called more often than its sequence has items"):
        await durable_env.execute(plain, "d")


async def test_a_synchronous_step_that_raises_stop_iteration_is_a_step_error(durable_env):
    @step
    def stops() -> None:
        next(iter(()))

    @workflow
    async def flow(ctx: Context) -> None:
        await ctx.step(stops)

    durable_env.allow(stops)
    with pytest.raises(RunFailedError) as caught:
        await durable_env.execute(flow)
    assert isinstance(caught.value.__cause__, StepError)
    assert "StopIteration" in caught.value.__cause__.error_type


async def test_a_stub_takes_virtual_time(durable_env):
    before = durable_env.now()
    durable_env.stub(fetch, returns="x", after=90)
    await durable_env.execute(plain, "a")
    assert (durable_env.now() - before).total_seconds() == 90


async def test_the_result_of_a_stub_must_fit_the_step(durable_env):
    durable_env.stub(fetch, returns=object())
    with pytest.raises(AssertionError, match="the stub of 'fetch' does not fit the step"):
        await durable_env.execute(plain, "a")

    async def later(name):
        return 5

    durable_env.stub(fetch, later)
    with pytest.raises(AssertionError, match="the stub of 'fetch' does not fit the step"):
        await durable_env.execute(plain, "a")


async def test_an_assertion_in_a_stub_fails_the_test_whatever_the_workflow_catches(durable_env):
    @workflow
    async def swallows(ctx: Context) -> str:
        try:
            return await ctx.step(fetch, "a")
        except Exception:
            return "fallback"

    async def later(name):
        assert name == "b"

    for stub in (later, lambda: "x"):
        durable_env.stub(fetch, stub)
        with pytest.raises(AssertionError):
            await durable_env.execute(swallows)


def test_a_stub_has_one_behaviour():
    with pytest.raises(DefinitionError, match="stub of 'fetch': give one of"):
        WorkflowEnvironment().stub(fetch, returns=1, raises=ValueError)
    with pytest.raises(DefinitionError, match="write returns='r1'"):
        WorkflowEnvironment().stub(fetch, "r1")
    with pytest.raises(DefinitionError, match="expected raises= to be an exception"):
        WorkflowEnvironment().stub(fetch, raises="boom")
    with pytest.raises(DefinitionError, match="expected a step, a workflow or a name"):
        WorkflowEnvironment().stub(5)


async def test_a_child_is_stubbed_by_its_workflow(durable_env):
    durable_env.stub(plain, returns="stubbed", after=5)
    assert await durable_env.execute(parent, "a") == "stubbed"
    (call,) = durable_env.calls(plain)
    assert (call.arguments, call.workflow_id) == ({"name": "a"}, "parent-1")
    durable_env.stub(plain, raises=Declined("4000"))
    with pytest.raises(RunFailedError, match="Declined"):
        await durable_env.execute(parent, "b")

    async def later(name):
        return name.upper()

    durable_env.stub(plain, later)
    assert await durable_env.execute(parent, "c") == "C"


async def test_a_step_is_handed_over_and_completed_by_its_token(durable_env):
    durable_env.allow(by_hand)
    tokens.clear()
    run = await durable_env.start(runs, "by_hand")
    await durable_env.until_step(by_hand)
    await durable_env.until_idle()
    handed_over = durable_env.step(tokens[-1])
    await handed_over.heartbeat({"done": 0.5})
    durable_env.crash()
    await handed_over.complete("signed")
    assert await run.result() == "signed"
    with pytest.raises(RunNotFoundError, match="no step waits"):
        durable_env.step(tokens[-1])
    assert durable_env.calls(by_hand)[0].token == tokens[-1]
    run = await durable_env.start(runs, "by_hand")
    await durable_env.until_step(by_hand, times=2)
    await durable_env.until_idle()
    await durable_env.step(tokens[-1]).fail("no pen")
    with pytest.raises(RunFailedError, match="no pen") as caught:
        await run.result()
    assert isinstance(caught.value.__cause__, StepError)


async def test_waiting_for_what_will_never_be_says_what_the_run_waits_for(durable_env):
    durable_env.allow(by_hand)
    run = await durable_env.start(runs.options(id="r"), "by_hand")
    async with durable_env.freeze():
        with pytest.raises(IdleError, match="its end of 'r', which waits for step 'by_hand', which was handed over"):
            await run.result()
    with pytest.raises(RunFailedError, match="timeout of 1 d"):
        await run.result()
    with pytest.raises(IdleError, match="call 1 of step 'pay'"):
        await durable_env.until_step(pay)


async def test_interceptors_and_default_retries_are_those_of_a_runtime():
    class Marks(Interceptor):
        async def run_step(self, info, proceed):
            return f"{info.attempt}:{await proceed()}"

    @step
    async def twice() -> str:
        if step_info().attempt == 1:
            raise ValueError("first")
        return "ok"

    @workflow
    async def flow(ctx: Context) -> str:
        return await ctx.step(twice)

    retry = RetryPolicy(max_attempts=2)
    async with WorkflowEnvironment(allow=[twice], interceptors=[Marks()], default_retry=retry) as env:
        assert await env.execute(flow) == "2:ok"
        assert env.unchecked == {}
    assert "interceptors" in env.unchecked["flow"]


async def test_a_result_from_outside_that_does_not_fit_fails_its_step(durable_env):
    durable_env.allow(by_hand)
    run = await durable_env.start(runs, "by_hand")
    tokens.clear()
    await durable_env.until_step(by_hand)
    await durable_env.until_idle()
    await durable_env.step(tokens[-1]).complete([1])
    with pytest.raises(RunFailedError) as failed:
        await run.result()
    assert isinstance(failed.value.__cause__, DecodeError)
