"""Semantics 35 and 36: children, and runs that go on under a fresh history."""

from __future__ import annotations

import asyncio
import inspect
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest

from durable import Context, RunFailedError, Signal, step, workflow
from durable.errors import ChildCancelledError, ChildExistsError, ChildFailedError
from durable.handle import RunStatus
from durable.history import EventKind
from semantics.flows import orphan_child, orphan_parent
from semantics.process import WorkerProcess

pytestmark = pytest.mark.anyio

go = Signal("go", int)


@dataclass
class Report:
    """What a child returns: a type of the author's, so that a handle without its type would show."""

    url: str
    took: timedelta


class OutOfDisk(Exception):
    pass


class BuildFailed(Exception):
    pass


@step
async def fill_disk() -> None:
    try:
        raise OSError(28, "no space left")
    except OSError as error:
        raise OutOfDisk("/var") from error


# -- 35: children -----------------------------------------------------------------------------------------


@workflow
async def reports(ctx: Context, name: str) -> Report:
    await ctx.sleep(0.01)
    return Report(f"https://{name}", timedelta(seconds=3))


@workflow
async def asks_for_reports(ctx: Context) -> list[str]:
    one = await ctx.child_workflow(reports, "one")
    handle = await ctx.start_child(reports.options(id="two"), name="two")
    two = await handle
    return [one.url, two.url, str(one.took + two.took), handle.workflow_id, str(await handle.result() is two)]


async def test_a_child_gives_its_result_of_its_own_type(open_runtime):
    """Semantics 35: child result, as the type that the child declares, from the call and from the handle."""
    async with open_runtime(reports, asks_for_reports) as rt:
        run = await rt.start(asks_for_reports)
        assert await run.result(timeout=30) == ["https://one", "https://two", "0:00:06", "two", "True"]
        assert (await rt.get("two").row()).parent_run_id == run.run_id


@workflow
async def builds(ctx: Context) -> None:
    try:
        await ctx.step(fill_disk)
    except OutOfDisk as error:
        raise BuildFailed("v1") from error


@workflow
async def inspects_failure(ctx: Context) -> list[str]:
    chain: list[str] = []
    try:
        await ctx.child_workflow(builds.options(id="build"))
    except ChildFailedError as error:
        chain.append(error.workflow_id)
        link: BaseException | None = error
        while link is not None:
            chain.append(type(link).__name__)
            link = link.__cause__
    return chain


@workflow
async def lets_failure_pass(ctx: Context) -> None:
    await ctx.child_workflow(builds)


async def test_a_childs_failure_comes_with_its_chain_of_causes(open_runtime):
    """Semantics 35: failure, with its cause chain: the child's error, the step's behind it, and what the step ran into."""
    async with open_runtime(builds, inspects_failure, lets_failure_pass) as rt:
        run = await rt.start(inspects_failure)
        assert await run.result(timeout=30) == ["build", "ChildFailedError", "BuildFailed", "OutOfDisk", "OSError"]

        with pytest.raises(RunFailedError) as caught:
            await (await rt.start(lets_failure_pass)).result(timeout=30)
        causes: list[type[BaseException]] = []
        link: BaseException | None = caught.value
        while (link := link.__cause__) is not None:
            causes.append(type(link))
        assert causes == [ChildFailedError, BuildFailed, OutOfDisk, OSError]


@workflow
async def waits_for_go(ctx: Context) -> int:
    return await ctx.wait_signal(go)


@workflow
async def cancels_a_child(ctx: Context) -> list[Any]:
    handle = await ctx.start_child(waits_for_go.options(id="cancelled"))
    await ctx.wait_signal(go)
    was_done = handle.done()
    handle.cancel("not needed")
    await handle.cancel("again")  # which may be awaited, as everything else may
    try:
        await handle
    except ChildCancelledError as error:
        return [was_done, handle.done(), error.workflow_id, error.message]
    return []


async def test_a_child_can_be_cancelled_by_its_handle(open_runtime):
    """Semantics 35: cancel, by the handle; awaiting the child says so, with its id and the reason."""
    async with open_runtime(waits_for_go, cancels_a_child) as rt:
        run = await rt.start(cancels_a_child)
        await run.until_waiting("go", timeout=30)
        await rt.get("cancelled").until_waiting("go", timeout=30)
        await run.signal(go, 1)
        assert await run.result(timeout=30) == [
            False, True, "cancelled", "child 'cancelled' was cancelled: not needed",
        ]  # fmt: skip
        assert await rt.get("cancelled").status() is RunStatus.CANCELLED


@workflow
async def starts_taken(ctx: Context) -> list[str]:
    seen = []
    try:
        await ctx.child_workflow(waits_for_go.options(id="taken"))
    except ChildExistsError as error:
        seen.append(error.workflow_id)
    first = await ctx.start_child(waits_for_go.options(id="mine"))
    try:
        await ctx.child_workflow(waits_for_go.options(id="mine"))
    except ChildExistsError as error:
        seen.append(error.workflow_id)
    await first.signal(go, 4)
    return [*seen, str(await first)]


async def test_a_duplicate_child_id_is_an_error_of_the_call(open_runtime):
    """Semantics 35: duplicate id, taken by a stranger or by a sibling: the call fails, the holder of the id goes on."""
    async with open_runtime(waits_for_go, starts_taken) as rt:
        holder = await rt.start(waits_for_go.options(id="taken"))
        run = await rt.start(starts_taken)
        assert await run.result(timeout=30) == ["taken", "mine", "4"]
        await holder.signal(go, 8)
        assert await holder.result(timeout=30) == 8
        assert await rt.count(workflow="waits_for_go") == 2


@workflow
async def signals_a_child(ctx: Context) -> list[Any]:
    handle = await ctx.start_child(waits_for_go)
    await handle.signal(go, 5)
    result = await handle
    return [type(result).__name__, result, handle.done()]


async def test_a_childs_handle_signals_and_awaits(open_runtime):
    """Semantics 35: the handle signals its child and is awaited for a result of the child's type."""
    async with open_runtime(waits_for_go, signals_a_child) as rt:
        assert await (await rt.start(signals_a_child)).result(timeout=30) == ["int", 5, True]


def test_the_handle_and_the_call_are_typed():
    """Semantics 35: typed handle: what a child takes and gives is in the signatures (tests/typing proves it with checkers)."""
    signature = inspect.get_annotations(Context.start_child)
    assert signature["return"] == "ChildHandle[R]"
    assert signature["wf"] == "WorkflowDefinition[P, R]"


@pytest.mark.parametrize("place", ["child", "parent"])
async def test_a_crash_while_a_child_runs_never_starts_a_second_one(
    open_runtime, open_client, url, cache_size, tmp_path, place
):
    """Semantics 35: the worker is killed while the child runs, in the child's step or in one of the parent beside it."""
    ledger = tmp_path / "ledger"
    async with WorkerProcess(url, cache_size=cache_size) as process:
        async with open_client() as rt:
            run = await rt.start(orphan_parent, str(ledger), place)
        await process.said(f"holding in {place}")
        process.kill()
        await process.ended()
    async with open_runtime(orphan_parent, orphan_child) as rt:
        run = rt.get(run.workflow_id)
        assert await run.result(timeout=30) == ["the child", "the parent"]
        children = [summary async for summary in rt.list(workflow="orphan_child")]
        assert len(children) == 1
        kinds = [event.kind for event in await run.history()]
        assert kinds.count(EventKind.CHILD_STARTED) == kinds.count(EventKind.CHILD_COMPLETED) == 1
        assert ledger.read_text().split() == ["child-begins"]


# -- 36: continue-as-new ----------------------------------------------------------------------------------


@workflow
async def relay(ctx: Context, round: int, seen: list[list[Any]]) -> list[list[Any]]:
    if round == 1:
        ctx.set_attributes(customer="ada")
    info = ctx.info
    seen = [*seen, [info.first_run_id, info.run_id, info.attempt, info.history_events]]
    await ctx.step(nothing)
    if round < 5:
        ctx.continue_as_new(round + 1, seen)
    return seen


@step
async def nothing() -> None:
    pass


async def test_a_chain_of_runs_keeps_the_first_id_attributes_and_attempts(open_runtime):
    """Semantics 36: five runs chained by continue-as-new keep the first run's id, attributes and attempts."""
    async with open_runtime(relay) as rt:
        run = await rt.start(relay.options(id="relay"), 1, [])
        seen = await run.result(timeout=30)
        assert len(seen) == 5
        assert {first for first, *_ in seen} == {run.run_id}
        assert len({run_id for _, run_id, *_ in seen}) == 5
        assert [[attempt, events] for *_, attempt, events in seen] == [[1, 0]] * 5
        rows = [summary async for summary in rt.list(attributes={"customer": "ada"})]
        assert len(rows) == 5
        assert {(await rt.get("relay", row.run_id).row()).first_run_id for row in rows} == {run.run_id}
        last = await rt.get("relay").describe()
        assert (last.status, last.attributes) == (RunStatus.COMPLETED, {"customer": "ada"})


mended: list[bool] = []


@step
async def fails_until_mended() -> None:
    if not mended:
        raise OutOfDisk("/var")


@workflow
async def retried_relay(ctx: Context, round: int, attempts: list[int]) -> list[int]:
    if round == 1:
        ctx.set_attributes(customer="ada")
        await ctx.step(nothing)
        assert ctx.info.attempt == 1  # as it was; so it is when the second attempt replays it
        await ctx.step(fails_until_mended)
    attempts = [*attempts, ctx.info.attempt]
    if round < 5:
        ctx.continue_as_new(round + 1, attempts)
    return attempts


async def test_a_retried_run_hands_its_attempt_down_the_chain(open_runtime):
    """Semantics 36: attempts: the second attempt is the second one in all runs that continue it."""
    mended.clear()
    async with open_runtime(retried_relay) as rt:
        run = await rt.start(retried_relay, 1, [])
        with pytest.raises(RunFailedError):
            await run.result(timeout=30)
        mended.append(True)
        assert await (await run.retry()).result(timeout=30) == [2, 2, 2, 2, 2]
        assert (await rt.get(run.workflow_id).describe()).attributes == {"customer": "ada"}


@workflow
async def grows(ctx: Context, is_first: bool) -> list[Any]:
    if not is_first:
        return [ctx.info.history_events, ctx.info.continue_as_new_suggested]
    before = (ctx.info.history_events, ctx.info.continue_as_new_suggested)
    while not ctx.info.continue_as_new_suggested:
        await asyncio.gather(*(ctx.step(nothing) for _ in range(5)))
    assert before == (0, False)
    ctx.continue_as_new(False)
    return []


async def test_a_long_history_suggests_a_fresh_one(open_runtime, monkeypatch):
    """Semantics 36: history size makes a suggestion visible in ``ctx.info``, the same on replay; the next run begins at 0."""
    monkeypatch.setattr("durable.info.SUGGESTED_HISTORY_EVENTS", 30)
    async with open_runtime(grows) as rt:
        run = await rt.start(grows, True)
        assert await run.result(timeout=30) == [0, False]
        assert 30 <= len(await run.history()) < 60
