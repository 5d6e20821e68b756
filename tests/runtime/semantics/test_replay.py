"""Semantics 37 and 38: what replay gives and leaves alone, and how code changes under runs that are in flight."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from durable import Context, Query, Signal, Update, step, workflow
from durable.handle import RunStatus
from durable.history import FACTS, Event, EventKind, Fact, split_batches, verify_chain
from durable.info import RunIdentity
from durable.kernel.replayer import Replayer
from durable.registry import Registry
from semantics.waiting import until_row, until_stuck

pytestmark = pytest.mark.anyio

go = Signal("go", int)
add = Update("add", int, returns=int)
total = Query("total", int)
called: list[str] = []
OWN_TIMERS = (EventKind.TIMER_FIRED, EventKind.RUN_TIMED_OUT)
"""Facts that the kernel makes itself when their time has come."""


@pytest.fixture(autouse=True)
def fresh() -> None:
    called.clear()


@step
async def work(text: str) -> str:
    called.append(text)
    return text


@step
async def undo(text: str) -> None:
    called.append(f"undo {text}")


@step(compensate=undo)
async def breaks() -> None:
    called.append("breaks")
    raise ValueError("broken")


# -- 37: replay -------------------------------------------------------------------------------------------


@workflow
async def child(ctx: Context, name: str) -> str:
    return await ctx.step(work, name)


@workflow
async def everything(ctx: Context) -> list[Any]:
    """One of each kind of operation, in several tasks."""
    seen: list[Any] = [ctx.random.random(), str(ctx.uuid4()), ctx.now().isoformat()]
    held: list[int] = []
    ctx.log.info("beginning")

    @ctx.on(add)
    async def _add(number: int) -> int:
        held.append(number)
        await ctx.step(work, f"update {number}")
        return sum(held)

    @ctx.on(total)
    def _total() -> int:
        return sum(held)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(ctx.step(work, f"task {number}")) for number in range(4)]
        group.create_task(ctx.sleep(0.01))
    seen += [await finished for finished in asyncio.as_completed(tasks)]
    seen.append(await ctx.child_workflow(child, "child"))
    try:
        async with asyncio.timeout(0.01):
            await ctx.wait_signal(Signal("never"))
    except TimeoutError:
        seen.append("late")
    try:
        await ctx.step(breaks)
    except ValueError as error:
        seen.append(str(error))
    ctx.set_attributes(colour="red")
    ctx.publish("progress", 50)
    ctx.stream("words").write("hello")
    if ctx.patched("new"):
        seen.append(await ctx.step(work, "patched"))
    seen.append(await ctx.wait_signal(go))
    await ctx.wait_condition(lambda: bool(held))
    ctx.log.info("ending")
    return [*seen, *held]


async def live(rt: Any) -> tuple[Any, list[Event]]:
    """A run of ``everything`` to its end: its row and history."""
    run = await rt.start(everything)
    await run.until_waiting("go", timeout=30)
    assert await run.update(add, 3, timeout=30) == 3
    await run.signal(go, 1)
    assert (await run.result(timeout=30))[-2:] == [1, 3]
    return await run.row(), await run.history()


def replayer(row: Any, ids: Iterator[str]) -> Replayer:
    identity = RunIdentity(
        row.workflow_id, row.run_id, row.workflow, row.origin_id, row.first_run_id, row.parent_run_id
    )
    return Replayer(
        everything, identity, registry=Registry([everything, child]), ids=lambda: next(ids, "?"), strict=True
    )


def recorded_ids(batch: Sequence[Event]) -> Iterator[str]:
    """The run ids that a batch gave to children."""
    return iter([event.details["run_id"] for event in batch if event.kind == EventKind.CHILD_STARTED])


def facts_of(batch: Sequence[Event]) -> list[Fact]:
    return [
        Fact(EventKind(e.kind), e.command, e.name, e.detail, e.payload, e.actor)
        for e in batch
        if e.kind in FACTS and e.kind not in OWN_TIMERS
    ]


async def test_replaying_any_prefix_gives_the_same_commands(open_runtime):
    """Semantics 37: replaying any prefix of a history gives the same commands: to the byte, its hashes included."""
    async with open_runtime(everything, child) as rt:
        row, history = await live(rt)
    batches = [list(batch) for batch in split_batches(history)]
    assert len(batches) > 8
    for cut, batch in enumerate(batches[1:], 1):
        again = replayer(row, recorded_ids(batch))
        again.load([event for earlier in batches[:cut] for event in earlier])
        worker = next(event.actor for event in batch[::-1] if event.kind not in FACTS or event is batch[-1])
        activation = again.activate(facts_of(batch), batch[0].at_us, worker)
        assert activation.events == batch
        again.evict()
    verify_chain(history)


async def test_replay_is_idempotent(open_runtime):
    """Semantics 37: replay is idempotent: two of one history stand at the same place, and a third one goes on like a live run."""
    async with open_runtime(everything, child) as rt:
        row, history = await live(rt)
    states = []
    for _ in range(2):
        again = replayer(row, iter(()))
        again.load(history)
        states.append(
            (again.status, again.recorder.seq, again.issuer.next_number(), again.random.getstate(), again.attributes)
        )
        again.evict()
    assert states[0] == states[1]
    assert states[0][0] is RunStatus.COMPLETED


async def test_replay_writes_nothing_logs_nothing_calls_nothing(open_runtime, open_client, caplog):
    """Semantics 37: it writes nothing, logs nothing, calls nothing."""
    async with open_runtime(everything, child) as rt:
        row, history = await live(rt)
    before = list(called)
    caplog.clear()
    caplog.set_level("DEBUG", "durable")
    random_before = random.getstate()
    again = replayer(row, iter(()))
    again.load(history)
    activation = again.activate([], history[-1].at_us, "nobody")
    again.evict()
    assert (activation.events, activation.commands, activation.logs, again.logs) == ([], [], [], [])
    assert called == before
    assert random.getstate() == random_before
    assert [record.message for record in caplog.records if record.name.startswith("durable")] == []
    async with open_client() as client:
        assert await client.get(row.workflow_id).history() == history


async def test_replay_in_a_worker_repeats_no_step_and_no_log_line(open_runtime):
    """Semantics 37: a run that is replayed by worker after worker calls each step once and logs each line once."""
    async with open_runtime(everything, child) as rt:
        run = await rt.start(everything.options(id="x"))
        await run.until_waiting("go", timeout=30)
    for _ in range(2):
        async with open_runtime(everything, child) as rt:
            assert await rt.get("x").query(total, timeout=30) == 0
    async with open_runtime(everything, child) as rt:
        run = rt.get("x")
        await run.update(add, 2, timeout=30)
        await run.signal(go, 1)
        await run.result(timeout=30)
    async with open_runtime(everything, child) as rt:
        assert await rt.get("x").query(total, timeout=30) == 2
        lines = [line.message for line in await rt.get("x").logs()]
    assert [line for line in lines if line in ("beginning", "ending")] == ["beginning", "ending"]
    assert sorted(called) == sorted(["task 0", "task 1", "task 2", "task 3", "child", "breaks", "patched", "update 2"])


# -- 38: patches ------------------------------------------------------------------------------------------


@step
async def old_way() -> str:
    return "old"


@step
async def new_way() -> str:
    return "new"


def old() -> Any:
    @workflow(name="patched", version="absent")
    async def definition(ctx: Context) -> list[Any]:
        seen = [await ctx.step(old_way)]
        await ctx.wait_signal(go)
        seen.append(await ctx.step(old_way))
        await ctx.wait_signal(go)
        return seen

    return definition


def patched() -> Any:
    @workflow(name="patched", version="patched")
    async def definition(ctx: Context) -> list[Any]:
        seen = [await ctx.step(new_way if ctx.patched("p") else old_way)]
        await ctx.wait_signal(go)
        seen.append(await ctx.step(new_way if ctx.patched("p") else old_way))
        await ctx.wait_signal(go)
        return seen

    return definition


def deprecated() -> Any:
    @workflow(name="patched", version="deprecated")
    async def definition(ctx: Context) -> list[Any]:
        ctx.deprecate_patch("p")
        seen = [await ctx.step(new_way)]
        await ctx.wait_signal(go)
        seen.append(await ctx.step(new_way))
        await ctx.wait_signal(go)
        return seen

    return definition


def removed() -> Any:
    @workflow(name="patched", version="removed")
    async def definition(ctx: Context) -> list[Any]:
        seen = [await ctx.step(new_way)]
        await ctx.wait_signal(go)
        seen.append(await ctx.step(new_way))
        await ctx.wait_signal(go)
        return seen

    return definition


async def waits_for(run: Any, steps: int) -> None:
    """Until the run waits for a signal after so many steps."""

    async def is_there(row: Any) -> bool:
        done = sum(event.kind == EventKind.STEP_COMPLETED for event in await run.history())
        return row.status is RunStatus.WAITING and done == steps

    await until_row(run, is_there)


@pytest.mark.parametrize(
    ("first", "second", "third", "expected"),
    [
        (old, patched, patched, ["old", "old"]),
        (old, old, patched, ["old", "old"]),
        (patched, patched, patched, ["new", "new"]),
        (patched, deprecated, deprecated, ["new", "new"]),
        (patched, patched, deprecated, ["new", "new"]),
        (deprecated, removed, removed, ["new", "new"]),
        (deprecated, deprecated, removed, ["new", "new"]),
        (removed, removed, removed, ["new", "new"]),
        (removed, deprecated, removed, ["new", "new"]),
        (deprecated, patched, patched, ["new", "new"]),
    ],
    ids=lambda stage: stage.__name__ if callable(stage) else "-".join(stage),
)
async def test_a_patch_lives_across_restarts_and_mid_flight_runs(open_runtime, first, second, third, expected):
    """Semantics 38: absent, patched, deprecated, removed, across worker restarts and mid-flight runs; the answer is
    remembered per run: one that began without the patch goes without it to its end, and the other way round."""
    for number, stage in enumerate((first, second, third)):
        definition = stage()
        async with open_runtime(definition) as rt:
            run = rt.get("x") if number else await rt.start(definition.options(id="x"))
            if number:
                await run.signal(go, number)
            if number < 2:
                await waits_for(run, number + 1)
                assert (await run.row()).reason is None
            else:
                assert await run.result(timeout=30) == expected


@pytest.mark.parametrize(
    ("first", "second"), [(old, deprecated), (old, removed), (patched, removed)], ids=lambda stage: stage.__name__
)
async def test_a_stage_left_out_makes_the_run_stuck_until_it_is_back(open_runtime, first, second):
    """Semantics 38: a stage that is left out is found, in words, and does no harm: with it back, the run goes on."""
    definition = first()
    async with open_runtime(definition) as rt:
        run = await rt.start(definition.options(id="x"))
        await waits_for(run, 1)
    async with open_runtime(second()) as rt:
        run = rt.get("x")
        await run.signal(go, 1)
        row = await until_stuck(run)
        assert "DUR1101" in (row.reason or "")
    definition = patched()
    async with open_runtime(definition) as rt:
        run = rt.get("x")
        await waits_for(run, 2)
        await run.signal(go, 2)
        answer = "old" if first is old else "new"
        assert await run.result(timeout=30) == [answer, answer]


@workflow
async def asks_each_run(ctx: Context, round: int, seen: list[bool]) -> list[bool]:
    seen = [*seen, ctx.patched("p")]
    await ctx.wait_signal(go)
    if round == 0:
        ctx.continue_as_new(1, seen)
    return seen


async def test_the_answer_is_marked_once_per_run(open_runtime):
    """Semantics 38: the answer is remembered per run: asked often, marked once, and asked anew by the run that continues."""

    @workflow(name="asks_each_run", version="absent")
    async def before(ctx: Context, round: int, seen: list[bool]) -> list[bool]:
        await ctx.wait_signal(go)
        return seen

    async with open_runtime(before) as rt:
        run = await rt.start(before.options(id="x"), 0, [])
        await run.until_waiting("go", timeout=30)
    async with open_runtime(asks_each_run) as rt:
        run = rt.get("x")
        await run.signal(go, 1)
        await run.signal(go, 2)
        assert await run.result(timeout=30) == [False, True]
        marks = [event for event in await run.history() if event.kind == EventKind.PATCH_MARKED]
        assert len(marks) == 1
