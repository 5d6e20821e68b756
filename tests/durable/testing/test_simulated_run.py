"""The handle of a simulated run: messages, people, steering, children and their ends, as with the runtime's."""

from datetime import datetime

import pytest
from tested_shop import (
    add,
    asks,
    charge,
    counts_down,
    fetch,
    go,
    listens,
    month,
    parent,
    pays_and_fails,
    plain,
    sends,
    total,
    undo,
)

from durable import Context, step, workflow
from durable.errors import (
    ChildExistsError,
    DefinitionError,
    MessageRejectedError,
    MessageUndeliverableError,
    QueryFailedError,
    QuestionNotFoundError,
    RunCancelledError,
    RunClosedError,
    RunExistsError,
    RunFailedError,
    RunNotFoundError,
    RunNotRetriableError,
    RunStuckError,
    RunTerminatedError,
    UnknownMessageError,
    UpdateFailedError,
)
from durable.handle import RollbackStatus
from durable.testing import IdleError, WorkflowEnvironment

pytestmark = pytest.mark.anyio


async def test_messages_of_every_kind(durable_env):
    run = await durable_env.start(listens)
    assert await run.query(total) == 0
    assert await run.update(add, 3) == 3
    assert await run.update("add", 4, update_id="u") == 7
    assert await run.update(add, 4, update_id="u") == 7
    with pytest.raises((MessageRejectedError, UpdateFailedError), match="negative"):
        await run.update(add, -1)
    with pytest.raises(MessageRejectedError, match="does not fit"):
        await run.signal(go, "maybe")  # type: ignore[arg-type]
    with pytest.raises(UnknownMessageError, match="known"):
        await run.query("nonsense")
    await run.signal(go, True, message_id="m")
    await run.signal(go, True, message_id="m")
    assert await run.result() == 7
    assert await run.query("total") == 7
    assert await run.published("total") == 7
    assert [item async for item in run.stream("log")] == ["one", "two"]
    assert run.attributes == {"total": 7}
    assert run.logs == [("INFO", "total is 7")]
    assert sum(event.kind == "SignalReceived" for event in await run.history()) == 1
    with pytest.raises(RunClosedError, match="completed"):
        await run.signal(go, True)


async def test_a_query_whose_handler_raises_fails_alone(durable_env):
    @workflow
    async def flow(ctx: Context) -> None:
        @ctx.on(total)
        def tell() -> int:
            raise ValueError("not now")

        await ctx.wait_signal(go)

    run = await durable_env.start(flow)
    with pytest.raises(QueryFailedError, match="not now"):
        await run.query(total)
    await run.signal(go, True)
    await run.result()


async def test_people_answer_and_decide(durable_env):
    run = await durable_env.start(asks)
    await run.until_waiting("your name?")
    (question,) = await run.questions()
    assert (question.key, question.kind, question.prompt) == ("name", "question", "your name?")
    with pytest.raises(QuestionNotFoundError, match="no open approval"):
        await run.approve()
    with pytest.raises(MessageRejectedError, match="answer to 'name'"):
        await run.answer(5)
    await run.answer("Ada")
    await run.until_waiting("approval")
    with pytest.raises(QuestionNotFoundError, match="is an approval"):
        await run.answer("yes")
    await run.approve(by="alice", comment="go")
    assert await run.result() == ["Ada", "user:alice", "go"]
    run = await durable_env.start(asks)
    await run.until_waiting("name")
    await run.answer("Ada")
    await run.until_waiting("approval")
    await run.reject(by="bob", comment="not today")
    with pytest.raises(RunFailedError, match="not today"):
        await run.result()


async def test_cancel_rolls_back_and_terminate_does_not(durable_env):
    durable_env.stub(charge, lambda name: f"receipt {name}")
    durable_env.stub(undo)

    @workflow
    async def pays_and_waits(ctx: Context) -> None:
        await ctx.step(charge, "a")
        await ctx.wait_signal(go)

    run = await durable_env.start(pays_and_waits)
    await run.until_waiting()
    await run.cancel("changed my mind")
    with pytest.raises(RunCancelledError, match="changed my mind"):
        await run.result()
    assert [call.arguments for call in durable_env.calls(undo)] == [{"receipt": "receipt a"}]
    run = await durable_env.start(pays_and_waits)
    await run.until_waiting()
    await run.terminate("enough")
    with pytest.raises(RunTerminatedError, match="enough"):
        await run.result()
    assert len(durable_env.calls(undo)) == 1


async def test_a_failure_rolls_back_in_reverse_and_a_failed_rollback_goes_on_when_asked(durable_env):
    durable_env.stub(charge, lambda name: f"receipt {name}")
    durable_env.stub(undo, sequence=[ConnectionError("down")] * 10 + [None, None])
    run = await durable_env.start(pays_and_fails)
    with pytest.raises(RunFailedError, match="Declined: 4000"):
        await run.result()
    assert await run.rollback_status() is RollbackStatus.FAILED
    assert durable_env.calls(undo)[0].arguments == {"receipt": "receipt b"}
    await run.rollback()
    await durable_env.until_idle()
    assert await run.rollback_status() is RollbackStatus.COMPLETED
    assert [call.arguments["receipt"] for call in durable_env.calls(undo)[-2:]] == ["receipt b", "receipt a"]


async def test_children_run_in_the_same_environment(durable_env):
    durable_env.allow(fetch)
    assert await durable_env.execute(parent, "a") == "fetched a"
    assert await durable_env.get("child-a").result() == "fetched a"
    assert [run.workflow_id for run in durable_env.runs] == ["parent-1", "child-a"]
    with pytest.raises(RunFailedError) as caught:
        await durable_env.execute(parent, "a")
    assert isinstance(caught.value.__cause__, ChildExistsError)
    with pytest.raises(RunNotFoundError, match="known: child-a, parent-1, parent-2"):
        durable_env.get("child-b")


@pytest.mark.parametrize(("policy", "error"), [("terminate", RunTerminatedError), ("cancel", RunCancelledError)])
async def test_children_end_with_their_parent(durable_env, policy, error):
    @workflow
    async def leaves(ctx: Context) -> None:
        await ctx.start_child(month.options(id="left", on_parent_close=policy))
        await ctx.sleep(1)

    await durable_env.execute(leaves)
    with pytest.raises(error, match="its parent ended"):
        await durable_env.get("left").result()


async def test_an_abandoned_child_goes_on(durable_env):
    durable_env.stub("flaky", returns=5)

    @workflow
    async def leaves(ctx: Context) -> None:
        await ctx.start_child(month.options(id="left", on_parent_close="abandon"))
        await ctx.sleep(1)

    await durable_env.execute(leaves)
    assert await durable_env.get("left").result() == 5


async def test_a_cancelled_parent_cancels_the_child_that_it_awaits(durable_env):
    @workflow
    async def waits(ctx: Context) -> None:
        await ctx.child_workflow(month.options(id="c"))

    run = await durable_env.start(waits)
    await run.until_waiting("child")
    await run.cancel("stop")
    with pytest.raises(RunCancelledError):
        await run.result()
    with pytest.raises(RunCancelledError):
        await durable_env.get("c").result()
    durable_env.stub(month, returns=1, after=1000)
    run = await durable_env.start(waits)
    await run.until_waiting("child")
    await run.cancel("stop")
    with pytest.raises(RunCancelledError):
        await run.result()


async def test_a_run_that_continues_as_new_stays_the_same_to_its_caller(durable_env):
    run = await durable_env.start(counts_down, 3)
    assert await run.result() == "done"
    assert await run.status() == "continued_as_new"
    assert len(durable_env.runs) == 4


async def test_runs_signal_one_another(durable_env):
    run = await durable_env.start(listens.options(id="l"))
    await durable_env.execute(sends, "l")
    assert await run.result() == 0
    with pytest.raises(RunFailedError) as caught:
        await durable_env.execute(sends, "l")
    assert isinstance(caught.value.__cause__, MessageUndeliverableError)


async def test_a_start_with_an_id_attaches_fails_or_replaces(durable_env):
    durable_env.allow(fetch)
    first = await durable_env.start(plain.options(id="p"), "a")
    again = await durable_env.start(plain.options(id="p"), "a")
    assert first.run_id == again.run_id
    with pytest.raises(RunExistsError):
        await durable_env.start(plain.options(id="p"), "b")
    with pytest.raises(RunExistsError):
        await durable_env.start(plain.options(id="p", on_conflict="fail"), "a")
    waits = await durable_env.start(listens.options(id="w"))
    await durable_env.start(listens.options(id="w", on_conflict="replace"))
    with pytest.raises(RunTerminatedError, match="replaced"):
        await waits.result()
    assert await (await durable_env.start(plain.bind("z"))).result() == "fetched z"
    with pytest.raises(DefinitionError, match="expected a workflow"):
        await durable_env.start(fetch)


async def test_a_made_up_id_is_a_new_one_and_a_bound_call_may_bring_a_signal(durable_env):
    durable_env.allow(fetch)
    await durable_env.start(plain.options(id="plain-1"), "a")
    assert (await durable_env.start(plain, "a")).workflow_id == "plain-2"
    assert await (await durable_env.start(listens.bind(), with_signal=(go, True))).result() == 0
    with pytest.raises(TypeError):
        await durable_env.start(listens.bind(), 5)
    with pytest.raises(RunNotRetriableError, match="its rollback: none"):
        await durable_env.get("listens-1").rollback()
    with pytest.raises(IdleError, match="call 9 of step 'fetch'; 'plain-1' is completed, 'plain-2' is completed"):
        await durable_env.until_step(fetch, times=9)
    with pytest.raises(ValueError, match="not negative"):
        await durable_env.advance(-1)


def test_an_environment_belongs_to_one_event_loop():
    import asyncio

    env = WorkflowEnvironment()
    asyncio.run(env.start(listens))
    with pytest.raises(DefinitionError, match="another event loop"):
        asyncio.run(env.start(listens))
    with pytest.raises(DefinitionError, match="no asyncio loop is running"):
        env.start(listens).send(None)


async def test_until_waiting_says_that_the_run_has_ended(durable_env):
    durable_env.allow(fetch)
    run = await durable_env.start(plain, "a")
    with pytest.raises(RunClosedError, match="ended before it waited for approval"):
        await run.until_waiting("approval")
    with pytest.raises(TypeError, match=r"await run.result\(\)"):
        await run


async def test_what_is_forbidden_is_told_with_its_line(durable_env):
    @workflow
    async def reads_a_clock(ctx: Context) -> str:
        return str(datetime.now())

    with pytest.raises(RunStuckError, match=r"datetime.now\(\) at .*test_simulated_run.py:\d+"):
        await durable_env.execute(reads_a_clock)


async def test_a_cancelled_step_that_runs_for_real_is_cancelled(durable_env):
    seen = []

    @step
    async def waits() -> None:
        import asyncio

        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            seen.append("cancelled")
            raise

    @workflow
    async def flow(ctx: Context) -> None:
        await ctx.step(waits)

    durable_env.allow(waits)
    run = await durable_env.start(flow)
    await durable_env.until_step(waits)
    await run.cancel()
    with pytest.raises(RunCancelledError):
        await run.result()
    assert seen == ["cancelled"]


async def test_the_timeline_tells_what_happened(durable_env):
    durable_env.stub(fetch, returns="x")
    run = await durable_env.start(plain, "a")
    await run.result()
    lines = run.timeline().splitlines()
    assert [line[10:] for line in lines] == [
        '▶ run started {"name":"a"}  (by user:test)',
        '✓ step fetch {"name":"a"}  → "x"',
        '✓ run completed  → "x"',
    ]


async def test_what_a_run_waits_for_is_known_where_nothing_is_kept_in_memory(durable_env):
    durable_env.replay_every_turn = True
    run = await durable_env.start(asks)
    await run.until_waiting("your name?")
    await run.answer("Ada")
    await run.until_waiting("approval")
    await run.approve(by="alice")
    assert (await run.result())[:2] == ["Ada", "user:alice"]
